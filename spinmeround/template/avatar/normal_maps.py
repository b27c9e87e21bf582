"""Normal maps of an avatar: the detail that a level of detail loses of the dense head, and the strands of its hair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from spinmeround.images import resize
from spinmeround.io.meshes.corners import smooth_normals
from spinmeround.tangent_space import fill_from_nearest, texel_frames
from spinmeround.template.model.head_model import HeadModel
from spinmeround.template.render import Covering, strand_normals
from spinmeround.types import AvatarPart, TexturedMesh


def with_head_normals(
    parts: Sequence[AvatarPart],
    model: HeadModel,
    rest: Float[np.ndarray, "m 3"],
    fine_normals: Float[np.ndarray, "t t 3"] | None,
) -> list[AvatarPart]:
    """Return parts of the head that share one texture, with the dense head's normals in a map that they share too.

    Args:
        rest: dense vertices.
        fine_normals: normals of even finer detail, in the dense head's tangent space; as large as the texture.
    """
    albedo = parts[0].mesh.albedo
    dense = TexturedMesh(rest, model.dense_faces, model.uv.astype(np.float64), model.uv_faces, albedo)
    frames = texel_frames(dense, smooth_normals(dense))
    inside = np.array([[0, 0, 1]], np.float32) if fine_normals is None else fine_normals[frames.covered]
    fine = frames.picture(frames.to_world(np.broadcast_to(inside, frames.points.shape)))
    normal_map, known = np.zeros_like(fine), np.zeros_like(frames.covered)
    for part in parts:
        own = texel_frames(part.mesh, smooth_normals(part.mesh))
        normal_map[own.covered] = own.from_world(fine[own.covered])
        known |= own.covered
    normal_map = fill_from_nearest(normal_map, known)
    return [replace(part, mesh=replace(part.mesh, normal_map=normal_map)) for part in parts]


def with_strand_normals(mesh: TexturedMesh, hair: Covering) -> TexturedMesh:
    """Return a level of detail of the hair with a map of the whole hair's normals, tilted by its strands."""
    height, width = mesh.albedo.shape[:2]
    whole = strand_normals(hair)
    whole = whole if whole.shape[:2] == (height, width) else resize(whole, width, height)
    frames = texel_frames(mesh, smooth_normals(mesh))
    return replace(mesh, normal_map=frames.picture(frames.from_world(whole[frames.covered])))
