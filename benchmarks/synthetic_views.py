"""Synthetic people as exact posed views: colours that do not depend on the view, normals and masks.

    python benchmarks/synthetic_views.py OUT.png [--count 4]     a contact sheet of them

The head of ``synthetic_people`` with its hair, neutral in expression and closed at the neck, in the package's world
frame and units; the surface is curved between the vertices of its mesh.
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
from jaxtyping import Float, Integer
from pictures import write_rgb
from scipy.ndimage import map_coordinates

from spinmeround.geometry import resized, vertex_normals
from spinmeround.images import composite, to_uint8
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.types import Cameras, Mesh, Views

ANTIALIASED, ALIASED = 4, 1
"""Samples along a pixel's side. Two give an edge only five levels, and pictures 39 to 44 dB from the truth. One is what
many renderers do: masks of 0 and 1, and aliased colours."""
_HEIGHT = 0.6
"""From neck to crown, head units: all of it is in the pictures."""
_LAMP = np.array([0.4, 0.5, 0.77])


@dataclass(frozen=True)
class VirtualPerson:
    """One person, who can be rendered from any camera.

    Attributes:
        mesh: head units, centred.
        place: each vertex on the mean head, where its albedo is looked up.
        kind: of each face.
        uv: of the skin, whose faces come first.
    """

    mesh: Mesh
    place: Float[np.ndarray, "v 3"]
    kind: Integer[np.ndarray, "f"]
    uv: Float[np.ndarray, "t 2"]
    uv_faces: Integer[np.ndarray, "f 3"]
    canvas: synthetic_paint.Canvas
    paint: synthetic_paint.Paint

    def views(self, cameras: Cameras, *, samples: int = ANTIALIASED) -> Views:
        """Render the person with ``samples`` samples along a pixel's side."""
        size_px = (cameras.width_px, cameras.height_px)
        fine = resized(cameras, samples * size_px[0], samples * size_px[1])
        normals = vertex_normals(self.mesh.vertices, self.mesh.faces)
        attributes = np.concatenate([normals, self.place], axis=1)
        layers = []
        for index in range(len(cameras)):
            buffer = rasterize(self.mesh.vertices, self.mesh.faces, fine, index)
            hit = buffer.face >= 0
            seen = interpolate(attributes, self.mesh.faces, buffer)
            uv = interpolate(self.uv, self.uv_faces, buffer)
            rgb = np.zeros_like(seen[..., :3])
            rgb[hit] = self._colours(seen[hit], self.kind[buffer.face[hit]], uv[hit])
            layer = np.concatenate([rgb, seen[..., :3], hit[..., None]], axis=-1).astype(np.float32)
            layers.append(cv2.resize(layer, size_px, interpolation=cv2.INTER_AREA))
        stack = np.stack(layers)
        alpha = stack[..., 6]
        rgb = np.clip(stack[..., :3] / np.maximum(alpha, 1e-6)[..., None], 0, 1)
        length = np.linalg.norm(stack[..., 3:6], axis=-1, keepdims=True)
        normals = np.where(alpha[..., None] > 0.5, stack[..., 3:6] / np.maximum(length, 1e-6), 0)
        return Views(cameras, rgb, normals, alpha, np.ones_like(alpha))

    def _colours(
        self, seen: Float[np.ndarray, "n 6"], kind: Integer[np.ndarray, "n"], uv: Float[np.ndarray, "n 2"]
    ) -> Float[np.ndarray, "n 3"]:
        """Return the albedo lit by a soft lamp and the sky, sRGB."""
        mask = self.canvas.lips_mask
        height, width = mask.shape
        lips = map_coordinates(mask, [(1 - uv[:, 1]) * height - 0.5, uv[:, 0] * width - 0.5], order=1)
        albedo, _ = synthetic_paint.albedo_of(self.canvas, seen[:, 3:].astype(np.float64), kind, lips, self.paint)
        normal = seen[:, :3] / np.maximum(np.linalg.norm(seen[:, :3], axis=1, keepdims=True), 1e-6)
        light = 0.55 + 0.2 * normal[:, 1] + 0.45 * np.clip(normal @ _LAMP + 0.3, 0, None) / 1.3
        return synthetic_photo.srgb(albedo * light[:, None])


def virtual_person(seed: int) -> VirtualPerson:
    """Return a random person; the same seed gives the same one."""
    maker = synthetic_people.head_maker()
    rng = np.random.default_rng([seed, 0])
    shape = maker.draw_shape(rng)
    neutral_mm, _ = maker.neutral_and_posed(shape, [])
    paint, canvas = synthetic_paint.draw_paint(shape[0], rng), maker.canvas
    subject = synthetic_photo.dressed(canvas, neutral_mm, paint, curved=True)
    head = subject.kind != synthetic_paint.SHIRT
    count = int(subject.faces[head].max()) + 1
    vertices = subject.vertices[:count]
    vertices = (vertices - (vertices.min(0) + vertices.max(0)) / 2) * (_HEIGHT / np.ptp(vertices[:, 1]))
    loop = canvas.neck_loop
    lid = np.stack([np.full(len(loop), count), loop, np.roll(loop, 1)], axis=1)
    return VirtualPerson(
        Mesh(np.vstack([vertices, vertices[loop].mean(0)]), np.concatenate([subject.faces[head], lid])),
        np.vstack([subject.place[:count], subject.place[loop].mean(0)]),
        np.concatenate([subject.kind[head], np.zeros(len(lid), subject.kind.dtype)]),
        subject.uv,
        np.concatenate([subject.uv_faces, np.zeros_like(lid)]),
        canvas,
        paint,
    )


def main() -> None:
    """Write a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=4)
    arguments = parser.parse_args()
    cameras = orbit_cameras([0, 60, 150, 270], [0, 10, -10, 20], size_px=256, focal_widths=WHOLE_FOCAL_WIDTHS)
    rows = []
    for seed in range(arguments.count):
        views = virtual_person(seed).views(cameras)
        rows.append(np.hstack(to_uint8(composite(views.rgb, views.alpha))))
    write_rgb(arguments.out, np.vstack(rows))


if __name__ == "__main__":
    main()
