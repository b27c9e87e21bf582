"""Photographs of the synthetic people: hair and shoulders, random lights, a wall behind, the rendered picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import trimesh
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.ndimage import map_coordinates
from synthetic_paint import EYEBALLS, SHIRT, Canvas, Paint, albedo_of, hair_thickness_mm

from spinmeround.geometry import resized, vertex_normals
from spinmeround.mesh_raster import FaceBuffer, interpolate, rasterize
from spinmeround.types import Cameras

_SAMPLES = 2
"""Samples a pixel along each axis."""

_SKY_RAYS = 48
_SHOULDER_RINGS = ((25, 1.0, 1.0), (35, 1.12, 1.1), (45, 1.5, 1.25), (58, 2.2, 1.4), (85, 2.9, 1.6), (160, 3.3, 1.8))
"""Of each ring: millimetres under the rim of the neck; width and depth relative to the rim's."""


@dataclass(frozen=True)
class Subject:
    """What is photographed: the subdivided head with its hair, and a bust under it.

    Attributes:
        place: each vertex on the mean head, where its albedo is looked up.
        kind: of each face, ``SHIRT`` for the bust.
        uv_faces: of the faces of the head, which come first.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    place: Float[np.ndarray, "v 3"]
    kind: Integer[np.ndarray, "f"]
    uv: Float[np.ndarray, "t 2"]
    uv_faces: Integer[np.ndarray, "h 3"]


@dataclass(frozen=True)
class _SurfaceSamples:
    """What the camera sees at each sample that hits the subject."""

    normal: Float[np.ndarray, "n 3"]
    open_sky: Float[np.ndarray, "n 1"]
    place: Float[np.ndarray, "n 3"]
    kind: Integer[np.ndarray, "n"]
    on_head: Bool[np.ndarray, "n"]
    lips: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class _Light:
    directions: Float[np.ndarray, "2 3"]
    colours: Float[np.ndarray, "2 3"]
    sky: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]


def photograph(
    canvas: Canvas,
    vertices_mm: Float[np.ndarray, "v 3"],
    paint: Paint,
    cameras: Cameras,
    index: int,
    rng: np.random.Generator,
    *,
    side_lit: bool = False,
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Return a noisy picture of a person from one camera, and the head's coverage of each pixel.

    The head is skin, eyes and hair down to the rim of the neck.

    Args:
        side_lit: light one side of the face, and leave the other dark.
    """
    subject, light = dressed(canvas, vertices_mm, paint), (_draw_side_light if side_lit else _draw_light)(rng)
    size = _SAMPLES * cameras.width_px
    fine = resized(cameras, size, size)
    buffer = rasterize(subject.vertices, subject.faces, fine, index)
    hit = buffer.face >= 0
    seen = _surface_seen(subject, canvas.lips_mask, buffer, paint)
    linear, head = _background(size, rng), np.zeros((size, size), np.float32)
    linear[hit] = _shade(seen, canvas, paint, light, to_eye=-cameras.camera_from_world[index, 2, :3])
    head[hit] = seen.on_head
    out = (cameras.width_px, cameras.height_px)
    linear, head = (cv2.resize(each, out, interpolation=cv2.INTER_AREA) for each in (linear, head))
    picture = srgb(cv2.GaussianBlur(linear, (0, 0), 0.5)) + rng.normal(0, 0.008, linear.shape)
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8), head


def _split_in_four(
    values: Float[np.ndarray, "v c"], faces: Integer[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "v2 c"], Integer[np.ndarray, "f2 3"]]:
    """Split every triangle into four at the midpoints of its edges; the surface stays the same."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = inverse.reshape(3, -1) + len(values)
    a, b, c = faces.T
    quarters = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]])
    return np.concatenate([values, values[unique].mean(1)]), quarters.transpose(0, 2, 1).reshape(-1, 3)


def _bust(
    vertices: Float[np.ndarray, "v 3"], loop: Integer[np.ndarray, "l"]
) -> tuple[Float[np.ndarray, "s 3"], Integer[np.ndarray, "g 3"]]:
    """Return rings from the rim of the neck out to the shoulders; faces index from the first ring."""
    rim, middle = vertices[loop], vertices[loop].mean(0)
    rings = [rim]
    for drop, wide, deep in (*_SHOULDER_RINGS, (300, 3.4, 1.9)):
        ring = middle + (rim - middle) * [wide, max(0, 1 - drop / 60), deep]
        rings.append(ring - [0, drop, 0])
    count = len(loop)
    a = np.arange(count)
    b = (a + 1) % count
    band = np.concatenate([np.stack([a, b + count, b], 1), np.stack([a, a + count, b + count], 1)])
    return np.concatenate(rings), np.concatenate([band + k * count for k in range(len(rings) - 1)])


def _lifted(
    coarse: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    split: Float[np.ndarray, "v2 c"],
) -> Float[np.ndarray, "v2 3"]:
    """Return the split vertices with edge midpoints moved toward the tangent planes at the edge's ends.

    Phong tessellation with alpha = 3/4 (Boubekeur and Alexa 2008). Silhouettes become smooth; the vertices of the
    coarse mesh keep their places.
    """
    normals, middles = vertex_normals(coarse, faces), split[len(coarse) :, :3]
    ends = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    for end in ends.T:
        height = ((coarse[end] - split[len(coarse) :, :3]) * normals[end]).sum(axis=1, keepdims=True)
        middles = middles + 0.75 / 2 * height * normals[end]
    return np.concatenate([coarse, middles])


def dressed(
    canvas: Canvas, vertices_mm: Float[np.ndarray, "v 3"], paint: Paint, *, curved: bool = False, splits: int = 2
) -> Subject:
    """Return a head in a person's shape, with hair and shoulders.

    Args:
        curved: Phong-tessellate the head, instead of leaving its faces flat.
        splits: how often each triangle of the head is split into four.
    """
    both, faces = np.concatenate([vertices_mm, canvas.mean_mm], axis=1), canvas.faces
    uv, uv_faces, kind = canvas.uv, canvas.uv_faces, canvas.part[canvas.faces[:, 0]]
    for _ in range(splits):
        coarse, coarse_faces = both[:, :3], faces
        both, faces = _split_in_four(both, faces)
        if curved:
            both[:, :3] = _lifted(coarse, coarse_faces, both)
        uv, uv_faces = _split_in_four(uv, uv_faces)
        kind = np.tile(kind, 4)
    skin, place = both[:, :3], both[:, 3:]
    head = skin + vertex_normals(skin, faces) * hair_thickness_mm(place, paint)[:, None]
    bust, bust_faces = _bust(vertices_mm, canvas.neck_loop)
    bust_place, _ = _bust(canvas.mean_mm, canvas.neck_loop)
    return Subject(
        np.concatenate([head, bust]),
        np.concatenate([faces, bust_faces + len(head)]),
        np.concatenate([place, bust_place]),
        np.concatenate([kind, np.full(len(bust_faces), SHIRT)]),
        uv,
        uv_faces,
    )


def _sky_visibility(subject: Subject, normals: Float[np.ndarray, "v 3"], *, seed: int) -> Float[np.ndarray, "v"]:
    """Return the cosine-weighted fraction of the sky that each vertex sees past the subject itself."""
    mesh = trimesh.Trimesh(subject.vertices, subject.faces, process=False)
    rng = np.random.default_rng(seed)
    open_sky = np.zeros(len(normals))
    for _ in range(_SKY_RAYS):
        direction = rng.normal(size=3)
        rays = normals + direction / np.linalg.norm(direction)
        open_sky += mesh.ray.intersects_first(subject.vertices + 0.6 * normals, rays) < 0
    return open_sky / _SKY_RAYS


def _surface_seen(
    subject: Subject, lips_mask: Float[np.ndarray, "mh mw"], buffer: FaceBuffer, paint: Paint
) -> _SurfaceSamples:
    normals = vertex_normals(subject.vertices, subject.faces)
    open_sky = _sky_visibility(subject, normals, seed=paint.seed)
    attributes = np.concatenate([normals, open_sky[:, None], subject.place], axis=1)
    hit = buffer.face >= 0
    face = buffer.face[hit]
    normal, sky, place = np.split(
        interpolate(attributes, subject.faces, buffer)[hit].astype(np.float64), [3, 4], axis=1
    )
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    on_head = face < len(subject.uv_faces)
    corners = subject.uv[subject.uv_faces[np.where(on_head, face, 0)]]
    u, v = (corners * buffer.barycentric[hit][..., None]).sum(1).T
    height, width = lips_mask.shape
    lips = map_coordinates(lips_mask, [(1 - v) * height - 0.5, u * width - 0.5], order=1) * on_head
    return _SurfaceSamples(normal, sky, place, subject.kind[face], on_head, lips)


def _shade(
    seen: _SurfaceSamples, canvas: Canvas, paint: Paint, light: _Light, *, to_eye: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n 3"]:
    """Shade with a sky, two lamps with wrapped diffuse light, and Blinn-Phong gloss (1977) on skin and eyes; linear."""
    albedo, hair = albedo_of(canvas, seen.place, seen.kind, seen.lips, paint)
    eyes = np.isin(seen.kind, EYEBALLS)[:, None]
    gloss = np.where(eyes, 0.72, 0.06 * (1 - hair[:, None]))
    sharpness = np.where(eyes, 120.0, 14.0)
    up = seen.normal[:, 1:2] * 0.5 + 0.5
    lit = (light.sky * up + light.ground * (1 - up)) * seen.open_sky
    shine = np.zeros_like(lit)
    for direction, colour in zip(light.directions, light.colours, strict=True):
        facing = (seen.normal @ direction)[:, None]
        lit += colour * np.clip((facing + 0.12) / 1.12, 0, None) * np.clip(0.25 + 0.9 * seen.open_sky, 0, 1)
        halfway = (direction + to_eye) / np.linalg.norm(direction + to_eye)
        shine += colour * gloss * np.clip(seen.normal @ halfway, 0, None)[:, None] ** sharpness * (facing > 0)
    return albedo * lit + shine


def _draw_light(rng: np.random.Generator) -> _Light:
    """Draw a key light from the front half, a weaker fill light from the other side, and a sky."""
    key = np.radians(rng.uniform(-55, 55))
    high, low = np.radians(rng.uniform(10, 50)), np.radians(rng.uniform(-5, 30))
    fill = -np.sign(key) * np.radians(rng.uniform(30, 80))
    directions = [[np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)] for a, e in ((key, high), (fill, low))]
    warm, strength, weaker = rng.uniform(-0.08, 0.08), rng.uniform(0.45, 0.9), rng.uniform(0.1, 0.35)
    colours = np.array([[strength], [weaker]]) * [[1 + warm, 1, 1 - warm], [1 - warm, 1, 1 + warm]]
    return _Light(np.array(directions), colours, np.array([0.45, 0.46, 0.48]), np.array([0.28, 0.26, 0.24]))


def _draw_side_light(rng: np.random.Generator) -> _Light:
    """Draw a strong key light from the left or the right, a hardly visible fill light, and a dim sky."""
    key = np.radians(rng.choice([-1, 1]) * rng.uniform(60, 85))
    high, low = np.radians(rng.uniform(5, 35)), np.radians(rng.uniform(-5, 30))
    directions = [[np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)] for a, e in ((key, high), (-key, low))]
    warm, strength = rng.uniform(-0.08, 0.08), rng.uniform(1.0, 1.4)
    colours = np.array([[strength], [0.04]]) * [[1 + warm, 1, 1 - warm], [1 - warm, 1, 1 + warm]]
    return _Light(np.array(directions), colours, np.array([0.16, 0.16, 0.17]), np.array([0.08, 0.08, 0.07]))


def _background(size: int, rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Draw a blurred wall, linear light."""
    rough = rng.uniform(0.6, 1.3, (5, 5, 1)) * rng.uniform(0.08, 0.6) * (1 + rng.uniform(-0.1, 0.1, (5, 5, 3)))
    return cv2.resize(rough.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC).clip(0.01, 1)


def srgb(linear: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Return linear light as sRGB."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
