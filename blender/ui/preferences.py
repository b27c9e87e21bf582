"""The extension's preferences: where spmr-app answers, and where it lies."""
# SPDX-License-Identifier: GPL-3.0-or-later

import bpy

from ..services.client import Client, ServerError, is_on_this_computer

EXTENSION = __package__.rpartition(".")[0]


class SPMR_Preferences(bpy.types.AddonPreferences):
    """Where the program is that makes heads."""

    bl_idname = EXTENSION

    address: bpy.props.StringProperty(
        name="Address",
        description="Where spmr-app answers; it prints this when it starts",
        default="http://127.0.0.1:8765",
    )
    token: bpy.props.StringProperty(
        name="Token",
        description="What spmr-app prints behind its address if it serves more than this computer; kept as it is in "
        "Blender's preferences",
        subtype="PASSWORD",
    )
    program: bpy.props.StringProperty(
        name="Program",
        description="Path of spmr-app, which is started if nothing answers, and ended with Blender. If empty, it is "
        "looked for where the system looks for programs",
        subtype="FILE_PATH",
    )

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the fields and a button that tries them."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "address")
        layout.prop(self, "token")
        layout.prop(self, "program")
        layout.operator(SPMR_OT_try_address.bl_idname, icon="URL")


class SPMR_OT_try_address(bpy.types.Operator):
    """Say whether spmr-app answers at the address"""

    bl_idname = "spinmeround.try_address"
    bl_label = "Try the Address"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the server for its version."""
        try:
            version = configured_client(preferences(context)).server()["version"]
        except ServerError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"spinmeround {version} answers")
        return {"FINISHED"}


CLASSES = (SPMR_OT_try_address, SPMR_Preferences)


def preferences(context: bpy.types.Context) -> SPMR_Preferences:
    """Return the extension's preferences."""
    return context.preferences.addons[EXTENSION].preferences


def configured_client(wanted: SPMR_Preferences) -> Client:
    """Return a client of the configured server.

    Raises:
        ServerError: the address is none, or lies on the network and Blender may not go there.
    """
    if not is_on_this_computer(wanted.address) and not bpy.app.online_access:
        raise ServerError(
            f"{wanted.address} is not on this computer, and Blender is offline; switch on Allow Online Access in "
            "Preferences > System"
        )
    return Client(wanted.address, wanted.token)
