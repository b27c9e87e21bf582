"""Volume rendering of a signed distance against the field's values, the law of opacity, derivatives and shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.recon.evidence.targets import normal_level
from spinmeround.recon.mesh_surface.fitter import SurfaceSettings
from spinmeround.recon.sdf.fitter import SdfSettings, SdfSurfaceFitter
from spinmeround.recon.sdf.pixel_samples import PixelSamples, sample_pixels
from spinmeround.recon.sdf.residuals import LowFrequencyBias, Regularisation, ResidualSettings
from spinmeround.recon.sdf.spline_field import SplineField, project_to_zero_set, zero_surface
from spinmeround.recon.sdf.volume_fit import VolumeProblem, VolumeSettings, volume_rendering_step
from spinmeround.recon.sdf.volume_rendering import (
    LOGISTIC_SCALE,
    active_nodes,
    compositing_weights,
    sample_rays,
    spline_basis,
)
from spinmeround.types import Views
from tests.recon import scenes
from tests.recon.sdf.test_fitter import spotted
from tests.recon.sdf.test_spline_field import ball
from tests.recon.test_hull import as_trimesh

CPU = torch.device("cpu")
QUICK = SdfSettings(SurfaceSettings(20, (3,)), (3,))
_MM = METRES_PER_UNIT * 1000


def in_cells(field: SplineField, points: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((points - field.origin) / field.cell).float()


def views() -> Views:
    return scenes.draw(scenes.sphere(), scenes.cameras(size_px=36), colour=spotted)


def seen_by(given: Views) -> tuple[PixelSamples, tuple[LowFrequencyBias, LowFrequencyBias]]:
    level = normal_level(given, 1)
    biases = LowFrequencyBias(ResidualSettings()), LowFrequencyBias(ResidualSettings())
    for bias in biases:
        bias.resize(*level.trust.shape)
    return sample_pixels(given, level, margin_px=3.0, max_rays=1 << 20), biases


def one_step(given: Views, field: SplineField, device: torch.device) -> SplineField:
    samples, biases = seen_by(given)
    return volume_rendering_step(
        field, samples, *biases, device, regularisation=Regularisation(), settings=VolumeSettings()
    )[0]


def test_the_basis_gives_the_fields_values_and_gradients():
    field = ball()
    active = active_nodes(field, CPU)
    way = np.random.default_rng(0).normal(size=(300, 3))
    points = 0.2 * way / np.linalg.norm(way, axis=1, keepdims=True)
    row, basis = spline_basis(active, in_cells(field, points))
    table = torch.from_numpy(field.coefficients / field.cell).float()[tuple(active.nodes.T)]
    found = torch.einsum("ntk,nt->nk", basis, table[row]).numpy()
    expected = field.value_and_gradient(points)
    np.testing.assert_allclose(found[:, 0] * field.cell, expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], atol=1e-4)


def test_a_ray_is_as_opaque_as_its_nearest_pass_says():
    field = ball()
    active = active_nodes(field, CPU)
    apart = np.linspace(0.15, 0.225, 40)
    start = np.stack([apart, np.full(40, 0.003), np.full(40, 1.0)], axis=1)
    ray = torch.tensor([0.0, 0.0, -1.0]).expand(40, 3)
    far, used = sample_rays(active.values, in_cells(field, start), ray)
    points = in_cells(field, start)[:, None] + far[..., None] * ray[:, None]
    value = torch.full_like(far, 9.0)
    at = points[used].numpy() * field.cell + field.origin
    value[used] = torch.from_numpy(field.value_and_gradient(at)[:, 0] / field.cell).float()
    opacity, weight = compositing_weights(value, used)
    least = (np.hypot(apart, 0.003) - 0.2) / field.cell
    np.testing.assert_allclose(opacity, 1 / (1 + np.exp(least / LOGISTIC_SCALE)), atol=0.03)
    np.testing.assert_allclose(weight.sum(1), opacity, atol=1e-5)
    hit = ((weight * far).sum(1) / opacity)[:20].numpy() * field.cell
    np.testing.assert_allclose(hit, 1.0 - np.sqrt(0.04 - apart[:20] ** 2 - 0.003**2), atol=0.3 * field.cell)


def test_rays_pass_a_thin_front_and_end_behind_it():
    """What a front sheet transmits falls on what is behind."""
    values = torch.full((20, 20, 40), 4.0)
    depth = torch.arange(40.0)
    values[:] = torch.minimum((depth - 10).abs() - 0.1, 30 - depth)
    start, ray = torch.tensor([[10.0, 10.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    far, used = sample_rays(values, start, ray)
    at = (start[0, 2] + far[0])[used[0]]
    value = torch.full_like(far, 9.0)
    value[used] = torch.minimum((at - 10).abs() - 0.1, 30 - at)
    opacity, weight = compositing_weights(value, used)
    front = weight[0][used[0]][at < 20].sum()
    assert 0.3 < front < 0.7
    assert opacity.item() == pytest.approx(1.0, abs=0.03)


def test_a_step_finds_the_sphere_that_the_pictures_show_and_the_same_again():
    field = one_step(views(), ball(0.197), CPU)
    points = project_to_zero_set(field, zero_surface(field, floor_y=None).vertices)
    assert abs(np.linalg.norm(points, axis=1).mean() - 0.2) < 0.0015
    np.testing.assert_array_equal(field.coefficients, one_step(views(), ball(0.197), CPU).coefficients)


def test_a_sphere_comes_out_round_and_closed():
    mesh = SdfSurfaceFitter(QUICK, device=CPU).fit(views(), seed=0).mesh
    solid = as_trimesh(mesh)
    assert solid.is_watertight and solid.euler_number == 2 and solid.volume > 0
    off_mm = np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.2) * _MM
    assert np.median(off_mm) < 0.5, "a pixel is 7 mm"


def test_changes_go_through_the_rendering_and_back_as_its_derivatives_say():
    samples, biases = seen_by(views())
    problem = VolumeProblem(samples, ball(0.199), CPU, Regularisation(0.0, 0.0, 0.0), VolumeSettings())
    problem.weigh_residuals(*biases)
    generator = torch.Generator().manual_seed(0)
    one, two = (1e-2 * torch.randn(problem.table.shape, generator=generator) for _ in range(2))
    one[:, 0], one[:, 1:] = 1e-2, 0.0

    def product(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a * b).double().sum())

    def loss(table: torch.Tensor) -> float:
        return 0.5 * product(problem.weights, (problem.targets - problem.render(table)) ** 2)

    ahead, behind = (problem.render(problem.table + sign * one) for sign in (1, -1))
    square = product(problem.weights, (ahead - behind) ** 2) / 4
    assert product(one, problem.multiply(one)) == pytest.approx(square, rel=0.02)
    assert product(one, problem.multiply(two)) == pytest.approx(product(two, problem.multiply(one)), rel=1e-3)
    slope = (loss(problem.table + one) - loss(problem.table - one)) / 2
    assert -product(one, problem.right_hand_side()[0]) == pytest.approx(slope, rel=0.02)


@pytest.mark.gpu
def test_a_gpu_takes_the_same_step():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    start = ball(0.197)
    here, there = (one_step(views(), start, torch.device(name)) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(there.coefficients, here.coefficients, atol=0.02 * start.cell)
