"""Posed views of heads outside the template's shape space: synthetic people with a smooth random displacement.

    ANNY_CACHE_DIR=... python benchmarks/strangers.py OUT.png     a contact sheet of them

Shape and albedo come from ``synthetic_people``. A smooth random displacement of several millimetres then takes each
shape out of the model space that these people and the template share.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import synthetic_paint
import synthetic_people
import synthetic_photo
from jaxtyping import Float
from measures import MILLIMETRES_PER_UNIT
from pictures import write_rgb

from spinmeround.geometry import resized, vertex_normals
from spinmeround.images import composite, to_uint8
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import ORBITS, WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.types import Cameras, Mesh, Views

EYES = np.array([0.0, -0.02, 0.16])
"""Place of the point midway between a person's eyes, head units."""

_BUMPS = 60
_BUMP_MM = 28.0
_SAMPLES = 2
_KEY, _FILL = np.array([0.45, 0.45, 0.77]), np.array([-0.75, 0.15, 0.64])


@dataclass(frozen=True)
class UnseenHead:
    """A head and posed views of it.

    Attributes:
        skin: head without hair and clothes, world frame.
        views: pictures with exact normals and masks of the head with hair and bust.
    """

    skin: Mesh
    views: Views


def rig(size_px: int) -> Cameras:
    """Return the sixteen cameras of the standard rig."""
    azimuths, elevations = zip(*ORBITS["orbit-16"], strict=True)
    return orbit_cameras(azimuths, elevations, size_px=size_px, focal_widths=WHOLE_FOCAL_WIDTHS)


def make_unseen_head(seed: int, *, displacement_mm: float, size_px: int = 512, expression: bool = False) -> UnseenHead:
    """Return one synthetic person.

    Args:
        displacement_mm: root mean square of the displacement over the face.
        expression: draw a small one.
    """
    maker, rng = synthetic_people.head_maker(), np.random.default_rng([seed, 0])
    shape = maker.draw_shape(rng)
    drawn = maker.draw_expression(rng) if expression else {}
    neutral, (posed,) = maker.neutral_and_posed(shape, [drawn])
    offset = _smooth_displacement(maker, neutral, seed, displacement_mm)
    neutral, posed = neutral + offset, posed + offset
    paint, canvas, cameras = synthetic_paint.draw_paint(shape[0], rng), maker.canvas, rig(size_px)
    subject = synthetic_photo.dressed(canvas, posed, paint)
    return UnseenHead(
        Mesh(neutral / MILLIMETRES_PER_UNIT + EYES, maker.faces), _rendered(subject, canvas, paint, cameras)
    )


def _smooth_displacement(
    maker: synthetic_people.HeadMaker, vertices: Float[np.ndarray, "v 3"], seed: int, displacement_mm: float
) -> Float[np.ndarray, "v 3"]:
    """Return a sum of random Gaussian bumps; each eyeball moves as a whole."""
    rng = np.random.default_rng([seed, 7])
    centres = vertices[rng.integers(0, len(vertices), _BUMPS)]
    pushes = rng.normal(size=(_BUMPS, 3))
    where = vertices.copy()
    for eye in synthetic_paint.EYEBALLS:
        where[maker.part == eye] = vertices[maker.part == eye].mean(0)
    gap = ((where[:, None] - centres) ** 2).sum(-1)
    field = np.exp(-gap / (2 * _BUMP_MM**2)) @ pushes
    on_face = np.unique(maker.faces[maker.face])
    return field * (displacement_mm / np.sqrt((field[on_face] ** 2).sum(1).mean()))


def _rendered(
    subject: synthetic_photo.Subject, canvas: synthetic_paint.Canvas, paint: synthetic_paint.Paint, cameras: Cameras
) -> Views:
    """Render exact normals and masks, and colours under a sky and two lamps."""
    vertices = subject.vertices / MILLIMETRES_PER_UNIT + EYES
    normals = vertex_normals(vertices, subject.faces)
    fine = resized(cameras, _SAMPLES * cameras.width_px, _SAMPLES * cameras.height_px)
    planes = [
        _rendered_view(subject, canvas, paint, vertices, normals, fine, index, cameras.width_px)
        for index in range(len(cameras))
    ]
    rgb, world, alpha = (np.stack(kind) for kind in zip(*planes, strict=True))
    return Views(cameras, rgb, world, alpha, np.ones_like(alpha))


def _rendered_view(subject, canvas, paint, vertices, normals, fine: Cameras, index: int, size_px: int):
    buffer = rasterize(vertices, subject.faces, fine, index)
    hit = buffer.face >= 0
    attributes = np.concatenate([normals, subject.place], axis=1)
    seen = interpolate(attributes, subject.faces, buffer)[hit].astype(np.float64)
    normal = seen[:, :3] / np.maximum(np.linalg.norm(seen[:, :3], axis=1, keepdims=True), 1e-9)
    kind = subject.kind[buffer.face[hit]]
    albedo, _ = synthetic_paint.albedo_of(canvas, seen[:, 3:], kind, _lips(subject, canvas, buffer), paint)
    lit = 0.35 + 0.2 * normal[:, 1:2] + 0.5 * np.clip(normal @ _KEY, 0, None)[:, None]
    lit = lit + 0.2 * np.clip(normal @ _FILL, 0, None)[:, None]
    planes = np.zeros((*buffer.face.shape, 7), np.float32)
    planes[hit] = np.concatenate([np.clip(albedo * lit, 0, 1), normal, np.ones((len(normal), 1))], axis=1)
    small = cv2.resize(planes, (size_px, size_px), interpolation=cv2.INTER_AREA)
    alpha = small[..., 6]
    inside = np.maximum(alpha, 1e-6)[..., None]
    rgb = np.where(alpha[..., None] > 0, (small[..., :3] / inside) ** (1 / 2.2), 0)
    length = np.linalg.norm(small[..., 3:6], axis=-1, keepdims=True)
    world = np.where(length > 1e-6, small[..., 3:6] / np.maximum(length, 1e-6), 0)
    return rgb.astype(np.float32), world.astype(np.float32), alpha


def _lips(subject: synthetic_photo.Subject, canvas: synthetic_paint.Canvas, buffer) -> Float[np.ndarray, "n"]:
    """Share of lip at each sample that hits the subject."""
    hit = buffer.face >= 0
    face = buffer.face[hit]
    on_head = face < len(subject.uv_faces)
    corners = subject.uv[subject.uv_faces[np.where(on_head, face, 0)]]
    u, v = (corners * buffer.barycentric[hit][..., None]).sum(1).T
    height, width = canvas.lips_mask.shape
    row = np.clip(((1 - v) * height).astype(int), 0, height - 1)
    column = np.clip((u * width).astype(int), 0, width - 1)
    return canvas.lips_mask[row, column] * on_head


def main() -> None:
    """Write a contact sheet: five views of each head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=4)
    arguments = parser.parse_args()
    rows = []
    for seed in range(arguments.count):
        views = make_unseen_head(seed, displacement_mm=4.0, size_px=256).views
        pictures = to_uint8(composite(views.rgb, views.alpha))[[0, 1, 2, 8, 15]]
        rows.append(np.hstack(list(pictures)))
    write_rgb(arguments.out, np.vstack(rows))


if __name__ == "__main__":
    main()
