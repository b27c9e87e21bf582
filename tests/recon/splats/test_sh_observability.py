"""Which combinations of harmonics the cameras observe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.orbits import ORBITS, orbit_cameras
from spinmeround.recon.raster.spherical_harmonics import sh_colour
from spinmeround.recon.splats.sh_observability import observable_sh_projector


def orbit(elevation_deg: float):
    return orbit_cameras([15.0 * k for k in range(24)], [elevation_deg] * 24, size_px=16)


def colour_from(azimuth_deg: float, elevation_deg: float, coefficients) -> float:
    a, e = np.radians([azimuth_deg, elevation_deg])
    eye = 2.7 * np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    sh = np.zeros((16, 3), np.float32)
    sh[1:, 0] = coefficients
    colour = np.empty(3)
    sh_colour(np.zeros(3), eye, sh, np.empty(16), colour)
    return float(colour[0])


@pytest.mark.parametrize(("degree", "rank"), [(1, 2), (2, 4), (3, 6)])
def test_an_orbit_observes_two_combinations_a_degree(degree, rank):
    projector = observable_sh_projector(orbit(5.0), degree)
    torch.testing.assert_close(projector @ projector, projector, atol=1e-5, rtol=0)
    assert float(projector.trace()) == pytest.approx(rank, abs=1e-4)


def test_cameras_all_around_observe_more():
    around = observable_sh_projector(orbit_cameras(*zip(*ORBITS["orbit-16"], strict=True), size_px=16), 3)
    assert float(around.trace()) > 10


def test_projected_coefficients_keep_the_orbits_colours_and_stay_small_above_it():
    """Coefficients that no view observes are removed; what the cameras see of the others stays."""
    projector = observable_sh_projector(orbit(0.0), 3).numpy()
    wild = np.random.default_rng(0).normal(size=15).astype(np.float32) * 0.05
    held = projector @ wild
    level, above = ([colour_from(a, e, held) - 0.5 for a in range(0, 360, 15)] for e in (0.0, 35.0))
    assert np.ptp(level) > 0.05
    assert np.ptp(above) < 1.1 * np.ptp(level)
    given = [colour_from(a, 0.0, wild) for a in range(0, 360, 15)]
    np.testing.assert_allclose(np.array(given) - np.mean(given), np.array(level) - np.mean(level), atol=1e-5)
