"""Pictures of a finished template head: skin, eyes, mouth and hair in one depth buffer, anti-aliased, unlit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, Integer

from spinmeround import mesh_raster
from spinmeround.geometry import resized, vertex_normals
from spinmeround.images import sample
from spinmeround.tangent_space import fill_from_nearest
from spinmeround.template.hair.texture import HairTexture, surface_of_map
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel
from spinmeround.types import Cameras, Mesh, Views

_COLOUR_SAMPLES, _NORMAL_SAMPLES = 4, 2
"""Samples per pixel along each axis. Strands of hair are about a pixel wide and outlines are sharp: what colours miss
looks different from each camera, and then no head shows all the pictures. Normals are smoother, and cost more."""

_MOST_SAMPLES = 1 << 24
"""Samples shaded at a time."""

_STRAND_HEIGHT = 0.0003
"""Deviation of the strands' height, head units: about 0.12 mm."""


@dataclass(frozen=True)
class Skin:
    """The dense template in one pose with its texture."""

    model: HeadModel
    vertices: Float[np.ndarray, "m 3"]
    albedo: Float[np.ndarray, "th tw 3"]


@dataclass(frozen=True)
class Hair:
    """The hair's surface and its colours."""

    mesh: Mesh
    texture: HairTexture


def render_views(skin: Skin, hair: Hair | None, cameras: Cameras, *, names: tuple[str, ...] = ()) -> Views:
    """Draws the head as each camera sees it.

    Returns:
        Views with full weight; colours are albedo, normals are those of the geometry plus the strands' relief.
    """
    above = neck_cut.cut(skin.vertices, skin.model.dense_faces)
    skin_mesh = neck_cut.creased(above.vertices, above.faces)
    vertices, faces = skin_mesh.vertices, skin_mesh.faces
    corner_uv = above.at_corners(skin.model.uv[skin.model.uv_faces.ravel()])
    normals = vertex_normals(vertices, faces)
    if hair is not None:
        hair_above = neck_cut.cut(hair.mesh.vertices, hair.mesh.faces)
        hanging = neck_cut.creased(hair_above.vertices, hair_above.faces)
        faces = np.concatenate([faces, hanging.faces + len(vertices)])
        normals = np.concatenate([normals, vertex_normals(hanging.vertices, hanging.faces)])
        vertices = np.concatenate([vertices, hanging.vertices])
    scene = _Scene(vertices, faces, normals, corner_uv, skin.albedo, hair.texture if hair else None)
    shape = (len(cameras), cameras.height_px, cameras.width_px)
    rgb, world = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.float32)
    for index in range(len(cameras)):
        for rows, strip in _strips(cameras, index):
            buffer = _rasterized(scene, strip, _COLOUR_SAMPLES)
            alpha[index, rows] = _average((buffer.face >= 0).astype(np.float32), _COLOUR_SAMPLES)
            rgb[index, rows] = _average(_colours(scene, buffer), _COLOUR_SAMPLES)
            world[index, rows] = _average(_normals(scene, _rasterized(scene, strip, _NORMAL_SAMPLES)), _NORMAL_SAMPLES)
        rgb[index] /= np.maximum(alpha[index], 1e-6)[..., None]
        world[index] = _unit_inside(world[index], alpha[index])
    return Views(cameras, np.clip(rgb, 0, 1), world, alpha, np.ones(shape, np.float32), names)


def _strips(cameras: Cameras, index: int) -> Iterator[tuple[slice, Cameras]]:
    """One camera as cameras for a few rows each, so that the samples of large pictures fit into memory."""
    height = max(1, _MOST_SAMPLES // (cameras.width_px * _COLOUR_SAMPLES**2))
    for top in range(0, cameras.height_px, height):
        rows = min(height, cameras.height_px - top)
        intrinsics_px = cameras.intrinsics_px[[index]].copy()
        intrinsics_px[0, 1, 2] -= top
        yield (
            slice(top, top + rows),
            Cameras(cameras.camera_from_world[[index]], intrinsics_px, cameras.width_px, rows),
        )


def _rasterized(scene: _Scene, camera: Cameras, samples: int) -> mesh_raster.FaceBuffer:
    large = resized(camera, camera.width_px * samples, camera.height_px * samples)
    return mesh_raster.rasterize(scene.vertices, scene.faces, large, 0)


def _unit_inside(normals: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Unit normals wherever there is coverage: slivers that only the finer samples hit take their neighbours'."""
    missed = (alpha > 0) & ~normals.any(axis=2)
    normals = np.where(missed[..., None], cv2.blur(normals, (3, 3)), normals)
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]
    return np.where((length > 1e-3) & (alpha[..., None] > 0), normals / np.maximum(length, 1e-6), np.float32(0))


def _average(values, samples: int):
    """Box filter from samples to pixels."""
    height, width = values.shape[0] // samples, values.shape[1] // samples
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Scene:
    """Skin faces first, ``corner_uv`` for these alone; the faces after them are hair."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    corner_uv: Float[np.ndarray, "s 3 2"]
    albedo: Float[np.ndarray, "th tw 3"]
    hair: HairTexture | None

    def hair_points(self, buffer: mesh_raster.FaceBuffer, hit) -> Float[np.ndarray, "n 3"]:
        """World positions of samples on the hair."""
        corners = self.vertices[self.faces[buffer.face[hit]]]
        return np.einsum("nkc,nk->nc", corners, buffer.barycentric[hit])


def _colours(scene: _Scene, buffer: mesh_raster.FaceBuffer) -> Float[np.ndarray, "h w 3"]:
    """Colour per sample, 0 where nothing is hit."""
    colours = np.zeros((*buffer.face.shape, 3), np.float32)
    on_skin = (buffer.face >= 0) & (buffer.face < len(scene.corner_uv))
    uv = np.einsum("nkc,nk->nc", scene.corner_uv[buffer.face[on_skin]], buffer.barycentric[on_skin])
    colours[on_skin] = sample_texture(scene.albedo, uv)
    on_hair = buffer.face >= len(scene.corner_uv)
    if scene.hair is not None and on_hair.any():
        colours[on_hair], _ = scene.hair.sample(scene.hair_points(buffer, on_hair))
    return colours


def _normals(scene: _Scene, buffer: mesh_raster.FaceBuffer) -> Float[np.ndarray, "h w 3"]:
    """Unit world normal per sample, 0 where nothing is hit."""
    normals = mesh_raster.interpolate(scene.normals.astype(np.float32), scene.faces, buffer)
    normals /= np.maximum(np.sqrt(np.einsum("hwc,hwc->hw", normals, normals)), 1e-6)[..., None]
    on_hair = buffer.face >= len(scene.corner_uv)
    if scene.hair is not None and on_hair.any():
        normals[on_hair] = _with_strands(scene.hair, scene.hair_points(buffer, on_hair), normals[on_hair])
    return normals


def sample_texture(albedo: Float[np.ndarray, "th tw 3"], uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Bilinear look-up; uv origin at the bottom-left of the picture."""
    height, width = albedo.shape[:2]
    return sample(albedo, np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height], axis=1))


def strand_normals(hair: Hair) -> Float32[np.ndarray, "th tw 3"]:
    """Unit world normals of the outermost hair with its strands, at each texel of the hair's map."""
    points, normals, occupied = surface_of_map(hair.mesh, hair.texture.centre)
    unit = normals[occupied] / np.maximum(np.linalg.norm(normals[occupied], axis=1, keepdims=True), 1e-9)
    drawn = np.zeros_like(normals)
    drawn[occupied] = _with_strands(hair.texture, points[occupied], unit)
    return fill_from_nearest(drawn, occupied)


def _with_strands(texture: HairTexture, points, normals):
    """Tilts normals by the slope of the strand relief across and along the strands."""
    around = np.cross([0.0, 1.0, 0.0], normals)
    around /= np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-6)
    along = np.cross(normals, around)
    reach = 0.0015
    tilted = normals.astype(np.float64)
    for tangent in (around, along):
        ahead, behind = (texture.sample(points + sign * reach * tangent)[1] for sign in (1, -1))
        slope = np.clip((ahead - behind) * _STRAND_HEIGHT / (2 * reach), -0.7, 0.7)
        tilted -= slope[:, None] * tangent
    return tilted / np.linalg.norm(tilted, axis=1, keepdims=True)
