"""Expressions: the photo's, none, and drivers through which the keys of the skin move eyes, teeth and tongue."""
# SPDX-License-Identifier: GPL-3.0-or-later

from collections.abc import Mapping

import bpy

from .heads import SKIN, parts


def wear(armature: bpy.types.Object, weights: Mapping[str, float]) -> None:
    """Set the skin's shape keys; those without a weight go to rest."""
    keys = _keys(parts(armature).get(SKIN))
    for key in list(keys.key_blocks)[1:] if keys else ():
        key.value = weights.get(key.name, 0.0)


def drive_by_skin(things: Mapping[str, bpy.types.Object]) -> None:
    """Let each key of eyes, teeth and tongue have the value of the skin's key of the same name.

    Drivers that only sum need no permission to run scripts.
    """
    leader = _keys(things.get(SKIN))
    if leader is None:
        return
    for part, thing in things.items():
        keys = _keys(thing)
        if part == SKIN or keys is None:
            continue
        for key in list(keys.key_blocks)[1:]:
            if key.name not in leader.key_blocks:
                continue
            key.driver_remove("value")
            driver = key.driver_add("value").driver
            driver.type = "SUM"
            target = driver.variables.new().targets[0]
            target.id_type, target.id = "KEY", leader
            target.data_path = f'key_blocks["{bpy.utils.escape_identifier(key.name)}"].value'


def hand_over(old: bpy.types.Mesh, new: bpy.types.Mesh) -> None:
    """Give a new mesh the values, limits and animation of an old one's shape keys, by name."""
    before, after = old.shape_keys, new.shape_keys
    if before is None or after is None:
        return
    for key in list(after.key_blocks)[1:]:
        same = before.key_blocks.get(key.name)
        if same is not None:
            key.slider_min, key.slider_max = same.slider_min, same.slider_max
            key.value, key.mute = same.value, same.mute
    if before.animation_data and before.animation_data.action:
        moved = after.animation_data_create()
        moved.action = before.animation_data.action
        if hasattr(moved, "action_slot"):  # since Blender 4.4
            moved.action_slot = before.animation_data.action_slot


def _keys(thing: bpy.types.Object | None) -> bpy.types.Key | None:
    return thing.data.shape_keys if thing is not None and thing.type == "MESH" else None
