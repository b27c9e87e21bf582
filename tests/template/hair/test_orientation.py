"""Orientation of hair in pictures whose orientation is known."""

import numpy as np
import pytest

from spinmeround.template.hair.orientation import measure_orientation

SIZE = 200
UNIT_PX = 650.0
"""Pixels per head unit of a usual portrait: 1.6 a millimetre."""
Y, X = np.mgrid[:SIZE, :SIZE] + 0.5


def _error_deg(found, expected):
    return np.degrees(np.abs((found - expected + np.pi / 2) % np.pi - np.pi / 2))


def _grey(values, noise=0.0):
    noisy = values + noise * np.random.default_rng(0).standard_normal(np.shape(values))
    return np.repeat(noisy[..., None], 3, axis=2)


def _grating(angle, wavelength_px):
    return 0.4 + 0.1 * np.sin(2 * np.pi * (Y * np.cos(angle) - X * np.sin(angle)) / wavelength_px)


@pytest.mark.parametrize("wavelength_px", [3.5, 6, 12])
@pytest.mark.parametrize("angle_deg", [0, 7, 33, 45, 81, 90, 128, 171])
def test_gratings_with_noise(angle_deg, wavelength_px):
    angle = np.radians(angle_deg)
    found = measure_orientation(_grey(_grating(angle, wavelength_px), 0.05), np.ones((SIZE, SIZE)), unit_px=UNIT_PX)
    sure = found.confidence > 0.5
    assert sure.mean() > 0.7
    assert found.angle.min() >= 0
    assert found.angle.max() < np.pi
    assert np.median(_error_deg(found.angle, angle)[sure]) < 2


def test_a_sharper_picture_has_the_same_orientation():
    """The strands of a picture twice as large, on a grid of pixels half as large."""
    found = measure_orientation(_grey(_grating(0.6, 12), 0.05), np.ones((SIZE, SIZE)), unit_px=2 * UNIT_PX)
    assert found.angle.shape == (SIZE, SIZE)
    assert np.median(_error_deg(found.angle, 0.6)[found.confidence > 0.5]) < 2


@pytest.mark.parametrize("wavelength_px", [4, 8])
def test_circles(wavelength_px):
    x, y = X - SIZE / 2, Y - SIZE / 2
    radius = np.hypot(x, y)
    rings = 0.4 + 0.1 * np.sin(2 * np.pi * radius / wavelength_px)
    found = measure_orientation(_grey(rings, 0.05), np.ones((SIZE, SIZE)), unit_px=UNIT_PX)
    error = _error_deg(found.angle, np.arctan2(x, -y))[(radius > 15) & (found.confidence > 0.3)]
    assert np.median(error) < 2
    assert np.quantile(error, 0.95) < 4


def test_noise_has_no_orientation():
    noise = measure_orientation(_grey(np.full((SIZE, SIZE), 0.4), 0.1), np.ones((SIZE, SIZE)), unit_px=UNIT_PX)
    strands = measure_orientation(_grey(_grating(0.6, 5), 0.05), np.ones((SIZE, SIZE)), unit_px=UNIT_PX)
    assert noise.confidence.mean() < 0.1
    assert strands.confidence.mean() > 0.7


def test_nothing_outside_the_matte_counts():
    """Vertical strands in a disc; a bright background, or one with strands of its own, changes nothing."""
    hair = (np.hypot(X - SIZE / 2, Y - SIZE / 2) < 70).astype(np.float64)
    strands = _grating(np.pi / 2, 6) - 0.2
    found = [
        measure_orientation(_grey(np.where(hair > 0, strands, behind)), hair, unit_px=UNIT_PX)
        for behind in (np.ones_like(strands), _grating(0.0, 5))
    ]
    np.testing.assert_array_equal(found[0].angle, found[1].angle)
    np.testing.assert_array_equal(found[0].confidence, found[1].confidence)
    assert found[0].confidence[hair == 0].max() == 0
    assert _error_deg(found[0].angle, np.pi / 2)[found[0].confidence > 0.2].max() < 2


def test_the_outline_is_no_strand():
    """Noise in a disc: along its border, where the outline runs along the tangent, confidence stays low."""
    radius = np.hypot(X - SIZE / 2, Y - SIZE / 2)
    hair = (radius < 70).astype(np.float64)
    found = measure_orientation(_grey(np.full((SIZE, SIZE), 0.4), 0.1), hair, unit_px=UNIT_PX)
    assert found.confidence[(radius > 60) & (radius < 75)].mean() < 0.1


def test_no_hair():
    found = measure_orientation(_grey(_grating(0.6, 5)), np.zeros((SIZE, SIZE)), unit_px=UNIT_PX)
    assert not found.confidence.any()
