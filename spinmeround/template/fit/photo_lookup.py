"""What photos say about a fitted head: projections, visibility and look-ups shared by hair geometry and hair colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Integer

from spinmeround import mesh_raster
from spinmeround.geometry import camera_centres, project, vertex_normals
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.head_model import HeadModel
from spinmeround.types import Portrait


@dataclass(frozen=True)
class PhotoEvidence:
    """What one photo says about hair, ready for look-ups in its own pixels.

    Attributes:
        vertices: dense vertices in the pose of this photo.
        normals: their unit normals.
        pixels: their projections and depths.
        visible: nearest to the camera, and not facing away.
        beside: the same with more slack: what the bare head alone would let the camera see or nearly see.
        facing: cosine between normal and direction to the camera.
        skin_depth: depth of the bare head, infinity beside it.
    """

    portrait: Portrait
    camera_from_world: Float[np.ndarray, "4 4"]
    intrinsics_px: Float[np.ndarray, "3 3"]
    vertices: Float[np.ndarray, "m 3"]
    normals: Float[np.ndarray, "m 3"]
    pixels: Float[np.ndarray, "m 3"]
    visible: Bool[np.ndarray, "m"]
    beside: Bool[np.ndarray, "m"]
    facing: Float[np.ndarray, "m"]
    skin_depth: Float[np.ndarray, "h w"]


def gather_evidence(model: HeadModel, head: FittedHead, portraits: Sequence[Portrait]) -> list[PhotoEvidence]:
    """Projects the fitted head into each photo and finds what of it is seen."""
    return [_evidence(model, head, portrait, index) for index, portrait in enumerate(portraits)]


def _evidence(model: HeadModel, head: FittedHead, portrait: Portrait, index: int) -> PhotoEvidence:
    camera = head.photos[index].camera
    vertices = model.dense(head.posed(index))
    pixels = project(vertices, camera.camera_from_world[0], camera.intrinsics_px[0])
    buffer = mesh_raster.rasterize_pixels(pixels, model.dense_faces, camera.width_px, camera.height_px)
    normals = vertex_normals(vertices, model.dense_faces)
    to_camera = camera_centres(camera)[0] - vertices
    facing = (normals * to_camera).sum(1) / np.linalg.norm(to_camera, axis=1)
    column = np.clip(pixels[:, 0].astype(int), 0, camera.width_px - 1)
    row = np.clip(pixels[:, 1].astype(int), 0, camera.height_px - 1)
    inside = (pixels[:, :2] >= 0).all(1) & (pixels[:, 0] < camera.width_px) & (pixels[:, 1] < camera.height_px)
    behind = pixels[:, 2] - np.minimum(buffer.depth[row, column], pixels[:, 2])
    visible = inside & (facing > -0.05) & (behind < 0.012)
    beside = inside & (facing > -0.3) & (behind < 0.05)
    return PhotoEvidence(
        portrait,
        camera.camera_from_world[0],
        camera.intrinsics_px[0],
        vertices,
        normals,
        pixels,
        visible,
        beside,
        facing,
        buffer.depth,
    )


def mesh_laplacian(faces: Integer[np.ndarray, "f 3"], count: int) -> sp.csr_matrix:
    """Uniform graph Laplacian D - A."""
    rows = faces.ravel()
    columns = np.roll(faces, -1, axis=1).ravel()
    adjacency = sp.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    return (sp.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency).tocsr()
