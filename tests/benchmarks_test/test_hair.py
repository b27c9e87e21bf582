"""The measures of hair on orientations and outlines that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hair import contours, figures_of, fringe_mm, median_angle_deg, orientation_of_strands

from spinmeround.geometry import project
from spinmeround.orbits import orbit_cameras
from spinmeround.template.hair.orientation import HairOrientation
from spinmeround.types import HairStrands

SIZE = 400
MM_PX = 1.6
RADIUS = 70 * MM_PX
Y, X = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
AROUND, FROM_CENTRE = np.arctan2(Y, X), np.hypot(X, Y)
EVERYWHERE = np.ones((SIZE, SIZE), bool)


def _disc(displacement_mm=0.0, softness_px=0.5):
    """A disc whose radius varies around it."""
    return np.clip((RADIUS + displacement_mm * MM_PX - FROM_CENTRE) / (2 * softness_px) + 0.5, 0, 1)


def _wave(amplitude_mm, wavelength_mm):
    turns = round(2 * np.pi * RADIUS / (wavelength_mm * MM_PX))
    return amplitude_mm * np.sin(turns * AROUND)


def test_angle_between_orientations_across_the_jump_from_pi_to_0():
    ones = np.ones((4, 4))
    found, ratio = median_angle_deg(
        HairOrientation(0.05 * ones, ones), HairOrientation((np.pi - 0.05) * ones, ones / 2), ones > 0
    )
    assert found == pytest.approx(np.degrees(0.1))
    assert ratio == pytest.approx(0.5)


def test_angle_is_weighted_by_confidence():
    angle, confidence = np.zeros((1, 10)), np.ones((1, 10))
    angle[0, :8], confidence[0, :8] = 1.0, 0.01
    flat = HairOrientation(np.zeros((1, 10)), np.ones((1, 10)))
    assert median_angle_deg(HairOrientation(angle, confidence), flat, np.ones((1, 10), bool))[0] == 0


def test_nothing_to_compare():
    blank = HairOrientation(np.zeros((3, 3)), np.zeros((3, 3)))
    assert np.isnan(median_angle_deg(blank, blank, np.ones((3, 3), bool))[0])


def test_the_nearest_strand_gives_the_orientation_of_a_pixel():
    """A strand that rises to the right in front of one that hangs; the part of it without width does not count."""
    along = np.linspace(-0.2, 0.2, 9)[:, None]
    front = along * [1, 1, 0] + [0, 0, 0.1]
    behind = along * [0, -1, 0]
    widths = np.ones((2, 9))
    widths[0, 6:] = 0
    strands = HairStrands(np.stack([front, behind]), widths, np.zeros((2, 9, 3)), np.zeros((2, 2)))
    camera = orbit_cameras([0.0], [0.0], size_px=101)
    found = orientation_of_strands(strands, camera)
    middle, below = project(np.array([[0, 0, 0.1], [0, -0.1, 0]]), camera.camera_from_world[0], camera.intrinsics_px[0])
    for (column, row, _), angle in ((middle, np.radians(135)), (below, np.pi / 2)):
        assert found.confidence[int(row), int(column)] == pytest.approx(1)
        assert found.angle[int(row), int(column)] == pytest.approx(angle, abs=0.02)
    left = found.confidence[:, : int(middle[0]) - 1].any(axis=0).sum()
    right = found.confidence[:, int(middle[0]) + 2 :].any(axis=0).sum()
    assert 0 < right < 0.8 * left


def test_contour_of_a_disc():
    ((points, normals),) = contours(_disc(), mm_px=MM_PX)
    from_centre = points - (SIZE - 1) / 2
    np.testing.assert_allclose(np.linalg.norm(from_centre, axis=1), RADIUS, atol=0.6)
    outward = from_centre / np.linalg.norm(from_centre, axis=1, keepdims=True)
    assert (normals * outward).sum(1).min() > 0.98


@pytest.mark.parametrize("softness_px", [0.5, 2, 5])
def test_smooth_outlines_have_no_fringe_however_soft(softness_px):
    assert fringe_mm(_disc(softness_px=softness_px), EVERYWHERE, mm_px=MM_PX) < 0.02


@pytest.mark.parametrize("softness_px", [0.5, 2])
@pytest.mark.parametrize("amplitude_mm", [0.2, 0.4])
def test_fringe_is_the_displacement_of_the_outline(amplitude_mm, softness_px):
    found = fringe_mm(_disc(_wave(amplitude_mm, 4), softness_px), EVERYWHERE, mm_px=MM_PX)
    assert found == pytest.approx(amplitude_mm / np.sqrt(2), rel=0.35)


def test_long_waves_are_no_fringe():
    assert fringe_mm(_disc(_wave(2.0, 40)), EVERYWHERE, mm_px=MM_PX) < 0.03


def test_wisps_count_by_their_opacity():
    """Radial wisps of 1 mm every 4 mm, beyond the outline itself."""
    wisps = (np.sin(round(2 * np.pi * RADIUS / (4 * MM_PX)) * AROUND) > 0.7) & (FROM_CENTRE < RADIUS + 3 * MM_PX)
    faint, strong = (fringe_mm(np.maximum(_disc(), opacity * wisps), EVERYWHERE, mm_px=MM_PX) for opacity in (0.1, 0.3))
    assert faint > 0.02
    assert strong == pytest.approx(3 * faint, rel=0.3)


def test_fringe_counts_only_where_it_is_asked():
    ragged = np.where(X > 0, _disc(_wave(0.4, 4)), _disc())
    assert fringe_mm(ragged, X < -20, mm_px=MM_PX) < 0.05
    assert fringe_mm(ragged, X > 20, mm_px=MM_PX) > 0.15
    assert np.isnan(fringe_mm(ragged, ~EVERYWHERE, mm_px=MM_PX))


def test_bars():
    good = {"angle": 10.0, "distinct": 0.9, "fringe ratio": 0.7, "IoU": 0.98}
    bad = {"angle": 40.0, "distinct": 0.9, "fringe ratio": 0.2, "IoU": 0.9}
    assert all(figure.holds is not False for figure in figures_of({"a": good}))
    assert sum(figure.holds is False for figure in figures_of({"a": bad})) == 3
