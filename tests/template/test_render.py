"""Pictures of the template: what the image contract promises, at every pixel."""

import numpy as np
import pytest

from spinmeround.orbits import WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.template import render
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.render import Skin, render_views


@pytest.fixture(scope="module")
def skin():
    model = load_head_model()
    return Skin(model, model.dense(model.mean), np.full((8, 8, 3), (0.8, 0.6, 0.5), np.float32))


CAMERAS = orbit_cameras([20, 150], [12, -14], size_px=64, focal_widths=WHOLE_FOCAL_WIDTHS)


def test_unit_normals_and_plain_colours_wherever_there_is_coverage(skin):
    views = render_views(skin, (), CAMERAS)
    inside = views.alpha > 0
    assert ((views.alpha > 0) & (views.alpha < 1)).any()
    np.testing.assert_allclose(np.linalg.norm(views.normals_world[inside], axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(views.rgb[inside] - skin.albedo[0, 0], 0, atol=1e-5)
    assert not views.normals_world[~inside].any()
    assert not views.rgb[~inside].any()
    assert views.exact_cameras


def test_large_pictures_are_drawn_in_strips_that_do_not_show(skin, monkeypatch):
    whole = render_views(skin, (), CAMERAS)
    monkeypatch.setattr(render, "_MAX_SAMPLES", 64 * 16 * 24)
    strips = render_views(skin, (), CAMERAS)
    np.testing.assert_allclose(strips.rgb, whole.rgb, atol=1e-6)
    np.testing.assert_array_equal(strips.alpha, whole.alpha)
    np.testing.assert_allclose(strips.normals_world, whole.normals_world, atol=1e-6)
