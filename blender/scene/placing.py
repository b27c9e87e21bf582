"""Placing a head in the scene: import of its files, names, collection, materials, strands, expression, camera."""
# SPDX-License-Identifier: GPL-3.0-or-later

from collections.abc import Mapping
from dataclasses import dataclass

import bpy
from mathutils import Vector

from ..services.making import Made
from . import expression, heads, materials, reference, strands
from .heads import Memory
from .selection import select


@dataclass(frozen=True)
class Wishes:
    """How a head is placed.

    Attributes:
        wears_expression: whether its shape keys start with the photo's expression.
        reference: whether the photo's camera comes along.
        blended: hair cards are blended rather than dithered in EEVEE.
    """

    wears_expression: bool = True
    reference: bool = True
    blended: bool = False


def place(context: bpy.types.Context, made: Made, wishes: Wishes, *, at: Vector) -> bpy.types.Object:
    """Import a head into a collection of its own; return its armature, the only selected object.

    Args:
        context: in Object Mode.
        made: the head's files.
        wishes: what comes along.
        at: where the middle of the head lies, metres.

    Raises:
        ValueError: the file holds no rigged head.
    """
    armature, things = _imported(made)
    collection = bpy.data.collections.new(made.order.name)
    context.collection.children.link(collection)
    _name_all(made.order.name, armature, things)
    _move_into(collection, [armature, *things.values()])
    for part, thing in things.items():
        materials.dress(thing, part, name=heads.object_name(made.order.name, part), blended=wishes.blended)
    if made.strands is not None:
        name = heads.object_name(made.order.name, heads.STRANDS)
        added = strands.add(context, made.strands, things[heads.SKIN], name=name)
        _move_into(collection, [added])
        show_hair(things, as_strands=True)
    expression.drive_by_skin(things)
    camera = reference.read(made.head) if wishes.reference else None
    if camera is not None and made.photo is not None:
        name = heads.object_name(made.order.name, heads.PHOTO_CAMERA)
        _move_into(collection, [reference.add(armature, camera, made.photo, name=name)])
    heads.remember(armature, _memory(made))
    if wishes.wears_expression:
        expression.wear(armature, made.expression)
    armature.location = at
    select(context, [armature], active=armature)
    return armature


def show_hair(things: Mapping[str, bpy.types.Object], *, as_strands: bool) -> None:
    """Hide the hair's cards where there are strands, and show them where there are none."""
    for part in heads.CARDS:
        if part in things:
            things[part].hide_set(as_strands)
            things[part].hide_render = as_strands


def extent_m(armature: bpy.types.Object) -> tuple[float, float]:
    """Return how far a head reaches to both sides of its armature along X, metres at a scale of 1."""
    corners = [
        (thing.matrix_local @ Vector(corner)).x
        for thing in heads.parts(armature).values()
        if thing.type == "MESH"
        for corner in thing.bound_box
    ]
    return min(corners), max(corners)


def _imported(made: Made) -> tuple[bpy.types.Object, dict[str, bpy.types.Object]]:
    """Return the armature and the meshes by part, without what else the importer makes."""
    known = {kind: set(getattr(bpy.data, kind)) for kind in ("objects", "actions", "collections")}
    wanted = {"disable_bone_shape": True, "import_select_created_objects": False}
    understood = bpy.ops.import_scene.gltf.get_rna_type().properties.keys()
    bpy.ops.import_scene.gltf(
        filepath=str(made.avatar), **{name: value for name, value in wanted.items() if name in understood}
    )
    new = [thing for thing in bpy.data.objects if thing not in known["objects"]]
    armature = next((thing for thing in new if thing.type == "ARMATURE"), None)
    things = {}
    for thing in new:
        if thing.type == "MESH" and thing.data.materials:
            thing[heads.PART] = part = thing.data.name.split(".")[0]
            things[part] = thing
            if thing.data.shape_keys:
                thing.data.shape_keys.animation_data_clear()
    # The clip of the photo's expression would overrule whatever is done to the keys; its weights are remembered.
    for action in [action for action in bpy.data.actions if action not in known["actions"]]:
        bpy.data.actions.remove(action)
    complete = armature is not None and heads.SKIN in things
    for thing in new:
        if not complete or thing not in (armature, *things.values()):
            bpy.data.objects.remove(thing)
    if not complete:
        raise ValueError("The file of the head holds no rig; update spinmeround")
    armature.animation_data_clear()
    armature.data.display_type, armature.show_in_front = "STICK", True
    _leave_collections([armature, *things.values()])
    for collection in [one for one in bpy.data.collections if one not in known["collections"]]:
        bpy.data.collections.remove(collection)
    return armature, things


def _name_all(name: str, armature: bpy.types.Object, things: dict[str, bpy.types.Object]) -> None:
    armature.name = armature.data.name = name
    for part, thing in things.items():
        thing.name = thing.data.name = heads.object_name(name, part)


def _leave_collections(things: list[bpy.types.Object]) -> None:
    for thing in things:
        for collection in thing.users_collection:
            collection.objects.unlink(thing)


def _move_into(collection: bpy.types.Collection, things: list[bpy.types.Object]) -> None:
    _leave_collections(things)
    for thing in things:
        collection.objects.link(thing)


def _memory(made: Made) -> Memory:
    camera = reference.read(made.head)
    return Memory(
        photos=[str(photo) for photo in made.order.photos],
        options=made.order.options,
        strands=made.order.strands,
        expression=made.expression,
        quality=(made.head.get("quality") or {}).get("sentence") or "",
        photo_size_px=[camera.width_px, camera.height_px] if camera else None,
        pixel_aspect=camera.pixel_aspect if camera else 1.0,
    )
