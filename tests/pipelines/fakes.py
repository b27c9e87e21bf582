"""A sphere instead of a person: stands in for every room, so that the composition is tested in a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from spinmeround.errors import NoFaceError
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines.backends import Rooms, Sighting
from spinmeround.pipelines.diffusion_options import DiffusionOptions
from spinmeround.recon.cameras.photometric import CameraCorrection
from spinmeround.types import (
    Avatar,
    AvatarPart,
    Cameras,
    ColouredMesh,
    Joint,
    Mesh,
    Portrait,
    Splats,
    TexturedMesh,
    Views,
)

RADIUS = 0.25


def portrait(size_px: int = 64) -> Portrait:
    flat = np.full((size_px, size_px), 0.5, np.float32)
    return Portrait(
        rgb=np.full((size_px, size_px, 3), 0.5, np.float32),
        alpha=flat,
        hair=flat * 0,
        clothes=flat * 0,
        observed=flat > 0,
        landmarks_px=np.zeros((478, 2), np.float32),
        blendshapes=np.zeros(52, np.float32),
        head_pose_deg=np.zeros(3, np.float32),
        crop_from_source=np.eye(3, dtype=np.float32),
    )


def sphere_views(cameras: Cameras, names: tuple[str, ...] = ()) -> Views:
    """A white sphere, as if seen from far away."""
    y, x = np.mgrid[: cameras.height_px, : cameras.width_px] + 0.5
    radius_px = RADIUS * cameras.intrinsics_px[0, 0, 0] / 2.7
    alpha, normals = [], []
    for camera_from_world, intrinsics_px in zip(cameras.camera_from_world, cameras.intrinsics_px, strict=True):
        right, down = (x - intrinsics_px[0, 2]) / radius_px, (y - intrinsics_px[1, 2]) / radius_px
        inside = right**2 + down**2 < 1
        toward = np.stack([right, down, -np.sqrt(np.maximum(0, 1 - right**2 - down**2))], axis=-1)
        alpha.append(inside)
        normals.append(toward @ camera_from_world[:3, :3] * inside[..., None])
    alpha = np.stack(alpha).astype(np.float32)
    rgb = np.repeat(alpha[..., None], 3, axis=-1)
    return Views(cameras, rgb, np.stack(normals).astype(np.float32), alpha, np.ones_like(alpha), names)


class FakeHead:
    photo_cameras = (orbit_cameras([10.0], [0.0], size_px=64),)
    report: ClassVar[dict[str, Any]] = {
        "photos": [{"landmark_error_px": 1.0, "outline_iou": 0.97}],
        "observed_share": {"skin": 0.3, "hair": None},
    }

    def render(self, cameras: Cameras, *, keep_expression: bool = False, names: tuple[str, ...] = ()) -> Views:
        return sphere_views(cameras, names)


class MovingHead(FakeHead):
    def avatar(self, *, lod: Literal[0, 1, 2], texture_px: int, normal_map: bool) -> Avatar:
        mesh = sphere_texture(sphere_mesh())
        if normal_map:
            mesh = dataclasses.replace(mesh, normal_map=flat_map())
        joints = np.zeros((len(mesh.vertices), 4), np.int64)
        weights = np.eye(4)[joints[:, 0]]
        part = AvatarPart("skin", mesh, joints, weights, {"jawOpen": mesh.vertices * 0.1}, roughness=0.9)
        return Avatar((part,), (Joint("head", -1, np.zeros(3)),), ("jawOpen",))


def sphere_mesh() -> Mesh:
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS)
    return Mesh(np.array(sphere.vertices), np.array(sphere.faces))


def sphere_texture(mesh: Mesh) -> TexturedMesh:
    uv = np.stack(
        [np.arctan2(mesh.vertices[:, 0], mesh.vertices[:, 2]) / (2 * np.pi) + 0.5, mesh.vertices[:, 1] + 0.5], 1
    )
    return TexturedMesh(mesh.vertices, mesh.faces, uv, mesh.faces, np.full((32, 32, 3), 0.5, np.float32))


def flat_map() -> np.ndarray:
    return np.tile(np.array([0, 0, 1], np.float32), (32, 32, 1))


def sphere_splats(mesh: Mesh) -> Splats:
    n = len(mesh.vertices)
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1
    means = torch.tensor(mesh.vertices, dtype=torch.float32)
    return Splats(means, torch.full((n, 3), 0.01), quats, torch.full((n,), 0.9), torch.full((n, 1, 3), 0.5))


def fake_rooms(*, before: Callable[[str], None] = lambda room: None, faces_seen: int = 1) -> Rooms:
    """Rooms that do their work on a sphere.

    Args:
        before: called with the name of each room as it is entered; what it raises, the room raises.
    """

    def read_photo(path: Path) -> Any:
        before("photo")
        return path

    def find_person(path: Path, photo: Any, face: int | None) -> Sighting:
        before("portrait")
        if faces_seen == 0:
            raise NoFaceError(f"{path}: no face found; use a photo in which the face is seen")
        notes = (f"{faces_seen} faces; took the largest",) if faces_seen > 1 else ()
        return Sighting(path, portrait(), faces_seen, face or 1, notes)

    def fit_head(portraits: Sequence[Portrait], seed: int, progress: Progress) -> FakeHead:
        before("head")
        progress(0.5, "half way")
        return FakeHead()

    def register_cameras(views: Views, seed: int, progress: Progress) -> CameraCorrection | None:
        before("cameras")
        return None

    def fit_surface(views: Views, seed: int, progress: Progress) -> tuple[Mesh, Cameras]:
        before("surface")
        return sphere_mesh(), views.cameras

    def fit_splats(views: Views, surface: Mesh, seed: int, progress: Progress) -> Splats:
        before("splats")
        return sphere_splats(surface)

    def paint_texture(views: Views, surface: Mesh, faces: int, progress: Progress) -> TexturedMesh:
        before("texture")
        return sphere_texture(surface)

    def colour_vertices(views: Views, surface: Mesh) -> ColouredMesh:
        before("texture")
        return ColouredMesh(surface.vertices, surface.faces, np.full_like(surface.vertices, 0.5))

    def identify(portraits: Sequence[Portrait], file: Path | None) -> list[Portrait]:
        before("identity")
        return [dataclasses.replace(one, identity=np.eye(512, dtype=np.float32)[0]) for one in portraits]

    def paint_views(
        portraits: Sequence[Portrait], cameras: Cameras, options: DiffusionOptions, seed: int, progress: Progress
    ) -> Views:
        before("views")
        return sphere_views(cameras)

    def rig_surface(views: Views, surface: Mesh, progress: Progress) -> None:
        before("rig")

    return Rooms(
        read_photo,
        find_person,
        fit_head,
        register_cameras,
        fit_surface,
        fit_splats,
        paint_texture,
        colour_vertices,
        identify,
        paint_views,
        rig_surface,
    )
