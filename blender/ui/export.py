"""File > Export > Head for Unity or Unreal."""
# SPDX-License-Identifier: GPL-3.0-or-later

from pathlib import Path

import bpy
from bpy_extras.io_utils import ExportHelper

from ..scene import fbx
from . import session
from .making import OnHead


class SPMR_OT_export_fbx(OnHead, bpy.types.Operator, ExportHelper):
    """Write the selected head as FBX with the settings that Unity and Unreal need"""

    bl_idname = "spinmeround.export_fbx"
    bl_label = "Export Head"

    filename_ext = ".fbx"
    filter_glob: bpy.props.StringProperty(default="*.fbx", options={"HIDDEN"})
    engine: bpy.props.EnumProperty(
        name="For",
        items=(
            ("UNITY", "Unity", "The file's unit is the metre, so that nothing is scaled"),
            ("UNREAL", "Unreal", "Vertices in centimetres, one root bone"),
        ),
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Propose the head's name, and open the file browser."""
        if not bpy.data.is_saved:
            self.filepath = f"{session.selected_head(context).name}.fbx"
        return super().invoke(context, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the file."""
        if context.mode != "OBJECT":
            self.report({"ERROR"}, "Change to Object Mode first")
            return {"CANCELLED"}
        path = Path(self.filepath)
        try:
            fbx.export(context, session.selected_head(context), path, engine=self.engine)
        except (RuntimeError, OSError) as error:
            self.report({"ERROR"}, f"{path} was not written: {error}")
            return {"CANCELLED"}
        self.report({"INFO"}, f"{path.name} is written")
        return {"FINISHED"}


CLASSES = (SPMR_OT_export_fbx,)


def attach() -> None:
    """Add the menu entry."""
    bpy.types.TOPBAR_MT_file_export.append(_draw_entry)


def detach() -> None:
    """Remove the menu entry."""
    bpy.types.TOPBAR_MT_file_export.remove(_draw_entry)


def _draw_entry(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.operator(SPMR_OT_export_fbx.bl_idname, text="Head for Unity or Unreal (.fbx)")
