"""Hair as curves: import of strands, and attaching them to the skin."""
# SPDX-License-Identifier: GPL-3.0-or-later

from pathlib import Path

import bpy

from . import heads, materials
from .selection import select


def add(context: bpy.types.Context, file: Path, skin: bpy.types.Object, *, name: str) -> bpy.types.Object:
    """Import strands and attach them to the skin at rest, so that they follow its bones and shape keys.

    Raises:
        ValueError: the file holds no curves.
    """
    before = set(bpy.data.objects)
    bpy.ops.wm.usd_import(filepath=str(file), import_curves=True)
    new = [thing for thing in bpy.data.objects if thing not in before]
    strands = next((thing for thing in new if thing.type == "CURVES"), None)
    if strands is None:
        raise ValueError("The file of the hair holds no curves; update spinmeround")
    world = strands.matrix_world.copy()
    strands.parent = None
    strands.matrix_world = world
    for thing in new:
        if thing != strands:
            bpy.data.objects.remove(thing)
    strands.name = strands.data.name = name
    strands[heads.PART] = heads.STRANDS
    materials.colour_strands(strands, name)
    _attach(context, strands, skin)
    return strands


def _attach(context: bpy.types.Context, strands: bpy.types.Object, skin: bpy.types.Object) -> None:
    """Make the skin the surface of the curves: the operator adds the modifier and the skin's rest positions."""
    select(context, [strands, skin], active=skin)
    bpy.ops.curves.surface_set()
