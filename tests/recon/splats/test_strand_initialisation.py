"""Gaussians along strands of hair on a ball."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from spinmeround.orbits import orbit_cameras
from spinmeround.recon.splats.optimizer import SplatOptimizer
from spinmeround.recon.splats.strand_initialisation import StrandSplatSettings, splats_on_strands
from spinmeround.types import SH_C0, HairStrands, Views
from tests.recon.scenes import sphere

RADIUS, COUNT = 0.3, 300


def combed(radius):
    """Strands that run down a ball along its meridians, red on the one half and green on the other."""
    azimuth = np.linspace(0, 2 * np.pi, COUNT, endpoint=False)[:, None]
    polar = np.linspace(0.6, 2.4, 30)[None]
    points = radius * np.stack(
        [np.sin(polar) * np.cos(azimuth), np.cos(polar) * np.ones_like(azimuth), np.sin(polar) * np.sin(azimuth)], -1
    )
    colours = np.where(points[..., :1] > 0, [[[0.8, 0.1, 0.1]]], [[[0.1, 0.7, 0.1]]])
    return HairStrands(points, np.full(points.shape[:2], 0.002), colours, np.zeros((COUNT, 2)))


def placed(strands, **kwargs):
    cameras = orbit_cameras([0.0, 180.0], [0.0, 0.0], size_px=1024)
    shape = (2, 1024, 1024)
    blank = np.zeros((*shape, 3), np.float32)
    views = Views(cameras, blank, blank, np.ones(shape, np.float32), np.ones(shape, np.float32))
    options = {"count": 100_000, "sh_degree": 0, "rng": np.random.default_rng(0)} | kwargs
    return splats_on_strands(views, strands, sphere(radii=(RADIUS,) * 3)[0], **options)


def test_they_run_along_the_strands_with_the_normal_as_their_third_axis():
    splats = placed(combed(RADIUS))
    axes = Rotation.from_quat(splats.quats_wxyz.numpy()[:, [1, 2, 3, 0]]).as_matrix()
    outward = splats.means.numpy() / np.linalg.norm(splats.means.numpy(), axis=1, keepdims=True)
    down = np.array([0, -1.0, 0]) - outward * -outward[:, 1:2]
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    assert np.abs((axes[..., 0] * down).sum(1)).min() > 0.98
    assert np.abs((axes[..., 2] * outward).sum(1)).min() > 0.95
    assert (splats.scales[:, 0] > 3 * splats.scales[:, 1]).all()
    colours = 0.5 + SH_C0 * splats.sh[:, 0].numpy()
    right = splats.means[:, 0].numpy() > 0.02
    np.testing.assert_allclose(colours[right], [[0.8, 0.1, 0.1]] * right.sum(), atol=1e-5)


def test_strands_deep_inside_are_left_out_and_no_more_are_laid_than_asked_for():
    assert len(placed(combed(RADIUS - 3 * StrandSplatSettings().depth))) == 0
    most = int(StrandSplatSettings().max_fraction * 1000)
    assert len(placed(combed(RADIUS), count=1000)) == most


def test_a_fit_does_not_shorten_them_to_discs():
    splats = placed(combed(RADIUS))
    optimizer = SplatOptimizer(splats, 1e-3)
    now = optimizer.splats()
    fields = (now.means, now.scales, now.quats_wxyz, now.opacities, now.sh)
    optimizer.step(torch.stack([(field * 0).sum() for field in fields]).sum(), 0.0)
    torch.testing.assert_close(optimizer.result().scales[:, :2], splats.scales[:, :2], rtol=1e-3, atol=0)
