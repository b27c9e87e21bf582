"""Landmarks on a surface: found in pictures that see the face, carried along their rays onto the surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import (
    METRES_PER_UNIT,
    camera_centres,
    distances_to_lines,
    invert_rigid,
    ray_normal_equations,
    vertex_normals,
)
from spinmeround.images import composite
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.portrait.landmarks import FaceMesh, find_faces
from spinmeround.types import Cameras, Mesh, Views

_LEAST_FRONTAL = 0.7
"""Cosine between the face's direction and the direction to the camera from which landmarks are believed."""
_LEAST_PRESENCE = 0.95
"""A face is found with 0.99 and more; patterns on a head were seen to reach 0.9."""
_MOST_SIGHTINGS = 7
_LEAST_COSINE = 0.25
_MM = 1e-3 / METRES_PER_UNIT
_ENOUGH_RAYS = 4
_UNBELIEVED_MM = 4.0
"""So far in the median the surface may lie from where the rays meet."""
_RAY_MM, _ROUNDS = 1.6, 10
_CLAY_PX = 384
_CLAY_AZIMUTHS_DEG = (0.0, -20.0, 20.0, -40.0, 40.0)


@dataclass(frozen=True)
class SurfaceMarks:
    """Where the landmarks of a face lie on a surface.

    Attributes:
        points: of the 478 landmarks, world frame; on the surface if that is believed, else where their rays meet.
        weight: of each in [0, 1]; 0 where no picture showed it.
        blendshapes: expression scores of the face, in the model's order.
        pictures: how many pictures agree on it.
        surface_believed: whether the surface lies where the pictures' rays meet; a hull shaped by outlines and colours
            alone may lie a centimetre before the face.
    """

    points: Float[np.ndarray, "478 3"]
    weight: Float[np.ndarray, "478"]
    blendshapes: Float[np.ndarray, "52"]
    pictures: int
    surface_believed: bool = True


@dataclass(frozen=True)
class _Sighting:
    camera: Cameras
    face: FaceMesh
    frontal: float


def find_marks(views: Views, surface: Mesh) -> SurfaceMarks | None:
    """Landmarks seen in posed pictures of a surface, else on the bare surface lit like clay; none if no face."""
    seen = _sightings(views)
    if seen:
        return _on_surface(seen, surface, of_itself=False)
    seen = _sightings(_clay(surface))
    return _on_surface(seen, surface, of_itself=True) if seen else None


def _sightings(views: Views) -> list[_Sighting]:
    """The pictures that see the face best, best first."""
    found = []
    for index in range(len(views)):
        picture = composite(views.rgb[index], views.alpha[index], (0.5, 0.5, 0.5))
        faces = find_faces(np.asarray(picture, np.float32))
        if not faces or faces[0].presence < _LEAST_PRESENCE:
            continue
        if (frontal := _frontal(faces[0])) > _LEAST_FRONTAL:
            cameras = views.cameras
            camera = Cameras(
                cameras.camera_from_world[index : index + 1],
                cameras.intrinsics_px[index : index + 1],
                cameras.width_px,
                cameras.height_px,
            )
            found.append(_Sighting(camera, faces[0], frontal * faces[0].presence))
    return sorted(found, key=lambda sighting: -sighting.frontal)[:_MOST_SIGHTINGS]


def _frontal(face: FaceMesh) -> float:
    """Cosine of the angle between the face's own direction and the line of sight."""
    points = np.column_stack([face.landmarks_px, face.depth_px]).astype(np.float64)
    across = points[[454, 323, 361]].mean(0) - points[[234, 93, 132]].mean(0)
    down = points[152] - points[10]
    normal = np.cross(across, down)
    return float(normal[2] / np.linalg.norm(normal))


def _on_surface(seen: list[_Sighting], surface: Mesh, *, of_itself: bool) -> SurfaceMarks:
    """Weighted medians of where the rays of all pictures meet the surface, if that is believed.

    Args:
        of_itself: whether the pictures show nothing but the surface, and so cannot contradict it.
    """
    normals = vertex_normals(surface.vertices, surface.faces)
    attributes = np.concatenate([surface.vertices, normals], axis=1)
    hits, weights = [], []
    for sighting in seen:
        buffer = rasterize(surface.vertices, surface.faces, sighting.camera, 0)
        planes = interpolate(attributes, surface.faces, buffer)
        hit, weight = _hit(sighting, planes, buffer.depth)
        hits.append(hit)
        weights.append(weight * sighting.frontal**4)
    points, weight = _medians(np.stack(hits), np.stack(weights))
    share = np.array([sighting.frontal**8 for sighting in seen])
    scores = np.stack([sighting.face.blendshapes for sighting in seen]).astype(np.float64)
    believed = True
    if len(seen) >= _ENOUGH_RAYS and not of_itself:
        met = _where_rays_meet(seen)
        off = np.linalg.norm(met - points, axis=1)[weight > 0]
        believed = bool(np.median(off) < _UNBELIEVED_MM * _MM)
        points, weight = (points, weight) if believed else (met, np.ones(len(met)))
    expression = share @ scores / share.sum()
    return SurfaceMarks(points, np.clip(weight, 0, 1), expression, len(seen), believed)


def _where_rays_meet(seen: list[_Sighting]) -> Float[np.ndarray, "478 3"]:
    """Points nearest to the rays of all pictures; rays that pass far by lose their say (Cauchy weights)."""
    cameras = [sighting.camera for sighting in seen]
    eyes = np.stack([np.repeat(camera_centres(camera), 478, axis=0) for camera in cameras])
    rays = []
    for sighting, camera in zip(seen, cameras, strict=True):
        pixels = np.column_stack([sighting.face.landmarks_px.astype(np.float64), np.ones(478)])
        rays.append(pixels @ np.linalg.inv(camera.intrinsics_px[0]).T @ camera.camera_from_world[0, :3, :3])
    direction = np.stack(rays)
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    trust = np.repeat([[sighting.frontal**4] for sighting in seen], 478, axis=1)
    weight = trust
    for _ in range(_ROUNDS):
        matrix, right = ray_normal_equations(eyes, direction, weight)
        points = np.linalg.solve(matrix + 1e-9 * np.eye(3), right[..., None])[..., 0]
        gap = distances_to_lines(points, eyes, direction)
        weight = trust / (1 + (gap / (_RAY_MM * _MM)) ** 2)
    return points


def _hit(sighting: _Sighting, planes: Float[np.ndarray, "h w 6"], depth) -> tuple[np.ndarray, np.ndarray]:
    """Where the rays through one picture's landmarks meet the surface, and how squarely."""
    height, width = depth.shape
    column, row = (sighting.face.landmarks_px.astype(np.float64) - 0.5).T
    inside = (column >= 0) & (row >= 0) & (column < width - 1) & (row < height - 1)
    i, j = (np.clip(c.astype(int), 0, n - 2) for c, n in ((column, width), (row, height)))
    x, y = (column - i)[:, None], (row - j)[:, None]
    mixed = (planes[j, i] * (1 - x) + planes[j, i + 1] * x) * (1 - y) + (
        planes[j + 1, i] * (1 - x) + planes[j + 1, i + 1] * x
    ) * y
    whole = np.isfinite(depth[j, i] + depth[j, i + 1] + depth[j + 1, i] + depth[j + 1, i + 1])
    toward = camera_centres(sighting.camera)[0] - mixed[:, :3]
    facing = (toward * mixed[:, 3:]).sum(1) / np.maximum(
        np.linalg.norm(toward, axis=1) * np.linalg.norm(mixed[:, 3:], axis=1), 1e-9
    )
    good = inside & whole & (facing > _LEAST_COSINE)
    return mixed[:, :3].astype(np.float64), np.where(good, facing, 0.0)


def _medians(
    hits: Float[np.ndarray, "s 478 3"], weights: Float[np.ndarray, "s 478"]
) -> tuple[Float[np.ndarray, "478 3"], Float[np.ndarray, "478"]]:
    """Geometric medians (Weiszfeld 1937) and the greatest weight of each."""
    now = (hits * weights[..., None]).sum(0) / np.maximum(weights.sum(0), 1e-9)[:, None]
    for _ in range(20):
        near = weights / np.maximum(np.linalg.norm(hits - now, axis=2), 1e-4)
        now = (hits * near[..., None]).sum(0) / np.maximum(near.sum(0), 1e-9)[:, None]
    return now, weights.max(0)


def _clay(surface: Mesh) -> Views:
    """The surface in one light colour, lit from above the camera."""
    zeros = [0.0] * len(_CLAY_AZIMUTHS_DEG)
    cameras = orbit_cameras(_CLAY_AZIMUTHS_DEG, zeros, size_px=_CLAY_PX)
    normals = vertex_normals(surface.vertices, surface.faces)
    rgb, alpha = [], []
    for index in range(len(cameras)):
        buffer = rasterize(surface.vertices, surface.faces, cameras, index)
        world_from_camera = invert_rigid(cameras.camera_from_world[index])
        lamp = world_from_camera[:3, :3] @ np.array([-0.35, -0.55, -0.76])
        lit = np.clip(interpolate(normals, surface.faces, buffer) @ lamp, 0, 1)[..., None]
        rgb.append((0.15 + 0.8 * lit) * np.array([0.85, 0.68, 0.58]))
        alpha.append((buffer.face >= 0).astype(np.float32))
    coverage = np.stack(alpha)
    pictures = np.stack(rgb).astype(np.float32)
    return Views(cameras, pictures, np.zeros_like(pictures), coverage, np.ones_like(coverage))
