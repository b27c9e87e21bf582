"""Waves of hair in pictures whose waves are known."""

import numpy as np
import pytest

from spinmeround.geometry import MILLIMETRE
from spinmeround.template.hair.curl import measure_curl
from spinmeround.template.hair.orientation import measure_orientation

SIZE = 320
UNIT_PX = 650.0
MILLIMETRE_PX = UNIT_PX * MILLIMETRE
Y, X = np.mgrid[:SIZE, :SIZE] + 0.5
HAIR = np.ones((SIZE, SIZE))


def _curl(height_px, contrast=0.1):
    """Measure hair whose strands are level lines of a height."""
    noise = np.random.default_rng(0).standard_normal((SIZE, SIZE))
    grey = 0.4 + contrast * np.sin(2 * np.pi * height_px / 6) + 0.03 * noise
    rgb = np.repeat(grey[..., None], 3, axis=2)
    return measure_curl(measure_orientation(rgb, HAIR, unit_px=UNIT_PX), HAIR, unit_px=UNIT_PX)


@pytest.mark.parametrize(("amplitude_mm", "pitch_mm"), [(2, 20), (2, 30), (3, 40)])
def test_waves(amplitude_mm, pitch_mm):
    wave = amplitude_mm * MILLIMETRE_PX * np.sin(2 * np.pi * X / (pitch_mm * MILLIMETRE_PX))
    found = _curl(Y - wave)
    assert found.pitch == pytest.approx(pitch_mm * MILLIMETRE, rel=0.2)
    assert found.amplitude == pytest.approx(amplitude_mm * MILLIMETRE, rel=0.35)


def test_straight_hair():
    found = _curl(0.8 * Y + 0.6 * X)
    assert found.amplitude == 0
    assert found.coherence > 0.9


def test_flow_around_the_head_is_no_wave():
    found = _curl(np.hypot(X - SIZE / 2, Y + 50))
    assert found.amplitude < 0.5 * MILLIMETRE


def test_hair_without_a_direction():
    found = _curl(Y, contrast=0.0)
    assert found.coherence < 0.1


def test_no_hair():
    blank = measure_orientation(np.zeros((SIZE, SIZE, 3)), 0 * HAIR, unit_px=UNIT_PX)
    found = measure_curl(blank, 0 * HAIR, unit_px=UNIT_PX)
    assert (found.amplitude, found.coherence) == (0, 0)
