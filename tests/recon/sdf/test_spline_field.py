"""The spline field and its normal equations against plain torch and autograd; rays against spheres."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.recon.evidence.targets import depth_maps
from spinmeround.recon.sdf.gauss_newton import LeastSquaresTerms, concatenate_terms, gauss_newton_step, normal_equations
from spinmeround.recon.sdf.pixel_samples import closest_approaches, intersect_rays
from spinmeround.recon.sdf.spline_field import (
    SplineField,
    fit_spline,
    project_to_zero_set,
    signed_distance,
    zero_surface,
)
from tests.recon import scenes
from tests.recon.test_hull import as_trimesh

ORIGIN, CELL = np.array([-0.31, -0.29, -0.3]), 0.02


def ball(radius: float = 0.2, count: int = 32) -> SplineField:
    """The signed distance of a sphere about the origin."""
    at = ORIGIN + CELL * np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), axis=-1)
    return fit_spline(np.linalg.norm(at, axis=-1) - radius, ORIGIN, CELL)


def wavy(rng: np.random.Generator) -> SplineField:
    return SplineField(rng.normal(size=(9, 8, 10)), ORIGIN, CELL)


def plain_value(coefficients: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Sum over all nodes of the product of centred quadratic B-splines, by their definition."""
    weights = []
    for axis in range(3):
        nodes = torch.arange(coefficients.shape[axis], dtype=torch.float64)
        far = ((points[:, axis, None] - ORIGIN[axis]) / CELL - nodes).abs()
        inner, outer = 0.75 - far**2, 0.5 * (1.5 - far) ** 2
        weights.append(torch.where(far < 0.5, inner, torch.where(far < 1.5, outer, torch.zeros_like(far))))
    return torch.einsum("xyz,nx,ny,nz->n", coefficients, *weights)


def plain_field(coefficients: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    points = points.clone().requires_grad_()
    value = plain_value(coefficients, points)
    (gradient,) = torch.autograd.grad(value.sum(), points, create_graph=True)
    return value, gradient


def inner_points(rng: np.random.Generator, field: SplineField, count: int) -> np.ndarray:
    return field.origin + field.cell * (1.5 + rng.random((count, 3)) * (np.array(field.coefficients.shape) - 4))


def test_values_and_gradients_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    field = wavy(rng)
    points = inner_points(rng, field, 200)
    value, gradient = plain_field(torch.from_numpy(field.coefficients), torch.from_numpy(points))
    np.testing.assert_allclose(field.value_and_gradient(points)[:, 0], value.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(field.value_and_gradient(points)[:, 1:], gradient.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_sampling_agrees_with_evaluation_and_halving_changes_nothing():
    rng = np.random.default_rng(1)
    field = wavy(rng)
    nodes = np.argwhere(np.ones((7, 6, 8))) + 1
    at = field.value_and_gradient(field.origin + field.cell * nodes)[:, 0]
    np.testing.assert_allclose(field.node_values()[tuple(nodes.T)], at, atol=1e-12)
    points = inner_points(rng, field, 100)
    np.testing.assert_allclose(field.refined().value_and_gradient(points), field.value_and_gradient(points), atol=1e-9)


@pytest.mark.parametrize("smoothness", [0.0, 0.3])
def test_normal_equations_are_half_the_derivatives_of_the_loss(smoothness):
    rng = np.random.default_rng(2)
    field = SplineField(rng.normal(size=(7, 6, 8)), ORIGIN, CELL)
    unknown = np.full(field.coefficients.shape, -1, np.int32)
    chosen = np.zeros(unknown.shape, bool)
    chosen[2:-2, 2:-2, 2:-2] = rng.random((3, 2, 4)) < 0.8
    unknown[chosen] = np.arange(chosen.sum())
    count = 60
    aim = rng.normal(size=(count, 3))
    aim /= np.linalg.norm(aim, axis=1, keepdims=True)
    terms = LeastSquaresTerms(
        inner_points(rng, field, count), aim, rng.random(count), rng.normal(size=count), rng.random(count),
        rng.random(count) < 0.5,
    )  # fmt: skip

    def loss(change: torch.Tensor) -> torch.Tensor:
        coefficients = torch.from_numpy(field.coefficients).clone()
        coefficients[torch.from_numpy(chosen)] = coefficients[torch.from_numpy(chosen)] + CELL * change
        value, gradient = plain_field(coefficients, torch.from_numpy(terms.points))
        miss = torch.from_numpy(terms.target_gradient) - gradient
        lengthwise = (miss * torch.from_numpy(terms.target_gradient)).sum(1)
        slope = torch.where(torch.from_numpy(terms.along_target_only), lengthwise**2, (miss**2).sum(1))
        off = (torch.from_numpy(terms.target_value) - value) / CELL
        total = (torch.from_numpy(terms.gradient_weight) * slope).sum()
        total = total + (torch.from_numpy(terms.value_weight) * off**2).sum() + 0.1 * (change**2).sum()
        for axis in range(3):
            bend = torch.diff(coefficients / CELL, n=2, dim=axis)
            ends = [slice(1, -1) if a != axis else slice(None) for a in range(3)]
            middle = torch.from_numpy(chosen[1:-1, 1:-1, 1:-1])
            total = total + smoothness * (bend[tuple(ends)][middle] ** 2).sum()
        return total

    matrix, right = normal_equations(field, unknown, terms, smoothness=smoothness, damping=0.1)
    still = torch.zeros(int(chosen.sum()), dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(loss, still)
    bend = torch.autograd.functional.hessian(loss, still)
    np.testing.assert_allclose(right, -0.5 * slope.numpy(), rtol=1e-6, atol=1e-8)
    nodes = np.argwhere(chosen)
    apart = nodes[None] - nodes[:, None]
    near = (np.abs(apart) <= 2).all(-1)
    column = ((apart + 2) * [25, 5, 1]).sum(-1)
    dense = np.where(near, np.take_along_axis(matrix, np.where(near, column, 0), axis=1), 0.0)
    np.testing.assert_allclose(dense, 0.5 * bend.numpy(), rtol=1e-5, atol=1e-5)

    found = gauss_newton_step(field, unknown, terms, smoothness=smoothness, damping=0.1)
    change = (found.coefficients - field.coefficients)[chosen] / CELL
    np.testing.assert_allclose(change, np.linalg.solve(dense, right), rtol=1e-3, atol=1e-2)
    np.testing.assert_array_equal(found.coefficients[~chosen], field.coefficients[~chosen])


def test_the_zero_set_of_a_sphere_is_closed_and_round():
    field = ball()
    mesh = zero_surface(field, floor_y=None)
    solid = as_trimesh(mesh)
    assert solid.is_watertight and solid.volume > 0
    points = project_to_zero_set(field, mesh.vertices)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 0.2, atol=2e-4)
    cut = zero_surface(field, floor_y=-0.1)
    assert as_trimesh(cut).is_watertight and cut.vertices[:, 1].min() == pytest.approx(-0.1, abs=1e-3)


def test_rays_end_on_the_zero_set_and_pass_at_their_distance():
    field, cameras = ball(), scenes.cameras(size_px=64)
    views = scenes.draw(scenes.sphere(), cameras)
    mesh, _ = scenes.sphere(radii=(0.196, 0.196, 0.196))
    hits = intersect_rays(field, cameras, depth_maps(mesh.vertices, mesh.faces, cameras), views.alpha > 0.5)
    frontal = hits.cosine > 0.3
    assert frontal.sum() > 1000
    np.testing.assert_allclose(np.linalg.norm(hits.points[frontal], axis=1), 0.2, atol=3e-4)
    rows, columns = np.array([4, 12, 31, 50]), np.array([31, 20, 2, 60])
    points, far = closest_approaches(field, cameras, 3, rows, columns)
    eye = -cameras.camera_from_world[3, :3, :3].T @ cameras.camera_from_world[3, :3, 3]
    ray = (points - eye) / np.linalg.norm(points - eye, axis=1, keepdims=True)
    true = np.linalg.norm(np.cross(eye, ray), axis=1)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), true, atol=2e-3)
    np.testing.assert_allclose((points - eye) @ cameras.camera_from_world[3, 2, :3], far)


def test_terms_are_concatenated_in_order_and_threads_do_not_matter():
    rng = np.random.default_rng(3)
    field = ball()
    unknown = np.full(field.coefficients.shape, -1, np.int32)
    unknown[4:-4, 4:-4, 4:-4] = np.arange(24**3).reshape(24, 24, 24)
    points = inner_points(rng, field, 5000)
    zero = np.zeros(5000)
    part = LeastSquaresTerms(points, rng.normal(size=(5000, 3)), zero + 1, zero, zero, zero > 0)
    both = concatenate_terms(part, part)
    np.testing.assert_array_equal(both.points[5000:], points)
    one, two = (gauss_newton_step(field, unknown, both, smoothness=1e-3, damping=1e-3).coefficients for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_the_distance_to_a_mesh_is_signed_and_right_near_it():
    mesh, _ = scenes.sphere(subdivisions=5)
    distance = signed_distance(mesh, (32, 32, 32), ORIGIN, CELL)
    at = ORIGIN + CELL * np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), axis=-1)
    exact = np.linalg.norm(at, axis=-1) - 0.2
    near = np.abs(exact) < 3 * CELL
    np.testing.assert_allclose(distance[near], exact[near], atol=1e-3)
    assert (np.sign(distance) == np.sign(exact))[np.abs(exact) > 1e-3].all()
