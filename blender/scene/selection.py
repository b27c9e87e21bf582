"""Selecting objects without operators."""
# SPDX-License-Identifier: GPL-3.0-or-later

from collections.abc import Sequence

import bpy


def select(context: bpy.types.Context, things: Sequence[bpy.types.Object], *, active: bpy.types.Object | None) -> None:
    """Select just these objects and make one the active one."""
    context.view_layer.update()  # objects that were removed would still be listed
    for thing in context.view_layer.objects:
        thing.select_set(thing in things)
    context.view_layer.objects.active = active
