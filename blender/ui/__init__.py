"""What the user sees: preferences, the panel in the sidebar, menus, operators."""
# SPDX-License-Identifier: GPL-3.0-or-later

import bpy

from . import export, import_menu, making, panel, photos, preferences, session, settings, watching

_MODULES = (preferences, settings, photos, making, watching, import_menu, export, panel)


def register() -> None:
    """Add all classes and menu entries."""
    for module in _MODULES:
        for each in module.CLASSES:
            bpy.utils.register_class(each)
    settings.attach()
    import_menu.attach()
    export.attach()
    bpy.app.handlers.load_pre.append(session.abandon)


def unregister() -> None:
    """Stop what is being made, end a server that was started here, and take all away again."""
    bpy.app.handlers.load_pre.remove(session.abandon)
    session.abandon()
    session.PROGRAM.stop()
    export.detach()
    import_menu.detach()
    settings.detach()
    for module in reversed(_MODULES):
        for each in reversed(module.CLASSES):
            bpy.utils.unregister_class(each)
