"""The photo's camera: it looks at the head as the camera did, with the photo laid over its picture."""
# SPDX-License-Identifier: GPL-3.0-or-later

from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from ..services.camera import SENSOR_WIDTH_MM, PhotoCamera, photo_camera
from . import heads

_NEAR_M, _FAR_M = 0.01, 100.0
_OPACITY = 0.5


def read(head: dict[str, Any]) -> PhotoCamera | None:
    """Return the camera of a head's first photo; None where the server knows none."""
    return photo_camera(head["photo_camera"]) if head.get("photo_camera") else None


def add(armature: bpy.types.Object, camera: PhotoCamera, photo: Path, *, name: str) -> bpy.types.Object:
    """Return a camera that moves with the head, with the photo in front of what it sees, half transparent.

    It is in no collection yet.
    """
    thing = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    thing[heads.PART] = heads.PHOTO_CAMERA
    thing.parent = armature
    thing.matrix_basis = Matrix(camera.world_from_camera)
    data = thing.data
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_WIDTH_MM
    data.lens, data.shift_x, data.shift_y = camera.lens_mm, camera.shift_x, camera.shift_y
    data.clip_start, data.clip_end = _NEAR_M, _FAR_M
    data.show_background_images = True
    layer = data.background_images.new()
    layer.image, layer.alpha, layer.display_depth = _packed(photo, name), _OPACITY, "FRONT"
    return thing


def look_through(context: bpy.types.Context, armature: bpy.types.Object) -> None:
    """Make the photo's camera that of the scene, its picture as large as the photo, and look through it in 3D views.

    Raises:
        ValueError: the head has no such camera.
    """
    memory, thing = heads.remembered(armature), heads.parts(armature).get(heads.PHOTO_CAMERA)
    if thing is None or memory.photo_size_px is None:
        raise ValueError("This head has no camera of its photo; make it again with Photo as Reference on")
    render = context.scene.render
    context.scene.camera = thing
    render.resolution_x, render.resolution_y = memory.photo_size_px
    # Blender takes aspects from 1.
    render.pixel_aspect_x, render.pixel_aspect_y = max(memory.pixel_aspect, 1.0), max(1 / memory.pixel_aspect, 1.0)
    for area in context.screen.areas if context.screen else ():
        if area.type == "VIEW_3D":
            area.spaces.active.region_3d.view_perspective = "CAMERA"


def pictures_of(thing: bpy.types.Object | None) -> set[bpy.types.Image]:
    """Return the photos that a camera shows."""
    return {layer.image for layer in thing.data.background_images if layer.image} if thing is not None else set()


def _packed(photo: Path, name: str) -> bpy.types.Image:
    image = bpy.data.images.load(str(photo))
    image.name = name
    image.pack()
    return image
