"""A sphere instead of a person: stands in for every part of a run, so that the composition is tested in a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from spinmeround.configs import preset
from spinmeround.errors import NoFaceError
from spinmeround.orbits import orbit_cameras
from spinmeround.pipelines.backends import Backends, LoadedPortrait
from spinmeround.pipelines.priors.directions import orbit_directions
from spinmeround.pipelines.priors.template import cameras_around, no_views, texture_fractions
from spinmeround.pipelines.settings import RunSettings
from spinmeround.portrait.quality import PhotoMeasures
from spinmeround.protocols import RiggableHead, StageRunner
from spinmeround.recon.cameras.photometric import CameraCorrection
from spinmeround.types import (
    Avatar,
    AvatarPart,
    Cameras,
    ColouredMesh,
    HairStrands,
    Joint,
    Licence,
    Mesh,
    PaintedSurface,
    Portrait,
    PriorResult,
    Progress,
    Splats,
    SurfaceFit,
    TexturedMesh,
    ViewRequest,
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
        headwear=flat * 0,
        foreground=np.full((size_px, size_px, 3), 0.5, np.float32),
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


HEAD_REPORT: dict[str, Any] = {
    "photos": [{"landmark_error_px": 1.0, "outline_iou": 0.97}],
    "observed_share": {"skin": 0.3, "hair": None},
}
PHOTO_CAMERA = orbit_cameras([10.0], [0.0], size_px=64)


GOOD_PHOTO = PhotoMeasures(
    blur_px=0.5,
    face_height_px=300.0,
    light_stops=1.0,
    burnt_out=0.0,
    black=0.0,
    yaw_deg=0.0,
    pitch_deg=0.0,
    covered=0.0,
    matte_doubt=0.02,
    head_cut=0.0,
)


class MovingHead:
    def avatar(
        self,
        *,
        lod: Literal[0, 1, 2],
        texture_px: int,
        normal_map: bool,
        delight: float,
        hair: Literal["cards", "shell"],
    ) -> Avatar:
        mesh = sphere_texture(sphere_mesh())
        if normal_map:
            mesh = dataclasses.replace(mesh, normal_map=flat_map())
        joints = np.zeros((len(mesh.vertices), 4), np.int64)
        weights = np.eye(4)[joints[:, 0]]
        part = AvatarPart("skin", mesh, joints, weights, {"jawOpen": mesh.vertices * 0.1}, roughness=0.9)
        eyes = [Joint(f"{side}Eye", 0, np.array([x, 0.0, 0.2])) for side, x in (("left", 0.1), ("right", -0.1))]
        return Avatar((part,), (Joint("head", -1, np.zeros(3)), *eyes), ("jawOpen",), {"photo": {"jawOpen": 0.5}})


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


class FakePrior:
    """The template prior, but for the head: it sees a sphere."""

    licences = (Licence("model", "spinmeround/template/head.npz", "CC0-1.0"),)

    def __init__(self, settings: RunSettings, *, before: Callable[[str], None], head: object | None = None) -> None:
        self.settings, self.before, self.head = settings, before, head

    def _may_draw_none(self, request: ViewRequest) -> bool:
        return request.optional and isinstance(self.head, RiggableHead)

    def planned_stages(self, request: ViewRequest) -> dict[str, float]:
        return {"head": 1.0} if self._may_draw_none(request) else {"head": 1.0, "views": 1.0}

    def generate(
        self, portraits: Sequence[Portrait], request: ViewRequest, *, seed: int, stages: StageRunner
    ) -> PriorResult:
        quality = preset(self.settings.quality)
        with stages("head") as progress:
            self.before("head")
            progress(0.5, "half way")
        report = {"head": HEAD_REPORT, "texture": texture_fractions(HEAD_REPORT)}
        if self._may_draw_none(request):
            return PriorResult(no_views(quality.view_size_px), report, self.head)
        with stages("views"):
            self.before("views")
            cameras, names = cameras_around(
                request.directions or orbit_directions(quality.orbit),
                size_px=quality.view_size_px,
                photo_cameras=[PHOTO_CAMERA] if request.photo_cameras else (),
            )
        return PriorResult(sphere_views(cameras, names), report, self.head)


class FakeBackends(Backends):
    """Backends that do their work on a sphere.

    Args:
        before: called with the name of each part as it begins to work; what it raises, the part raises.
        head: what the prior offers as a head; anything that cannot move by default.
        measures: of each photo.
    """

    def __init__(
        self,
        settings: RunSettings | None = None,
        *,
        before: Callable[[str], None] = lambda part: None,
        faces_seen: int = 1,
        head: object | None = "a head that does not move",
        measures: PhotoMeasures = GOOD_PHOTO,
    ) -> None:
        super().__init__(settings or RunSettings(quality="draft", prior="template", device="cpu"))
        self.before, self.faces_seen, self.measures = before, faces_seen, measures
        if self.settings.prior == "template":
            self.prior = FakePrior(self.settings, before=before, head=head)

    @property
    def stage_one_licences(self) -> list[Licence]:
        return list(self.prior.licences)

    def read_photo(self, path: Path) -> Any:
        self.before("photo")
        return path

    def find_portrait(self, path: Path, photo: Any) -> LoadedPortrait:
        self.before("portrait")
        if self.faces_seen == 0:
            raise NoFaceError(f"{path}: no face found; use a photo in which the face is seen")
        notes = (f"{self.faces_seen} faces; took the largest",) if self.faces_seen > 1 else ()
        face = self.settings.photo.face or 1
        return LoadedPortrait(path, portrait(), self.faces_seen, face, self.measures, size_px=(64, 64), notes=notes)

    def refine_cameras(self, views: Views, *, seed: int, progress: Progress) -> CameraCorrection | None:
        self.before("cameras")
        return None

    def fit_surface(self, views: Views, *, seed: int, progress: Progress) -> SurfaceFit:
        self.before("surface")
        return SurfaceFit(sphere_mesh(), views.cameras)

    def fit_splats(
        self, views: Views, surface: Mesh, *, seed: int, progress: Progress, strands: HairStrands | None = None
    ) -> Splats:
        self.before("splats")
        return sphere_splats(surface)

    def fit_painted_splats(self, views: Views, painted: PaintedSurface, *, seed: int, progress: Progress) -> Splats:
        self.before("splats")
        return sphere_splats(painted.mesh)

    def bake_texture(self, views: Views, surface: Mesh, *, faces: int, progress: Progress) -> TexturedMesh:
        self.before("texture")
        return sphere_texture(surface)

    def colour_vertices(self, views: Views, surface: Mesh) -> ColouredMesh:
        self.before("texture")
        return ColouredMesh(surface.vertices, surface.faces, np.full_like(surface.vertices, 0.5))

    def register_head(self, views: Views, surface: Mesh, *, progress: Progress) -> None:
        self.before("rig")


def install(monkeypatch: Any, kind: type[FakeBackends] = FakeBackends, **how: Any) -> None:
    """Let every run of this process work with fakes, and with the same hair network on every machine."""
    choose = "spinmeround.portrait.hair_segmentation.choose_hair_network"
    monkeypatch.setattr(choose, lambda: ("mediapipe", "the best that can be had"))
    monkeypatch.setattr("spinmeround.pipelines.run.build_backends", lambda settings: kind(settings, **how))


class PaintedBall:
    """A head that hands on what its views were drawn from: a white ball, a little less high than the fitted sphere."""

    def painted_surface(self, cameras: Cameras, *, neutral: bool) -> PaintedSurface:
        sphere = sphere_mesh()
        lower = dataclasses.replace(sphere, vertices=sphere.vertices * [1, 0.97, 1])
        return PaintedSurface(lower, lambda face, weights: np.ones((len(face), 3)))
