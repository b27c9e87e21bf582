"""A head made again in place: new shapes and pictures in the objects that are there."""
# SPDX-License-Identifier: GPL-3.0-or-later

from collections.abc import Mapping

import bpy
from mathutils import Vector

from ..services.making import Made
from . import expression, heads, materials, reference
from .placing import Wishes, place, show_hair
from .selection import select


def remake(context: bpy.types.Context, armature: bpy.types.Object, made: Made, wishes: Wishes) -> None:
    """Give a head the shapes of a new one.

    Objects keep their transforms, parents, collections, constraints, modifiers and animation; bones their pose; shape
    keys their values and animation; materials that were worked on get the new pictures. What is new comes beside the
    armature, what is no longer there is removed. Sculpted shapes are lost.

    Raises:
        ValueError: the new file holds no rigged head; nothing has changed then.
    """
    new_armature = place(context, made, wishes, at=Vector())
    collection = new_armature.users_collection[0]
    old, new = heads.parts(armature), heads.parts(new_armature)
    replaced = [thing.data for thing in (armature, *old.values())]
    looks = {m for thing in (*old.values(), *new.values()) for m in getattr(thing.data, "materials", ()) if m}
    pictures = materials.pictures_of(looks) | reference.pictures_of(old.get(heads.PHOTO_CAMERA))
    heads.remember(armature, heads.remembered(new_armature))
    kept = {new_armature: armature, **{thing: old[part] for part, thing in new.items() if part in old}}
    for thing in new.values():
        if thing not in kept:
            _adopt(thing, kept)
            _move_beside(thing, armature)
    for thing, before in kept.items():
        _swap(before, thing)
    for part in old.keys() - new.keys() - {heads.PHOTO_CAMERA}:
        bpy.data.objects.remove(old[part])
    bpy.data.objects.remove(new_armature)
    bpy.data.collections.remove(collection)
    bpy.data.batch_remove([data for data in replaced if data.users == 0])
    bpy.data.batch_remove({material for material in looks if material.users == 0})
    bpy.data.batch_remove({picture for picture in pictures if picture.users == 0})
    _tie_together(heads.parts(armature), had_strands=heads.STRANDS in old)
    if heads.SKIN not in old and wishes.wears_expression:
        expression.wear(armature, made.expression)
    select(context, [armature], active=armature)


def _tie_together(things: Mapping[str, bpy.types.Object], *, had_strands: bool) -> None:
    """Restore what parts of a head know of each other's data."""
    if heads.STRANDS in things:
        skin = things[heads.SKIN]
        things[heads.STRANDS].data.surface, skin.add_rest_position_attribute = skin, True
        show_hair(things, as_strands=True)
    elif had_strands:
        show_hair(things, as_strands=False)
    expression.drive_by_skin({part: thing for part, thing in things.items() if thing.type == "MESH"})


def _swap(old: bpy.types.Object, new: bpy.types.Object) -> None:
    """Put the data of a new object into an old one, and remove the new one unless it is an armature."""
    if old.type == "MESH":
        expression.hand_over(old.data, new.data)
    if old.type in ("MESH", "CURVES"):
        kept = old.data.materials[0] if old.data.materials else None
        if kept is not None and materials.exchange_pictures(kept, new.data.materials[0]):
            new.data.materials[0] = kept
    if old.type == "CAMERA":
        _swap_camera(old, new)
    data, name = new.data, old.data.name
    if new.type != "ARMATURE":
        bpy.data.objects.remove(new)
    before, old.data = old.data, data
    before.name, data.name = f"{name} before", name


def _swap_camera(old: bpy.types.Object, new: bpy.types.Object) -> None:
    """The camera of the photo stands where the new head was seen from; how its picture lies over it stays."""
    old.matrix_parent_inverse, old.matrix_basis = new.matrix_parent_inverse, new.matrix_basis
    if old.data.background_images and new.data.background_images:
        before, after = old.data.background_images[0], new.data.background_images[0]
        after.alpha, after.display_depth = before.alpha, before.display_depth
        after.show_background_image = before.show_background_image
    new.data.show_background_images = old.data.show_background_images


def _adopt(thing: bpy.types.Object, kept: Mapping[bpy.types.Object, bpy.types.Object]) -> None:
    """Hang a part that the old head did not have on the objects that stay."""
    thing.parent = kept.get(thing.parent, thing.parent)  # unlike operators, this leaves the matrices alone
    for modifier in thing.modifiers:
        if modifier.type == "ARMATURE":
            modifier.object = kept.get(modifier.object, modifier.object)


def _move_beside(thing: bpy.types.Object, armature: bpy.types.Object) -> None:
    thing.name = heads.object_name(armature.name, thing[heads.PART])
    for collection in thing.users_collection:
        collection.objects.unlink(thing)
    for collection in armature.users_collection:
        collection.objects.link(thing)
