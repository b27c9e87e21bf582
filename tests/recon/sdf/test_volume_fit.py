"""Volume rendering of the neural surface: against the field's own values, the law of opacity, derivatives, bodies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.recon.evidence.targets import normal_level
from spinmeround.recon.mesh_surface.fitter import SurfaceSettings
from spinmeround.recon.sdf.fitter import NeuralSettings, NeuralSurfaceFitter
from spinmeround.recon.sdf.residuals import SlowErrors
from spinmeround.recon.sdf.spline_field import SplineField, onto_zero, zero_surface
from spinmeround.recon.sdf.volume_fit import Shots, VolumeProblem, shots_of, volume_step
from spinmeround.recon.sdf.volume_rendering import FIRMNESS, node_rows, places, shares, taps
from spinmeround.types import Views
from tests.recon import scenes
from tests.recon.sdf.test_fitter import spotted
from tests.recon.sdf.test_spline_field import ball
from tests.recon.test_hull import as_trimesh

CPU = torch.device("cpu")
QUICK = NeuralSettings(SurfaceSettings(20, (3,)), (3,))
_MM = METRES_PER_UNIT * 1000


def in_cells(field: SplineField, points: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((points - field.low) / field.cell).float()


def views() -> Views:
    return scenes.draw(scenes.sphere(), scenes.cameras(size_px=36), colour=spotted)


def seen_by(given: Views) -> tuple[Shots, tuple[SlowErrors, SlowErrors]]:
    level = normal_level(given, 1)
    errors = SlowErrors(), SlowErrors()
    for each in errors:
        each.resize(*level.trust.shape)
    return shots_of(given, level), errors


def one_step(given: Views, field: SplineField, device: torch.device) -> SplineField:
    shots, errors = seen_by(given)
    return volume_step(field, shots, *errors, device, smoothness=5e-5, eikonal=0.002, inertia=1e-7)[0]


def test_taps_give_the_fields_values_and_gradients():
    field = ball()
    rows = node_rows(field, CPU)
    way = np.random.default_rng(0).normal(size=(300, 3))
    points = 0.2 * way / np.linalg.norm(way, axis=1, keepdims=True)
    row, basis = taps(rows, in_cells(field, points))
    table = torch.from_numpy(field.coefficients / field.cell).float()[tuple(rows.nodes.T)]
    found = torch.einsum("ntk,nt->nk", basis, table[row]).numpy()
    expected = field.at(points)
    np.testing.assert_allclose(found[:, 0] * field.cell, expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], atol=1e-4)


def test_a_ray_is_as_opaque_as_its_nearest_pass_says():
    field = ball()
    rows = node_rows(field, CPU)
    apart = np.linspace(0.15, 0.225, 40)
    start = np.stack([apart, np.full(40, 0.003), np.full(40, 1.0)], axis=1)
    ray = torch.tensor([0.0, 0.0, -1.0]).expand(40, 3)
    far, used = places(rows.values, in_cells(field, start), ray)
    points = in_cells(field, start)[:, None] + far[..., None] * ray[:, None]
    value = torch.full_like(far, 9.0)
    at = points[used].numpy() * field.cell + field.low
    value[used] = torch.from_numpy(field.at(at)[:, 0] / field.cell).float()
    opacity, share = shares(value, used)
    least = (np.hypot(apart, 0.003) - 0.2) / field.cell
    np.testing.assert_allclose(opacity, 1 / (1 + np.exp(least / FIRMNESS)), atol=0.03)
    np.testing.assert_allclose(share.sum(1), opacity, atol=1e-5)
    hit = ((share * far).sum(1) / opacity)[:20].numpy() * field.cell
    np.testing.assert_allclose(hit, 1.0 - np.sqrt(0.04 - apart[:20] ** 2 - 0.003**2), atol=0.3 * field.cell)


def test_rays_pass_a_thin_front_and_end_behind_it():
    """What a front sheet leaves of the light falls on what is behind."""
    values = torch.full((20, 20, 40), 4.0)
    depth = torch.arange(40.0)
    values[:] = torch.minimum((depth - 10).abs() - 0.1, 30 - depth)
    start, ray = torch.tensor([[10.0, 10.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    far, used = places(values, start, ray)
    at = (start[0, 2] + far[0])[used[0]]
    value = torch.full_like(far, 9.0)
    value[used] = torch.minimum((at - 10).abs() - 0.1, 30 - at)
    opacity, share = shares(value, used)
    front = share[0][used[0]][at < 20].sum()
    assert 0.3 < front < 0.7
    assert opacity.item() == pytest.approx(1.0, abs=0.03)


def test_a_step_finds_the_sphere_that_the_pictures_show_and_the_same_again():
    field = one_step(views(), ball(0.197), CPU)
    points = onto_zero(field, zero_surface(field, floor_y=None).vertices)
    assert abs(np.linalg.norm(points, axis=1).mean() - 0.2) < 0.0015
    np.testing.assert_array_equal(field.coefficients, one_step(views(), ball(0.197), CPU).coefficients)


def test_a_sphere_comes_out_round_and_closed():
    mesh = NeuralSurfaceFitter(QUICK, card=CPU).fit(views(), seed=0).mesh
    solid = as_trimesh(mesh)
    assert solid.is_watertight and solid.euler_number == 2 and solid.volume > 0
    off_mm = np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.2) * _MM
    assert np.median(off_mm) < 0.5, "a pixel is 7 mm"


def test_changes_go_through_the_rendering_and_back_as_its_derivatives_say():
    shots, errors = seen_by(views())
    problem = VolumeProblem(shots, ball(0.199), CPU, smoothness=0.0, eikonal=0.0, inertia=0.0)
    problem.weigh(*errors)
    generator = torch.Generator().manual_seed(0)
    one, two = (1e-2 * torch.randn(problem.table.shape, generator=generator) for _ in range(2))
    one[:, 0], one[:, 1:] = 1e-2, 0.0

    def product(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a * b).double().sum())

    def loss(table: torch.Tensor) -> float:
        return 0.5 * product(problem.weight, (problem.wanted - problem.rendered(table)) ** 2)

    ahead, behind = (problem.rendered(problem.table + sign * one) for sign in (1, -1))
    square = product(problem.weight, (ahead - behind) ** 2) / 4
    assert product(one, problem.times(one)) == pytest.approx(square, rel=0.02)
    assert product(one, problem.times(two)) == pytest.approx(product(two, problem.times(one)), rel=1e-3)
    slope = (loss(problem.table + one) - loss(problem.table - one)) / 2
    assert -product(one, problem.right()[0]) == pytest.approx(slope, rel=0.02)


@pytest.mark.gpu
def test_a_card_takes_the_same_step():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    start = ball(0.197)
    here, there = (one_step(views(), start, torch.device(name)) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(there.coefficients, here.coefficients, atol=0.02 * start.cell)
