"""A head made again in place: new shapes and pictures in the objects that are there."""
# SPDX-License-Identifier: GPL-3.0-or-later

import bpy
from mathutils import Vector

from ..services.making import Made
from . import expression, heads, materials
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
    pictures = materials.pictures_of(looks)
    heads.remember(armature, heads.remembered(new_armature))
    _swap(armature, new_armature)
    for part, thing in new.items():
        if part in old:
            _swap(old[part], thing)
        else:
            _adopt(thing, new_armature, armature)
    for part in old.keys() - new.keys() - {heads.PHOTO_CAMERA}:
        bpy.data.objects.remove(old[part])
    bpy.data.objects.remove(new_armature)
    bpy.data.collections.remove(collection)
    bpy.data.batch_remove([data for data in replaced if data.users == 0])
    bpy.data.batch_remove({material for material in looks if material.users == 0})
    bpy.data.batch_remove({picture for picture in pictures if picture.users == 0})
    _finish(context, armature, made, wishes, wears=heads.SKIN not in old)


def _finish(context: bpy.types.Context, armature: bpy.types.Object, made: Made, wishes: Wishes, *, wears: bool) -> None:
    things = heads.parts(armature)
    if heads.STRANDS in things:
        things[heads.STRANDS].data.surface = things[heads.SKIN]
    show_hair(things, as_strands=heads.STRANDS in things)
    expression.drive_by_skin({part: thing for part, thing in things.items() if thing.type == "MESH"})
    if wears and wishes.wears_expression:
        expression.wear(armature, made.expression)
    select(context, [armature], active=armature)


def _swap(old: bpy.types.Object, new: bpy.types.Object) -> None:
    """Put the data of a new object into an old one, and remove the new one unless it is an armature."""
    if old.type == "MESH":
        expression.hand_over(old.data, new.data)
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


def _adopt(thing: bpy.types.Object, new_armature: bpy.types.Object, armature: bpy.types.Object) -> None:
    """Bring a part that the old head did not have beside its armature."""
    if thing.parent == new_armature:
        thing.parent = armature
    for modifier in thing.modifiers:
        if modifier.type == "ARMATURE" and modifier.object == new_armature:
            modifier.object = armature
    thing.name = thing.name.rsplit(".", 1)[0]
    for collection in thing.users_collection:
        collection.objects.unlink(thing)
    for collection in armature.users_collection:
        collection.objects.link(thing)
