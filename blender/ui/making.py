"""Operators that make heads, from the panel's photos, from a folder, again in place, and those on a selected head."""
# SPDX-License-Identifier: GPL-3.0-or-later

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy

from ..scene import expression, heads, reference
from ..scene.placing import Wishes
from ..services.client import ServerError
from ..services.making import Order
from . import session
from .settings import name_of, photos_in
from .watching import SECONDS_BETWEEN_LOOKS, close


class Maker:
    """What operators that make heads share."""

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """One piece of work at a time."""
        if session.current() is not None:
            cls.poll_message_set("A head is being made; wait for it or stop it")
            return False
        return True

    def begin(self, context: bpy.types.Context, orders: Sequence[Order], wishes: Wishes, **where: Any) -> set[str]:
        """Start the work; come back at once if there is a window, and else when it is done."""
        missing = next((photo for order in orders for photo in order.photos if not photo.is_file()), None)
        if missing is not None:
            return self._refuse(context, f"There is no photo {missing}; choose another")
        try:
            work = session.begin(context, orders, wishes, **where)
        except ServerError as error:
            return self._refuse(context, str(error))
        if not bpy.app.background:
            bpy.ops.spinmeround.watch("INVOKE_DEFAULT")
            return {"FINISHED"}
        try:
            while work.tick(context):
                time.sleep(SECONDS_BETWEEN_LOOKS / 4)
        except BaseException:  # Ctrl-C, too
            session.abandon()
            raise
        return close(self, context, work)

    def _refuse(self, context: bpy.types.Context, why: str) -> set[str]:
        context.window_manager.spinmeround.error = why
        self.report({"ERROR"}, why)
        return {"CANCELLED"}


class SPMR_OT_make_head(Maker, bpy.types.Operator):
    """Make a head of the photos in the list and place it at the 3D cursor"""

    bl_idname = "spinmeround.make_head"
    bl_label = "Make Head"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There are photos."""
        if not context.scene.spinmeround.photos:
            cls.poll_message_set("Add a photo first")
            return False
        return super().poll(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make one head."""
        settings = context.scene.spinmeround
        photos = [Path(bpy.path.abspath(photo.path)) for photo in settings.photos]
        return self.begin(context, [settings.order(photos, name_of(photos[0]))], settings.wishes())


class SPMR_OT_make_row(Maker, bpy.types.Operator):
    """Make a head of each photo in a folder and place them in a row from the 3D cursor"""

    bl_idname = "spinmeround.make_row"
    bl_label = "Heads of a Folder"

    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make all heads, one after the other."""
        folder = Path(bpy.path.abspath(self.directory))
        photos = photos_in(folder) if folder.is_dir() else []
        if not photos:
            return self._refuse(context, f"There are no photos in {folder}; choose another folder")
        settings = context.scene.spinmeround
        return self.begin(context, [settings.order([photo], name_of(photo)) for photo in photos], settings.wishes())


class OnHead:
    """What operators on the selected head share."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """A head, or a part of one, is selected."""
        if session.selected_head(context) is None:
            cls.poll_message_set("Select a head that was made here")
            return False
        parent = super()
        return parent.poll(context) if hasattr(parent, "poll") else True


class SPMR_OT_make_again(OnHead, Maker, bpy.types.Operator):
    """Make the selected head again with the options as they are set now; its place, rig pose and shape keys stay"""

    bl_idname = "spinmeround.make_again"
    bl_label = "Make Again"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make the head again in place."""
        armature = session.selected_head(context)
        settings, photos = context.scene.spinmeround, heads.remembered(armature).photos
        order = settings.order([Path(photo) for photo in photos], armature.name)
        return self.begin(context, [order], settings.wishes(), replaced=armature)


class SPMR_OT_recall_options(OnHead, bpy.types.Operator):
    """Set the options to those that the selected head was made with"""

    bl_idname = "spinmeround.recall_options"
    bl_label = "Options of This Head"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill in the panel."""
        memory = heads.remembered(session.selected_head(context))
        context.scene.spinmeround.recall(memory.options, strands=memory.strands)
        return {"FINISHED"}


class SPMR_OT_wear(OnHead, bpy.types.Operator):
    """Set all shape keys of the selected head"""

    bl_idname = "spinmeround.wear"
    bl_label = "Expression"
    bl_options = {"REGISTER", "UNDO"}

    expression: bpy.props.EnumProperty(
        items=(("photo", "Photo", "The expression of the photo"), ("rest", "Rest", "All shape keys at zero"))
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the keys."""
        armature = session.selected_head(context)
        expression.wear(armature, heads.remembered(armature).expression if self.expression == "photo" else {})
        return {"FINISHED"}


class SPMR_OT_look_through(OnHead, bpy.types.Operator):
    """Look through the photo's camera: it becomes the scene's, and pictures get the photo's size"""

    bl_idname = "spinmeround.look_through"
    bl_label = "Look Through the Photo"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set camera and resolution."""
        try:
            reference.look_through(context, session.selected_head(context))
        except ValueError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    SPMR_OT_make_head,
    SPMR_OT_make_row,
    SPMR_OT_make_again,
    SPMR_OT_recall_options,
    SPMR_OT_wear,
    SPMR_OT_look_through,
)
