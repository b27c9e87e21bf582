"""Pictures of a finished template head: skin, eyes, mouth and hair in one depth buffer, anti-aliased, unlit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Integer

from spinmeround import mesh_raster
from spinmeround.geometry import resized, vertex_normals
from spinmeround.images import sample
from spinmeround.template import bust
from spinmeround.template.hair_texture import HairTexture
from spinmeround.template.head_model import HeadModel
from spinmeround.types import Cameras, Mesh, Views

_SAMPLES = 2
"""Samples per pixel along each axis."""

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
    above = bust.cut(skin.vertices, skin.model.dense_faces)
    skin_mesh = bust.creased(above.vertices, above.faces)
    vertices, faces = skin_mesh.vertices, skin_mesh.faces
    corner_uv = above.at_corners(skin.model.uv[skin.model.uv_faces.ravel()])
    normals = vertex_normals(vertices, faces)
    if hair is not None:
        hair_above = bust.cut(hair.mesh.vertices, hair.mesh.faces)
        hanging = bust.creased(hair_above.vertices, hair_above.faces)
        faces = np.concatenate([faces, hanging.faces + len(vertices)])
        normals = np.concatenate([normals, vertex_normals(hanging.vertices, hanging.faces)])
        vertices = np.concatenate([vertices, hanging.vertices])
    scene = _Scene(vertices, faces, normals, corner_uv, skin.albedo, hair.texture if hair else None)
    shape = (len(cameras), cameras.height_px, cameras.width_px)
    rgb, world = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.float32)
    large = resized(cameras, cameras.width_px * _SAMPLES, cameras.height_px * _SAMPLES)
    for index in range(len(cameras)):
        buffer = mesh_raster.rasterize(vertices, faces, large, index)
        colour, normal = _shade(scene, buffer)
        hit = (buffer.face >= 0).astype(np.float32)
        alpha[index] = _average(hit)
        coverage = np.maximum(alpha[index], 1e-6)[..., None]
        rgb[index] = _average(colour) / coverage
        world[index] = _average(normal)
    length = np.linalg.norm(world, axis=-1, keepdims=True)
    world = np.where(length > 1e-3, world / np.maximum(length, 1e-6), 0)
    return Views(cameras, np.clip(rgb, 0, 1), world.astype(np.float32), alpha, np.ones(shape, np.float32), names)


def _average(samples):
    """Box filter from samples to pixels."""
    height, width = samples.shape[0] // _SAMPLES, samples.shape[1] // _SAMPLES
    return cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Scene:
    """Skin faces first, ``corner_uv`` for these alone; the faces after them are hair."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    corner_uv: Float[np.ndarray, "s 3 2"]
    albedo: Float[np.ndarray, "th tw 3"]
    hair: HairTexture | None


def _shade(scene: _Scene, buffer: mesh_raster.FaceBuffer):
    """Colour and unit world normal per sample, 0 where nothing is hit."""
    colour = np.zeros((*buffer.face.shape, 3), np.float32)
    normal = mesh_raster.interpolate(scene.normals.astype(np.float32), scene.faces, buffer)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    on_skin = (buffer.face >= 0) & (buffer.face < len(scene.corner_uv))
    uv = (scene.corner_uv[buffer.face[on_skin]] * buffer.barycentric[on_skin][..., None]).sum(1)
    colour[on_skin] = sample_texture(scene.albedo, uv)
    on_hair = buffer.face >= len(scene.corner_uv)
    if scene.hair is not None and on_hair.any():
        corners = scene.vertices[scene.faces[buffer.face[on_hair]]]
        points = (corners * buffer.barycentric[on_hair][..., None]).sum(1)
        colour[on_hair], _ = scene.hair.sample(points)
        normal[on_hair] = _with_strands(scene.hair, points, normal[on_hair])
    return colour, normal


def sample_texture(albedo: Float[np.ndarray, "th tw 3"], uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Bilinear look-up; uv origin at the bottom-left of the picture."""
    height, width = albedo.shape[:2]
    return sample(albedo, np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height], axis=1))


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
