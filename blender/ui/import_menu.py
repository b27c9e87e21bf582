"""File > Import > Head from photo."""
# SPDX-License-Identifier: GPL-3.0-or-later

from pathlib import Path

import bpy
from bpy_extras.io_utils import ImportHelper

from .making import Maker
from .panel import draw_options
from .photos import PHOTO_FILTER
from .settings import name_of


class SPMR_OT_import_photo(Maker, bpy.types.Operator, ImportHelper):
    """Make a head of a photo, or of several photos of one person"""

    bl_idname = "spinmeround.import_photo"
    bl_label = "Head from Photo"
    bl_options = {"REGISTER", "PRESET"}

    filter_glob: bpy.props.StringProperty(default=PHOTO_FILTER, options={"HIDDEN"})
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    each: bpy.props.BoolProperty(
        name="One Head per Photo",
        description="Each photo shows somebody else; off, they all show one person",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the options, which are those of the panel."""
        self.layout.use_property_split = True
        self.layout.prop(self, "each")
        draw_options(self.layout, context.scene.spinmeround)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make the heads of what was chosen."""
        settings = context.scene.spinmeround
        chosen = [Path(self.directory) / file.name for file in self.files if file.name] or [Path(self.filepath)]
        groups = [[photo] for photo in chosen] if self.each else [chosen]
        orders = [settings.order(group, name_of(group[0])) for group in groups]
        return self.begin(context, orders, settings.wishes())


CLASSES = (SPMR_OT_import_photo,)


def attach() -> None:
    """Add the menu entry."""
    bpy.types.TOPBAR_MT_file_import.append(_draw_entry)


def detach() -> None:
    """Remove the menu entry."""
    bpy.types.TOPBAR_MT_file_import.remove(_draw_entry)


def _draw_entry(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.operator(SPMR_OT_import_photo.bl_idname, text="Head from photo (spinmeround)")
