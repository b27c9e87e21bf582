"""The Blender extension: heads from photos, made by spmr-app, placed in the scene with materials and a rig."""
# SPDX-License-Identifier: GPL-3.0-or-later

from . import ui


def register() -> None:
    """Add the extension's menus, panels and settings to Blender."""
    ui.register()


def unregister() -> None:
    """Stop what is being made, end the server if the extension started it, and take everything away again."""
    ui.unregister()
