"""The fitted head projected into its photos: visibility, facing and depth, shared by hair geometry and hair colour."""

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
class VisibilitySettings:
    """When a vertex counts as visible.

    Attributes:
        min_facing: least cosine of the angle between its normal and the direction to the camera.
        max_behind: how far it may lie behind the nearest surface in its pixel, head units.
    """

    min_facing: float
    max_behind: float


_VISIBLE = VisibilitySettings(min_facing=-0.05, max_behind=0.012)
_NEARLY_VISIBLE = VisibilitySettings(min_facing=-0.3, max_behind=0.05)


@dataclass(frozen=True)
class PhotoEvidence:
    """One photo with the bare dense head projected into it.

    Attributes:
        camera_from_world: rigid transform, OpenCV camera axes.
        vertices: dense vertices with the expression of this photo, world frame.
        normals: their unit normals, world frame.
        pixels: their projections (x, y in pixels) and depths (head units).
        visible: true where nothing of the bare head hides the vertex and it does not face away.
        nearly_visible: the same with more tolerance; true for most of an ear that is seen from the front.
        facing: cosine of the angle between normal and direction to the camera.
        skin_depth: depth of the bare head per pixel, infinity beside it.
    """

    portrait: Portrait
    camera_from_world: Float[np.ndarray, "4 4"]
    intrinsics_px: Float[np.ndarray, "3 3"]
    vertices: Float[np.ndarray, "m 3"]
    normals: Float[np.ndarray, "m 3"]
    pixels: Float[np.ndarray, "m 3"]
    visible: Bool[np.ndarray, "m"]
    nearly_visible: Bool[np.ndarray, "m"]
    facing: Float[np.ndarray, "m"]
    skin_depth: Float[np.ndarray, "h w"]

    @property
    def unit_px(self) -> float:
        """Pixels to a head unit at the depth of the head's centre."""
        return float(self.intrinsics_px[0, 0] / self.camera_from_world[2, 3])


def gather_evidence(model: HeadModel, head: FittedHead, portraits: Sequence[Portrait]) -> list[PhotoEvidence]:
    """Project the fitted head into each photo and find which vertices are visible there."""
    return [_project_head(model, head, portrait, index) for index, portrait in enumerate(portraits)]


def _project_head(model: HeadModel, head: FittedHead, portrait: Portrait, index: int) -> PhotoEvidence:
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
    visible = inside & (facing > _VISIBLE.min_facing) & (behind < _VISIBLE.max_behind)
    nearly_visible = inside & (facing > _NEARLY_VISIBLE.min_facing) & (behind < _NEARLY_VISIBLE.max_behind)
    return PhotoEvidence(
        portrait,
        camera.camera_from_world[0],
        camera.intrinsics_px[0],
        vertices,
        normals,
        pixels,
        visible,
        nearly_visible,
        facing,
        buffer.depth,
    )


def mesh_laplacian(faces: Integer[np.ndarray, "f 3"], count: int) -> sp.csr_matrix:
    """Return the uniform graph Laplacian, degree minus adjacency, of the vertices of a mesh."""
    rows = faces.ravel()
    columns = np.roll(faces, -1, axis=1).ravel()
    adjacency = sp.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    return (sp.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency).tocsr()
