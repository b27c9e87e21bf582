"""The list of photos in the panel, and adding and removing them."""
# SPDX-License-Identifier: GPL-3.0-or-later

from pathlib import Path

import bpy

from .settings import PHOTO_SUFFIXES, SPMR_Photo, SPMR_Settings

PHOTO_FILTER = ";".join(f"*{suffix}" for suffix in PHOTO_SUFFIXES)


class SPMR_UL_photos(bpy.types.UIList):
    """Photos by name."""

    def draw_item(
        self,
        _context: bpy.types.Context,
        layout: bpy.types.UILayout,
        _settings: SPMR_Settings,
        photo: SPMR_Photo,
        _icon: int,
        _active_data: SPMR_Settings,
        _active_property: str,
    ) -> None:
        """Draw a line."""
        path = Path(bpy.path.abspath(photo.path))
        layout.label(text=path.name, icon="IMAGE_DATA" if path.is_file() else "ERROR")


class SPMR_OT_add_photos(bpy.types.Operator):
    """Choose photos of one person: the first gives the expression, the others what it does not show"""

    bl_idname = "spinmeround.add_photos"
    bl_label = "Add Photos"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: bpy.props.StringProperty(default=PHOTO_FILTER, options={"HIDDEN"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: bpy.props.CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add what was chosen."""
        settings = context.scene.spinmeround
        for file in self.files:
            if file.name:
                settings.photos.add().path = str(Path(self.directory) / file.name)
        settings.active_photo = len(settings.photos) - 1
        return {"FINISHED"}


class SPMR_OT_remove_photo(bpy.types.Operator):
    """Take the photo off the list; the file stays"""

    bl_idname = "spinmeround.remove_photo"
    bl_label = "Remove Photo"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a photo to remove."""
        return len(context.scene.spinmeround.photos) > 0

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the active line."""
        settings = context.scene.spinmeround
        settings.photos.remove(settings.active_photo)
        settings.active_photo = max(0, min(settings.active_photo, len(settings.photos) - 1))
        return {"FINISHED"}


CLASSES = (SPMR_UL_photos, SPMR_OT_add_photos, SPMR_OT_remove_photo)
