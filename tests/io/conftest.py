"""Fixtures of the io tests: small splats, a textured sphere with a seam, views around it, and corrupted files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres, invert_rigid, pixel_rays_world
from spinmeround.orbits import orbit_cameras
from spinmeround.types import Avatar, AvatarPart, Collider, FaceClip, Joint, Splats, Spring, TexturedMesh, Views


@pytest.fixture
def make_splats() -> Callable[..., Splats]:
    def make(count: int = 40, *, degree: int = 3, seed: int = 0) -> Splats:
        g = torch.Generator().manual_seed(seed)
        quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=1)
        return Splats(
            means=torch.randn(count, 3, generator=g) * 0.2,
            scales=torch.exp(torch.randn(count, 3, generator=g) * 0.5 - 5),
            quats_wxyz=quats,
            opacities=torch.sigmoid(torch.randn(count, generator=g)),
            sh=torch.randn(count, (degree + 1) ** 2, 3, generator=g) * 0.3,
        )

    return make


@pytest.fixture
def covariances() -> Callable[[Splats], Tensor]:
    """The shapes of Gaussians, the same whichever way their axes are numbered or point."""

    def compute(splats: Splats) -> Tensor:
        w, x, y, z = splats.quats_wxyz.double().T
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        turns = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
        axes = turns * splats.scales.double()[:, None]
        return axes @ axes.mT

    return compute


@pytest.fixture
def sphere() -> TexturedMesh:
    """A globe, 0.56 units high, whose texture has a seam at the back; 64 x 32 texels, all channels different."""
    columns, rows = 24, 12
    u, v = np.meshgrid(np.arange(columns + 1) / columns, np.arange(1, rows) / rows)
    turn, down = 2 * np.pi * (u[:, :-1] - 0.5), np.pi * v[:, :-1]
    ring = np.stack([np.sin(down) * np.sin(turn), np.cos(down), np.sin(down) * np.cos(turn)], axis=-1).reshape(-1, 3)
    vertices = 0.28 * np.concatenate([ring, [[0, 1, 0], [0, -1, 0]]])
    uv = np.concatenate([np.stack([u, 1 - v], axis=-1).reshape(-1, 2), [[0.5, 1], [0.5, 0]]])
    top, texture_top = len(ring), (rows - 1) * (columns + 1)
    faces, uv_faces = [], []
    for i in range(columns):
        here, right = i, (i + 1) % columns
        faces.append([top, here, right])
        uv_faces.append([texture_top, i, i + 1])
        last, texture_last = (rows - 2) * columns, (rows - 2) * (columns + 1)
        faces.append([top + 1, last + right, last + here])
        uv_faces.append([texture_top + 1, texture_last + i + 1, texture_last + i])
        for j in range(rows - 2):
            a, b = j * columns, (j + 1) * columns
            ta, tb = j * (columns + 1), (j + 1) * (columns + 1)
            faces += [[a + here, b + here, b + right], [a + here, b + right, a + right]]
            uv_faces += [[ta + i, tb + i, tb + i + 1], [ta + i, tb + i + 1, ta + i + 1]]
    grid = np.indices((32, 64))
    albedo = np.stack([grid[1] / 63, grid[0] / 31, (grid.sum(0) % 5) / 4], axis=-1)
    albedo = np.rint(albedo * 255) / 255
    return TexturedMesh(vertices, np.array(faces), uv, np.array(uv_faces), albedo.astype(np.float32))


@pytest.fixture
def bumpy(sphere: TexturedMesh) -> TexturedMesh:
    """The globe with a normal map whose x grows to the right and y from the bottom to the top; none is flat."""
    y, x = np.mgrid[0.4:-0.4:32j, -0.3:0.3:64j]
    return replace(sphere, normal_map=np.stack([x, y, np.sqrt(1 - x * x - y * y)], axis=-1).astype(np.float32))


@pytest.fixture
def small_avatar(sphere: TexturedMesh) -> Avatar:
    """Two globes on a neck, a left eye that turns, and hair whose texture coordinates reach past the seam."""
    count = len(sphere.vertices)
    joints = (
        Joint("neck", -1, np.array([0.0, -0.3, 0.0])),
        Joint("head", 0, np.array([0.0, -0.1, 0.0])),
        Joint("leftEye", 1, np.array([0.1, 0.0, 0.25])),
        Joint("rightEye", 1, np.array([-0.1, 0.0, 0.25])),
    )
    carried = np.zeros((count, 4), np.int64)
    carried[:, 0], carried[:, 1] = 1, 0
    share = np.clip(0.5 + sphere.vertices[:, 1], 0, 1)
    shares = np.stack([share, 1 - share, 0 * share, 0 * share], axis=1)
    upper = np.where(sphere.vertices[:, 1:2] > 0, 1.0, 0.0) * sphere.vertices
    morphs = {"jawOpen": -0.1 * upper, "eyeBlinkLeft": 0.05 * upper, "eyeLookOutLeft": 0.02 * upper}
    skin = AvatarPart("skin", sphere, carried, shares, morphs, 0.6)
    small = replace(sphere, vertices=0.1 * sphere.vertices + joints[2].position)
    alone, one = np.zeros_like(carried), np.eye(4)[np.zeros(count, np.int64)]
    eye = AvatarPart("eyes", small, alone + 2 * (one > 0), one, {"eyeLookOutLeft": 0.1 * morphs["jawOpen"]}, 0.1)
    above = replace(
        sphere, vertices=1.1 * sphere.vertices, uv=sphere.uv + np.array([0.25, 0]), albedo=sphere.albedo[:, ::2, ::-1]
    )
    hair = AvatarPart("hair", above, alone + (one > 0), one, {}, 0.8, two_sided=True)
    return Avatar((skin, eye, hair), joints, tuple(morphs))


@pytest.fixture
def swinging_avatar(small_avatar: Avatar) -> Avatar:
    """The same with a chain of three joints on the head, that carries the hair, beside a ball and a capsule."""
    first = len(small_avatar.joints)
    chain = tuple(
        Joint(f"hair0_{k}", first + k - 1 if k else 1, np.array([0.4, -0.1 * (k + 1), -0.1])) for k in range(3)
    )
    hair = small_avatar.parts[2]
    hair = replace(hair, joints=np.where(hair.weights > 0, first, 0))
    spring = Spring(
        (first, first + 1, first + 2), np.array([0.04, 0.02]), np.array([0.75, 0.5]), gravity=0.25, drag=0.5
    )
    colliders = (
        Collider(1, np.array([0.0, 0.1, -0.1]), np.array([0.0, 0.1, 0.1]), 0.2),
        Collider(0, np.array([0.0, -0.25, 0.0]), np.array([0.0, -0.25, 0.0]), 0.125),
    )
    return replace(
        small_avatar,
        joints=(*small_avatar.joints, *chain),
        parts=(*small_avatar.parts[:2], hair),
        springs=(spring,),
        colliders=colliders,
    )


@pytest.fixture
def posing_avatar(small_avatar: Avatar) -> Avatar:
    """The same with two poses, of which one only turns the eye."""
    poses = {"photo": {"jawOpen": 0.375, "eyeLookOutLeft": 0.25}, "aside": {"eyeLookOutLeft": 1.0}}
    return replace(small_avatar, poses=poses)


@pytest.fixture
def clip() -> FaceClip:
    """A second in which the jaw opens, the head turns to its left and the left eye with it."""
    times = np.linspace(0, 1, 31)
    half = np.radians(20) * times / 2
    turn = np.stack([np.cos(half), 0 * half, np.sin(half), 0 * half], axis=1)
    return FaceClip(times, {"jawOpen": times, "eyeLookOutLeft": 0.5 * times}, {"head": turn, "leftEye": turn})


@pytest.fixture
def make_views() -> Callable[..., Views]:
    def make(count: int = 4, *, size_px: int = 24, offset_deg: float = 0.0, names: tuple[str, ...] = ()) -> Views:
        """A ball of radius 0.25 with exact normals; its alpha is 1 inside and its colour follows the normal."""
        azimuths = [offset_deg + 360.0 * i / count for i in range(count)]
        cameras = orbit_cameras(azimuths, [10.0 * (-1) ** i for i in range(count)], size_px=size_px)
        normals = np.zeros((count, size_px, size_px, 3), np.float32)
        for i, centre in enumerate(camera_centres(cameras)):
            rays = pixel_rays_world(cameras.camera_from_world[i], cameras.intrinsics_px[i], size_px, size_px)
            rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
            near = -(rays @ centre) - np.sqrt(np.maximum((rays @ centre) ** 2 - centre @ centre + 0.25**2, 0))
            hit = (rays @ centre) ** 2 - centre @ centre + 0.25**2 > 0
            points = centre + rays * near[..., None]
            normals[i] = np.where(hit[..., None], points / 0.25, 0)
        alpha = normals.any(axis=-1).astype(np.float32)
        rgb = np.rint(np.clip(normals * 0.5 + 0.5, 0, 1) * 255).astype(np.float32) / 255
        rgb[alpha == 0] = 1
        return Views(cameras, rgb, normals, alpha, np.ones_like(alpha), names)

    return make


@pytest.fixture
def survives_corruption(tmp_path: Path) -> Callable[..., int]:
    """Cuts and flips a file many times; reading may succeed or raise ``InputError`` with one line, nothing else."""

    def check(path: Path, read: Callable[[Path], object], *, flips: int = 150) -> int:
        rng = np.random.default_rng(0)
        broken = path.with_name("broken" + path.suffix)
        refused = 0
        for data in _corrupted(path.read_bytes(), rng, flips):
            broken.write_bytes(data)
            try:
                read(broken)
            except InputError as error:
                assert "\n" not in str(error), error
                assert len(str(error)) < 600
                refused += 1
        return refused

    return check


def _corrupted(data: bytes, rng: np.random.Generator, flips: int) -> Iterator[bytes]:
    yield b""
    yield b"hello, I am a text file\n" * 3
    yield data + data
    for share in np.linspace(0, 1, 24, endpoint=False):
        yield data[: int(len(data) * share)]
    for _ in range(flips):
        broken = np.frombuffer(data, np.uint8).copy()
        # Half of the damage goes into the head of the file, where the counts are.
        reach = len(broken) if rng.random() < 0.5 else min(len(broken), 400)
        places = rng.integers(0, reach, rng.integers(1, 6))
        broken[places] = rng.integers(0, 256, len(places))
        yield broken.tobytes()


@pytest.fixture
def opengl_camera_to_world() -> Callable[[np.ndarray], np.ndarray]:
    """Written out by axes, unlike the code under test: columns are right, up and back, then the position."""

    def convert(camera_from_world: np.ndarray) -> np.ndarray:
        world_from_camera = invert_rigid(camera_from_world)
        right, down, forward, position = world_from_camera[:3, :4].T
        return np.vstack([np.stack([right, -down, -forward, position], axis=1), [0, 0, 0, 1]])

    return convert
