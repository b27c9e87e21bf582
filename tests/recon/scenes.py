"""Small scenes with exact normals: spheres and a head-like body on a neck, drawn with the package's own z-buffer."""

from __future__ import annotations

import numpy as np
import trimesh

from spinmeround import mesh_raster
from spinmeround.orbits import orbit_cameras
from spinmeround.types import Cameras, Mesh, Views

LEVEL = ((0, 0), (45, 20), (90, -15), (135, 0), (180, 20), (225, -15), (270, 0), (315, 20))
RING = (*LEVEL, (20, 60), (200, 60), (110, -60), (290, -60))


def sphere(centre=(0.0, 0.0, 0.0), radii=(0.2, 0.2, 0.2), subdivisions: int = 5) -> tuple[Mesh, np.ndarray]:
    """An ellipsoid and its exact vertex normals."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    normals = ball.vertices / np.asarray(radii)
    return (
        Mesh(ball.vertices * radii + centre, np.asarray(ball.faces)),
        normals / np.linalg.norm(normals, axis=1, keepdims=True),
    )


def tube(radius: float, top: float, bottom: float, turns: int = 96) -> tuple[Mesh, np.ndarray]:
    """An open vertical tube and its normals."""
    angle = 2 * np.pi * np.arange(turns) / turns
    circle = np.stack([np.sin(angle), np.zeros(turns), np.cos(angle)], axis=1)
    vertices = np.concatenate([radius * circle + [0, top, 0], radius * circle + [0, bottom, 0]])
    i, j = np.arange(turns), (np.arange(turns) + 1) % turns
    faces = np.concatenate([np.stack([i, i + turns, j], 1), np.stack([j, i + turns, j + turns], 1)])
    return Mesh(vertices, faces), np.concatenate([circle, circle])


def union(*parts: tuple[Mesh, np.ndarray]) -> tuple[Mesh, np.ndarray]:
    """Parts in one mesh; hidden inner surfaces stay, a z-buffer never shows them."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh, _ in parts[:-1]])
    return (
        Mesh(
            np.concatenate([mesh.vertices for mesh, _ in parts]),
            np.concatenate([mesh.faces + offset for (mesh, _), offset in zip(parts, offsets, strict=True)]),
        ),
        np.concatenate([normals for _, normals in parts]),
    )


def cameras(directions=RING, *, size_px: int = 128) -> Cameras:
    azimuths, elevations = zip(*directions, strict=True)
    return orbit_cameras(azimuths, elevations, size_px=size_px)


def draw(scene: tuple[Mesh, np.ndarray], cams: Cameras, colour=None) -> Views:
    """Views of a scene; ``colour`` maps world points to RGB (default: mid grey)."""
    mesh, vertex_normals = scene
    colours = np.full((len(mesh.vertices), 3), 0.5) if colour is None else colour(mesh.vertices)
    rgb, normals, alpha = [], [], []
    for index in range(len(cams)):
        buffer = mesh_raster.rasterize(mesh.vertices, mesh.faces, cams, index)
        seen = mesh_raster.interpolate(vertex_normals, mesh.faces, buffer)
        normals.append(seen / np.maximum(np.linalg.norm(seen, axis=-1, keepdims=True), 1e-9))
        alpha.append((buffer.face >= 0).astype(np.float32))
        rgb.append(mesh_raster.interpolate(colours, mesh.faces, buffer))
    masks = np.stack(alpha)
    return Views(
        cams,
        np.stack(rgb).astype(np.float32),
        np.stack(normals).astype(np.float32),
        masks,
        np.ones_like(masks),
        tuple(f"view_{index:02d}" for index in range(len(cams))),
    )
