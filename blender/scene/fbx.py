"""FBX for Unity and Unreal: a head at rest at the origin, with the settings that these engines read without repair."""
# SPDX-License-Identifier: GPL-3.0-or-later

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from . import heads
from .selection import select


@dataclass(frozen=True)
class _Engine:
    """What an engine wants.

    Attributes:
        units_per_m: of the vertices in the file.
        scale: how Blender's exporter writes the unit.
        smoothing: what it writes of smooth edges beside the normals.
        armature: name of the armature's node; None for the head's own.
    """

    units_per_m: float
    scale: str
    smoothing: str
    armature: str | None


_ENGINES = {
    # Metres with the file's unit set to a metre: Unity then scales nothing.
    "UNITY": _Engine(1.0, "FBX_SCALE_ALL", "OFF", None),
    # Vertices in centimetres, so that no node has a scale of 100, whether or not Unreal converts units. Of a node
    # with just this name Unreal makes no bone of its own.
    "UNREAL": _Engine(100.0, "FBX_SCALE_NONE", "FACE", "Armature"),
}


def export(context: bpy.types.Context, armature: bpy.types.Object, path: Path, *, engine: str) -> None:
    """Write a head as FBX.

    The file has the armature and the meshes, hair as cards, with all shape keys at zero, no animation, no end bones,
    pictures inside. Modifiers are not applied, since shape keys would be lost.

    Args:
        context: in Object Mode.
        armature: the head's.
        path: of the file, which is replaced.
        engine: ``UNITY`` or ``UNREAL``.
    """
    wants = _ENGINES[engine]
    with _copied(context, armature, wants), _units(context.scene, 1 / wants.units_per_m):
        bpy.ops.export_scene.fbx(
            filepath=str(path),
            check_existing=False,
            use_selection=True,
            object_types={"ARMATURE", "MESH"},
            apply_scale_options=wants.scale,
            axis_forward="-Z",
            axis_up="Y",
            bake_space_transform=False,  # Blender's own documentation calls it broken with armatures
            use_mesh_modifiers=False,
            use_subsurf=False,
            mesh_smooth_type=wants.smoothing,
            add_leaf_bones=False,
            use_armature_deform_only=True,
            bake_anim=False,
            path_mode="COPY",
            embed_textures=True,
        )


@contextmanager
def _copied(context: bpy.types.Context, armature: bpy.types.Object, wants: _Engine) -> Iterator[None]:
    """Select a copy of the head, at rest at the origin, that has the names of its objects, and remove it again."""
    originals = [armature, *(thing for thing in heads.parts(armature).values() if thing.type == "MESH")]
    names = {thing: thing.name for thing in originals}
    selected, active = list(context.selected_objects), context.view_layer.objects.active
    collection = bpy.data.collections.new("spinmeround export")
    context.scene.collection.children.link(collection)
    copies: list[bpy.types.Object] = []
    try:
        for thing in originals:
            thing.name += " original"
            copies.append(_copy(thing, collection))
        rig = copies[0]
        for copy, original in zip(copies, originals, strict=True):
            copy.name = _plain(names[original])
            if copy != rig:
                _rig(copy, rig)
            _at_rest(copy, wants.units_per_m)
        rig.name = wants.armature or rig.name
        select(context, copies, active=rig)
        yield
    finally:
        data = [copy.data for copy in copies]
        for copy in copies:
            bpy.data.objects.remove(copy)
        bpy.data.batch_remove([*data, collection])
        for thing, name in names.items():
            thing.name = name
        select(context, selected, active=active)


def _copy(thing: bpy.types.Object, collection: bpy.types.Collection) -> bpy.types.Object:
    copy = thing.copy()
    copy.data = thing.data.copy()
    collection.objects.link(copy)
    copy.hide_viewport = copy.hide_select = False
    copy.animation_data_clear()
    copy.constraints.clear()
    return copy


def _rig(copy: bpy.types.Object, rig: bpy.types.Object) -> None:
    copy.modifiers.clear()
    copy.parent = rig
    copy.modifiers.new("Armature", "ARMATURE").object = rig


def _at_rest(copy: bpy.types.Object, scale: float) -> None:
    copy.matrix_parent_inverse = Matrix.Identity(4)
    copy.matrix_basis = Matrix.Identity(4)
    scaling: Any = Matrix.Scale(scale, 4)
    if copy.type == "ARMATURE":
        copy.parent = None
        copy.data.transform(scaling)
        for bone in copy.pose.bones:
            bone.matrix_basis = Matrix.Identity(4)
            for constraint in list(bone.constraints):
                bone.constraints.remove(constraint)
        return
    copy.data.transform(scaling, shape_keys=True)
    if copy.data.shape_keys:
        copy.data.shape_keys.animation_data_clear()
        for key in list(copy.data.shape_keys.key_blocks)[1:]:
            key.value = 0.0


def _plain(name: str) -> str:
    """Engines make files and paths of names."""
    return name.replace(" ", "_")


@contextmanager
def _units(scene: bpy.types.Scene, metres: float) -> Iterator[None]:
    """Let a unit of the scene be so many metres for a while: the exporter asks for it."""
    before = scene.unit_settings.scale_length
    scene.unit_settings.scale_length = metres
    try:
        yield
    finally:
        scene.unit_settings.scale_length = before
