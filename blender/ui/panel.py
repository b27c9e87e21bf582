"""The panel in the 3D view's sidebar."""
# SPDX-License-Identifier: GPL-3.0-or-later

import bpy

from ..scene import heads
from . import session
from .settings import SPMR_Settings

_LETTERS_A_LINE = 38
_POINTS_A_LETTER = 7


class _Panel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "spinmeround"


class SPMR_PT_photos(_Panel, bpy.types.Panel):
    """Photos, quality, and the button that makes a head."""

    bl_label = "Head from Photo"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the list, the button, and how far the work is."""
        layout, settings = self.layout, context.scene.spinmeround
        row = layout.row()
        row.template_list("SPMR_UL_photos", "", settings, "photos", settings, "active_photo", rows=2)
        column = row.column(align=True)
        column.operator("spinmeround.add_photos", text="", icon="ADD")
        column.operator("spinmeround.remove_photo", text="", icon="REMOVE")
        layout.row().prop(settings, "quality", expand=True)
        state = context.window_manager.spinmeround
        if state.running:
            layout.progress(factor=state.fraction, text=f"{100 * state.fraction:.0f} %")
            _draw_text(context, layout, state.title)
            layout.operator("spinmeround.stop", icon="CANCEL")
        else:
            column = layout.column(align=True)
            column.scale_y = 1.3
            column.operator("spinmeround.make_head", icon="USER")
            column.operator("spinmeround.make_row", icon="FILE_FOLDER")
        if state.error:
            _draw_text(context, layout.box(), state.error, icon="ERROR")


class SPMR_PT_options(_Panel, bpy.types.Panel):
    """What else can be chosen."""

    bl_label = "Options"
    bl_parent_id = "SPMR_PT_photos"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the options."""
        self.layout.use_property_split = True
        draw_options(self.layout, context.scene.spinmeround, quality=False)


class SPMR_PT_head(_Panel, bpy.types.Panel):
    """The selected head."""

    bl_label = "Selected Head"
    bl_parent_id = "SPMR_PT_photos"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A head is selected."""
        return session.selected_head(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what can be done with it."""
        layout, armature = self.layout, session.selected_head(context)
        layout.label(text=armature.name, icon="ARMATURE_DATA")
        _draw_text(context, layout, heads.remembered(armature).quality)
        row = layout.row(align=True)
        row.operator("spinmeround.wear", text="Photo's Expression").expression = "photo"
        row.operator("spinmeround.wear", text="Rest").expression = "rest"
        _draw_reference(layout, heads.parts(armature).get(heads.PHOTO_CAMERA))
        row = layout.row(align=True)
        row.operator("spinmeround.make_again", icon="FILE_REFRESH")
        row.operator("spinmeround.recall_options", text="", icon="COPYDOWN")
        layout.operator("spinmeround.export_fbx", text="Export for Unity or Unreal", icon="EXPORT")


CLASSES = (SPMR_PT_photos, SPMR_PT_options, SPMR_PT_head)


def draw_options(layout: bpy.types.UILayout, settings: SPMR_Settings, *, quality: bool = True) -> None:
    """Draw the options of a head."""
    if quality:
        layout.prop(settings, "quality")
    column = layout.column(heading="Place")
    column.prop(settings, "expression")
    column.prop(settings, "reference")
    column = layout.column()
    column.prop(settings, "hair")
    row = column.row()
    row.active = settings.hair == "cards"
    row.prop(settings, "blended")
    column = layout.column()
    column.prop(settings, "lod")
    column.prop(settings, "texture_size")
    column.prop(settings, "normal_map")
    column = layout.column()
    column.prop(settings, "delight")
    column.prop(settings, "glasses")
    column.prop(settings, "height_m")
    column.prop(settings, "face")
    column.prop(settings, "seed")


def _draw_reference(layout: bpy.types.UILayout, camera: bpy.types.Object | None) -> None:
    if camera is None:
        return
    layout.operator("spinmeround.look_through", icon="CAMERA_DATA")
    if camera.data.background_images:
        row, layer = layout.row(align=True), camera.data.background_images[0]
        row.prop(camera.data, "show_background_images", text="", icon="IMAGE_REFERENCE")
        row.prop(layer, "alpha", text="Photo", slider=True)
        row.prop(layer, "display_depth", text="")


def _draw_text(context: bpy.types.Context, layout: bpy.types.UILayout, text: str, *, icon: str = "NONE") -> None:
    """Draw a sentence in as many lines as the region needs."""
    scale = context.preferences.system.ui_scale * _POINTS_A_LETTER
    letters = max(12, int(context.region.width / scale)) if context.region else _LETTERS_A_LINE
    column = layout.column(align=True)
    column.scale_y = 0.8
    for index, line in enumerate(_lines(text, letters)):
        column.label(text=line, icon=icon if index == 0 else "BLANK1" if icon != "NONE" else "NONE")


def _lines(text: str, letters: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= letters:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
