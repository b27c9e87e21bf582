"""Splats that start on what the views were drawn from: an egg with a painted skin and some strands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spinmeround import mesh_raster
from spinmeround.errors import FitError
from spinmeround.images import composite
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.fitter import GaussianFitter, SplatSettings
from spinmeround.recon.splats.painted_initialisation import splats_on_painted_surface
from spinmeround.types import SH_C0, HairStrands, Mesh, PaintedSurface, Splats, Views
from tests.recon.splats.test_fitter import AROUND, BETWEEN, colour_at, egg, photograph

COUNT = 6000


@pytest.fixture(scope="module")
def views() -> Views:
    return photograph(egg(), *AROUND)


@pytest.fixture(scope="module")
def held_out() -> Views:
    return photograph(egg(), *BETWEEN)


def painted(strands: HairStrands | None = None) -> PaintedSurface:
    mesh = egg()

    def colours(face, weights):
        return colour_at((mesh.vertices[mesh.faces[face]] * weights[..., None]).sum(1))

    return PaintedSurface(mesh, colours, strands)


def loop(lift: float, *, width: float = 0.006) -> HairStrands:
    """Green strands around the egg's waist, above its surface by ``lift``."""
    angle = np.linspace(0, np.pi / 2, 12)[None] + np.arange(4)[:, None] * np.pi / 2
    points = np.stack([(0.17 + lift) * np.cos(angle) + 0.01, 0 * angle - 0.02, (0.21 + lift) * np.sin(angle)], axis=-1)
    return HairStrands(points, np.full(angle.shape, width), points * 0 + [0.0, 1.0, 0.0], np.zeros((4, 2)))


def psnr_db(splats: Splats, views: Views) -> float:
    drawn = NumbaRasterizer().render(splats, views.cameras)
    ours = drawn.rgb.numpy() + 1 - drawn.alpha.numpy()[..., None]
    inside = views.alpha > 0
    error = (ours - composite(views.rgb, views.alpha))[inside]
    return float(-10 * np.log10((error**2).mean()))


def test_splats_look_like_views_held_out_before_any_step(views, held_out):
    start, seen = splats_on_painted_surface(views, painted(), count=COUNT, sh_degree=0)
    assert 0.9 * COUNT < len(start) <= COUNT
    assert psnr_db(start, held_out) > 24
    assert len(seen) == len(views) and all(0.2 * len(start) < len(each) < 0.8 * len(start) for each in seen)


@pytest.mark.parametrize("count", [700, 60])
def test_no_more_splats_are_laid_than_asked_for(views, count):
    start, _ = splats_on_painted_surface(views, painted(loop(0.002)), count=count, sh_degree=0)
    assert 0.5 * count < len(start) <= count


def test_no_disc_lies_where_no_view_looks(views):
    outer = egg()
    vertices = np.concatenate([outer.vertices, 0.5 * outer.vertices])
    pot = Mesh(vertices, np.concatenate([outer.faces, outer.faces + len(outer.vertices)]))
    grey = PaintedSurface(pot, lambda face, weights: weights * 0 + 0.5)
    start, _ = splats_on_painted_surface(views, grey, count=COUNT, sh_degree=0)
    radii = np.linalg.norm((start.means.numpy() - [0.01, -0.02, 0]) / [0.17, 0.27, 0.21], axis=1)
    assert radii.min() > 0.9


def test_only_pieces_of_strands_that_are_seen_become_needles(views):
    seen, _ = splats_on_painted_surface(views, painted(loop(0.004)), count=COUNT, sh_degree=0)
    hidden, _ = splats_on_painted_surface(views, painted(loop(-0.05)), count=COUNT, sh_degree=0)
    needles = seen.scales[:, 0] > 2 * seen.scales[:, 1]
    assert int(needles.sum()) == 4 * 11 and not (hidden.scales[:, 0] > 2 * hidden.scales[:, 1]).any()
    np.testing.assert_allclose(0.5 + SH_C0 * seen.sh[needles, 0], [[0.0, 1.0, 0.0]] * 44, atol=1e-6)
    length = np.linalg.norm(np.diff(loop(0.004).points, axis=1), axis=2)
    integral = seen.scales[needles, 0].numpy() * np.sqrt(2 * np.pi)
    np.testing.assert_allclose(integral.sum(), length.sum(), rtol=1e-5)  # an even line, as dense as the strand


def test_the_polish_improves_the_start_and_repeats(views, held_out):
    fitter = GaussianFitter(NumbaRasterizer(), SplatSettings(count=COUNT, polish_iterations=24))
    before, _ = splats_on_painted_surface(views, painted(), count=COUNT, sh_degree=0)
    first, again = (fitter.fit_painted(views, painted(), seed=3) for _ in range(2))
    assert psnr_db(first, held_out) > psnr_db(before, held_out) + 1
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in ("means", "scales", "sh"))


def test_a_surface_that_no_view_sees_is_refused(views):
    away = painted()
    away = replace(away, mesh=replace(away.mesh, vertices=away.mesh.vertices + np.array([0.0, 50.0, 0.0])))
    with pytest.raises(FitError, match="no view sees"):
        splats_on_painted_surface(views, away, count=COUNT, sh_degree=0)
    assert mesh_raster.rasterize(away.mesh.vertices, away.mesh.faces, views.cameras, 0).face.max() == -1
