"""Landmarks of a face on a surface: detected in pictures of it, and mapped along their rays onto the surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import (
    MILLIMETRE,
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

_LANDMARK_COUNT = 478
_RIGHT_CHEEK, _LEFT_CHEEK = [234, 93, 132], [454, 323, 361]
_TOP, _CHIN = 10, 152
"""Landmarks that span the face: before either ear, at the hairline and at the chin."""


@dataclass(frozen=True)
class _DetectionSettings:
    """Constants of the detection in pictures.

    Attributes:
        background_rgb: grey behind the head.
        min_presence: score from which on a face is trusted. One is found with 0.99 and more; patterns on a head were
            seen to reach 0.9.
        min_frontal: cosine between the face's direction and that to the camera from which on landmarks are trusted.
        max_views: so many views are used, the best ones.
    """

    background_rgb: tuple[float, float, float] = (0.5, 0.5, 0.5)
    min_presence: float = 0.95
    min_frontal: float = 0.7
    max_views: int = 7


@dataclass(frozen=True)
class _FusionSettings:
    """Constants of how detections are fused in space.

    Attributes:
        min_facing: rays that meet the surface with a smaller cosine to its normal count for nothing.
        point_power: power of a view's frontal cosine in the weight of its points.
        expression_power: the same in the weight of its expression scores, which need a more frontal view.
        median_steps: of the geometric median.
        median_softening: least distance to the median, head units: weights are inverse distances.
        min_rays: from so many views on their rays are intersected to check the surface.
        max_surface_distance_mm: so far in the median the surface may lie from where the rays meet, millimetres.
        ray_scale_mm: scale of the Cauchy weights of rays, millimetres.
        ray_steps: of the reweighted triangulation.
    """

    min_facing: float = 0.25
    point_power: int = 4
    expression_power: int = 8
    median_steps: int = 20
    median_softening: float = 1e-4
    min_rays: int = 4
    max_surface_distance_mm: float = 4.0
    ray_scale_mm: float = 1.6
    ray_steps: int = 10


@dataclass(frozen=True)
class _ClaySettings:
    """Constants of the clay rendering.

    Attributes:
        size_px: side of the pictures.
        azimuths_deg: of the cameras, degrees.
        lamp: direction to the lamp, in camera axes: above the camera, on the left of the picture.
        ambient: light where the lamp does not reach.
        diffuse: light of the lamp.
        rgb: colour of the clay, that of skin, since the detector knows skin.
    """

    size_px: int = 384
    azimuths_deg: tuple[float, ...] = (0.0, -20.0, 20.0, -40.0, 40.0)
    lamp: tuple[float, float, float] = (-0.35, -0.55, -0.76)
    ambient: float = 0.15
    diffuse: float = 0.8
    rgb: tuple[float, float, float] = (0.85, 0.68, 0.58)


_DETECTION, _FUSION, _CLAY = _DetectionSettings(), _FusionSettings(), _ClaySettings()


@dataclass(frozen=True)
class SurfaceLandmarks:
    """Where the landmarks of a face lie on a surface.

    Attributes:
        points: of the 478 landmarks, world frame; on the surface if that is trusted, else where their rays meet.
        weight: of each in [0, 1]; 0 where no picture showed it.
        blendshapes: expression scores of the face, in the model's order.
        view_count: number of pictures in which the face was found.
        surface_trusted: whether the surface lies where the pictures' rays meet; a hull shaped by silhouettes and
            colours alone may lie a centimetre before the face.
    """

    points: Float[np.ndarray, "478 3"]
    weight: Float[np.ndarray, "478"]
    blendshapes: Float[np.ndarray, "52"]
    view_count: int
    surface_trusted: bool = True


@dataclass(frozen=True)
class DetectedLandmarks:
    """A face detected in one picture.

    Attributes:
        camera: the picture's, of length one.
        frontal: cosine between the face's direction and that to the camera, times the detector's score.
    """

    camera: Cameras
    face: FaceMesh
    frontal: float


def find_surface_landmarks(views: Views, surface: Mesh) -> SurfaceLandmarks | None:
    """Find landmarks in posed pictures of a surface, else on a clay rendering of it; None if there is no face."""
    detections = _detect(views)
    if detections:
        return _fuse(detections, surface, independent=True)
    detections = _detect(_render_clay(surface))
    return _fuse(detections, surface, independent=False) if detections else None


def _detect(views: Views) -> list[DetectedLandmarks]:
    """Return the pictures that see the face best, best first."""
    found = []
    for index in range(len(views)):
        picture = composite(views.rgb[index], views.alpha[index], _DETECTION.background_rgb)
        faces = find_faces(np.asarray(picture, np.float32))
        if not faces or faces[0].presence < _DETECTION.min_presence:
            continue
        if (frontal := _frontal_cosine(faces[0])) > _DETECTION.min_frontal:
            cameras = views.cameras
            camera = Cameras(
                cameras.camera_from_world[index : index + 1],
                cameras.intrinsics_px[index : index + 1],
                cameras.width_px,
                cameras.height_px,
            )
            found.append(DetectedLandmarks(camera, faces[0], frontal * faces[0].presence))
    return sorted(found, key=lambda detected: -detected.frontal)[: _DETECTION.max_views]


def _frontal_cosine(face: FaceMesh) -> float:
    """Return the cosine of the angle between the face's own direction and the line of sight."""
    points = np.column_stack([face.landmarks_px, face.depth_px]).astype(np.float64)
    across = points[_LEFT_CHEEK].mean(0) - points[_RIGHT_CHEEK].mean(0)
    down = points[_CHIN] - points[_TOP]
    normal = np.cross(across, down)
    return float(normal[2] / np.linalg.norm(normal))


def _fuse(detections: list[DetectedLandmarks], surface: Mesh, *, independent: bool) -> SurfaceLandmarks:
    """Return weighted medians of where all rays meet the surface, or where they meet each other if it is not trusted.

    Args:
        independent: whether the pictures show more than the surface itself, and so can contradict it.
    """
    normals = vertex_normals(surface.vertices, surface.faces)
    attributes = np.concatenate([surface.vertices, normals], axis=1)
    hits, weights = [], []
    for detected in detections:
        buffer = rasterize(surface.vertices, surface.faces, detected.camera, 0)
        planes = interpolate(attributes, surface.faces, buffer)
        hit, weight = _intersect_surface(detected, planes, buffer.depth)
        hits.append(hit)
        weights.append(weight * detected.frontal**_FUSION.point_power)
    points, weight = _geometric_medians(np.stack(hits), np.stack(weights))
    view_weight = np.array([detected.frontal**_FUSION.expression_power for detected in detections])
    scores = np.stack([detected.face.blendshapes for detected in detections]).astype(np.float64)
    trusted = True
    if len(detections) >= _FUSION.min_rays and independent:
        triangulated = _triangulate(detections)
        distance = np.linalg.norm(triangulated - points, axis=1)[weight > 0]
        trusted = bool(np.median(distance) < _FUSION.max_surface_distance_mm * MILLIMETRE)
        points, weight = (points, weight) if trusted else (triangulated, np.ones(len(triangulated)))
    expression = view_weight @ scores / view_weight.sum()
    return SurfaceLandmarks(points, np.clip(weight, 0, 1), expression, len(detections), trusted)


def _triangulate(detections: list[DetectedLandmarks]) -> Float[np.ndarray, "478 3"]:
    """Return the points nearest to the rays of all pictures, with Cauchy weights against rays that pass far by."""
    cameras = [detected.camera for detected in detections]
    centres = np.stack([np.repeat(camera_centres(camera), _LANDMARK_COUNT, axis=0) for camera in cameras])
    rays = []
    for detected, camera in zip(detections, cameras, strict=True):
        pixels = np.column_stack([detected.face.landmarks_px.astype(np.float64), np.ones(_LANDMARK_COUNT)])
        rays.append(pixels @ np.linalg.inv(camera.intrinsics_px[0]).T @ camera.camera_from_world[0, :3, :3])
    direction = np.stack(rays)
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    trust = np.repeat([[detected.frontal**_FUSION.point_power] for detected in detections], _LANDMARK_COUNT, axis=1)
    weight = trust
    for _ in range(_FUSION.ray_steps):
        matrix, right = ray_normal_equations(centres, direction, weight)
        points = np.linalg.solve(matrix + 1e-9 * np.eye(3), right[..., None])[..., 0]
        distance = distances_to_lines(points, centres, direction)
        weight = trust / (1 + (distance / (_FUSION.ray_scale_mm * MILLIMETRE)) ** 2)
    return points


def _intersect_surface(
    detected: DetectedLandmarks, planes: Float[np.ndarray, "h w 6"], depth: Float[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "478 3"], Float[np.ndarray, "478"]]:
    """Return where the rays through one picture's landmarks meet the surface, and their weight.

    Args:
        planes: position and normal of the surface in each pixel, world frame.
        depth: of the surface in each pixel, infinite beside it.

    Returns:
        Points, and cosines of the angle between normal and ray; 0 where the surface is missed or met at a grazing
        angle.
    """
    height, width = depth.shape
    column, row = (detected.face.landmarks_px.astype(np.float64) - 0.5).T
    inside = (column >= 0) & (row >= 0) & (column < width - 1) & (row < height - 1)
    i, j = (np.clip(c.astype(int), 0, n - 2) for c, n in ((column, width), (row, height)))
    x, y = (column - i)[:, None], (row - j)[:, None]
    mixed = (planes[j, i] * (1 - x) + planes[j, i + 1] * x) * (1 - y) + (
        planes[j + 1, i] * (1 - x) + planes[j + 1, i + 1] * x
    ) * y
    whole = np.isfinite(depth[j, i] + depth[j, i + 1] + depth[j + 1, i] + depth[j + 1, i + 1])
    toward = camera_centres(detected.camera)[0] - mixed[:, :3]
    facing = (toward * mixed[:, 3:]).sum(1) / np.maximum(
        np.linalg.norm(toward, axis=1) * np.linalg.norm(mixed[:, 3:], axis=1), 1e-9
    )
    good = inside & whole & (facing > _FUSION.min_facing)
    return mixed[:, :3].astype(np.float64), np.where(good, facing, 0.0)


def _geometric_medians(
    points: Float[np.ndarray, "s 478 3"], weights: Float[np.ndarray, "s 478"]
) -> tuple[Float[np.ndarray, "478 3"], Float[np.ndarray, "478"]]:
    """Return geometric medians (Weiszfeld 1937) and the greatest weight of each."""
    median = (points * weights[..., None]).sum(0) / np.maximum(weights.sum(0), 1e-9)[:, None]
    for _ in range(_FUSION.median_steps):
        near = weights / np.maximum(np.linalg.norm(points - median, axis=2), _FUSION.median_softening)
        median = (points * near[..., None]).sum(0) / np.maximum(near.sum(0), 1e-9)[:, None]
    return median, weights.max(0)


def _render_clay(surface: Mesh) -> Views:
    """Render the surface in one light colour, lit from above the camera."""
    zeros = [0.0] * len(_CLAY.azimuths_deg)
    cameras = orbit_cameras(_CLAY.azimuths_deg, zeros, size_px=_CLAY.size_px)
    normals = vertex_normals(surface.vertices, surface.faces)
    rgb, alpha = [], []
    for index in range(len(cameras)):
        buffer = rasterize(surface.vertices, surface.faces, cameras, index)
        world_from_camera = invert_rigid(cameras.camera_from_world[index])
        lamp = world_from_camera[:3, :3] @ np.array(_CLAY.lamp)
        lit = np.clip(interpolate(normals, surface.faces, buffer) @ lamp, 0, 1)[..., None]
        rgb.append((_CLAY.ambient + _CLAY.diffuse * lit) * np.array(_CLAY.rgb))
        alpha.append((buffer.face >= 0).astype(np.float32))
    coverage = np.stack(alpha)
    pictures = np.stack(rgb).astype(np.float32)
    return Views(cameras, pictures, np.zeros_like(pictures), coverage, np.ones_like(coverage))
