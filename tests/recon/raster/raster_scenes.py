"""Splats and cameras that rasterisers are tested on, and the comparison with a specification."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from spinmeround.orbits import orbit_cameras
from spinmeround.types import Cameras, Rendering, Splats

FIELDS = ("means", "scales", "quats_wxyz", "opacities", "sh")
PLANES = ("rgb", "alpha", "depth", "normals_world", "median_depth")


def random_splats(count: int, *, size: float = 0.02, spread: float = 0.15, degree: int = 0, seed: int = 0) -> Splats:
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng)

    return Splats(
        means=normal(count, 3) * spread,
        scales=torch.exp(normal(count, 3) * 0.7) * size,
        quats_wxyz=normal(count, 4),
        opacities=torch.rand(count, generator=rng) * 0.98 + 0.01,
        sh=normal(count, (degree + 1) ** 2, 3) * 0.4,
    )


def disc(*, opacity: float = 0.9, size: float = 0.1, depth: float = 0.0, quat_wxyz=(1.0, 0, 0, 0)) -> Splats:
    """One flat splat, facing +Z unless turned; ``depth`` is how far behind the origin, seen from the front."""
    return Splats(
        torch.tensor([[0.0, 0.0, -depth]]),
        torch.tensor([[size, size, 0.01 * size]]),
        torch.tensor([quat_wxyz], dtype=torch.float32),
        torch.tensor([opacity]),
        torch.zeros(1, 1, 3),
    )


def camera(*, width: int = 72, height: int = 72, principal_px=None, focal_px: float = 280.0, distance: float = 2.7):
    square = orbit_cameras([20.0], [10.0], size_px=72, radius=distance)
    cx, cy = principal_px or (width / 2, height / 2)
    intrinsics_px = np.array([[[focal_px, 0, cx], [0, focal_px * 1.1, cy], [0, 0, 1.0]]])
    return Cameras(square.camera_from_world, intrinsics_px, width, height)


def needles() -> Splats:
    splats = random_splats(40, seed=3)
    return Splats(
        splats.means, splats.scales * torch.tensor([20.0, 0.2, 0.2]), splats.quats_wxyz, splats.opacities, splats.sh
    )


def edge_on(tilt_rad: float, cameras: Cameras) -> Splats:
    """Splats whose first two axes span a plane that passes by the camera at this angle."""
    splats = random_splats(60, size=0.04)
    pose = cameras.camera_from_world[0]
    toward = splats.means.double().numpy() + pose[:3, :3].T @ pose[:3, 3]
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    across = np.cross(toward, splats.quats_wxyz[:, :3].double().numpy())
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    first = np.cos(tilt_rad) * toward + np.sin(tilt_rad) * np.cross(across, toward)
    columns = np.stack([first, across, np.cross(first, across)], axis=2)
    return Splats(splats.means, splats.scales, quats_of(columns), splats.opacities, splats.sh)


def quats_of(rotations: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(Rotation.from_matrix(rotations).as_quat()[:, [3, 0, 1, 2]].astype(np.float32))


# No pixel of these falls so near to a threshold (alpha 1/255, transmittance 1e-4) that float32 and float64 disagree.
SCENES = {
    "overlapping": (random_splats(400, degree=1), camera()),
    "degree 2": (random_splats(60, degree=2), camera()),
    "degree 3": (random_splats(60, degree=3), camera()),
    "clipped at the borders": (random_splats(200, spread=0.5, size=0.05), camera()),
    "wide, principal point off centre": (random_splats(150), camera(width=90, height=37, principal_px=(13.0, 30.5))),
    "tall, smaller than a tile": (random_splats(60), camera(width=7, height=50, principal_px=(3.0, 20.0))),
    "tiny": (random_splats(150, size=1e-5), camera()),
    "huge": (random_splats(25, size=0.8), camera()),
    "needles": (needles(), camera()),
    "opaque stack": (random_splats(300, spread=0.02, size=0.04, seed=1), camera()),
    "around and behind the camera": (random_splats(200, spread=0.6, size=0.05), camera(distance=0.5, focal_px=40.0)),
    "edge-on": (edge_on(0.0, camera()), camera()),
    "all but edge-on": (edge_on(0.01, camera()), camera()),
}


def leaves(splats: Splats, dtype: torch.dtype) -> Splats:
    return Splats(*(getattr(splats, name).clone().to(dtype).requires_grad_() for name in FIELDS))


def pose_leaf(cameras: Cameras) -> torch.Tensor:
    return torch.tensor(cameras.camera_from_world, dtype=torch.float64, requires_grad=True)


def assert_same_bytes(a: Rendering, b: Rendering, planes=PLANES) -> None:
    for plane in planes:
        assert torch.equal(getattr(a, plane), getattr(b, plane)), plane


def assert_matches(draw, specify, scene: tuple[Splats, Cameras], planes=PLANES) -> None:
    """Values within 1e-5, gradients of every field and of the pose within 1e-4 of the specification's in float64."""
    splats, cameras = scene
    fast, plain = leaves(splats, torch.float32), leaves(splats, torch.float64)
    poses = pose_leaf(cameras), pose_leaf(cameras)
    drawn = draw(fast, cameras, camera_from_world=poses[0])
    expected = specify(plain, cameras, camera_from_world=poses[1])
    rng = torch.Generator().manual_seed(1)
    loss_fast, loss_plain = torch.zeros(()), torch.zeros((), dtype=torch.float64)
    for plane in planes:
        ours, theirs = getattr(drawn, plane), getattr(expected, plane)
        assert float((ours - theirs).detach().abs().max()) < 1e-5 * max(1.0, float(theirs.detach().abs().max())), plane
        weight = torch.randn(ours.shape, generator=rng)
        loss_fast = loss_fast + (weight * ours).sum()
        loss_plain = loss_plain + (weight.double() * theirs).sum()
    assert expected.alpha.max() > 0.3
    loss_fast.backward()
    loss_plain.backward()
    for field in FIELDS:
        ours, theirs = getattr(fast, field).grad, getattr(plain, field).grad
        assert ours is not None and theirs is not None
        assert float((ours - theirs).norm()) <= 1e-4 * float(theirs.norm()), field
        worst = float((ours - theirs).abs().max()) / max(float(theirs.abs().max()), 1e-30)
        assert worst < 1e-4, f"{field}: {worst}"
    ours, theirs = (pose.grad for pose in poses)
    assert ours is not None and theirs is not None
    assert float((ours - theirs).norm()) < 1e-4 * float(theirs.norm())
