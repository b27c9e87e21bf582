"""The head of one person: with the photo's expression, at rest, and as an avatar that knows both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.images import composite
from spinmeround.inspection.expressions import posed
from spinmeround.orbits import orbit_cameras
from spinmeround.protocols import PaintedHead
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.painted_initialisation import splats_on_painted_surface
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.generator import PHOTO_POSE, TemplateGenerator, TemplateHead
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.texture.bake import SkinTexture


@pytest.fixture(scope="module")
def shouting() -> TemplateHead:
    """The mean head, bald, of which one photo shows the mouth wide open and another the head at rest."""
    model = load_head_model()
    camera, mean = orbit_cameras([0.0], [0.0], size_px=64), model.mean.astype(np.float64)
    wide = np.where(np.array(model.expression_names) == "jawOpen", 0.75, 0.0)
    photos = tuple(FittedPhoto(camera, weights, 0 * mean, 1.0, 0.01, 0.99) for weights in (wide, 0 * wide))
    head = FittedHead(model, np.zeros(len(model.shape_names)), 0 * mean, mean, photos)
    grey = SkinTexture(np.full((64, 64, 3), 0.5, np.float32), np.zeros((64, 64), np.float32))
    return TemplateHead(model, head, grey, None, np.zeros(model.subdivision.shape[0]), {})


def lowest_row(head: TemplateHead, *, neutral: bool = False) -> int:
    """The row of the chin's lowest pixel, seen from the side: there nothing is below it but the neck, further back."""
    alpha = head.render(orbit_cameras([90.0], [0.0], size_px=256), neutral=neutral).alpha[0]
    columns = np.flatnonzero((alpha > 0.5).any(axis=0))
    front = columns[columns < columns[0] + 40]
    return int(np.flatnonzero((alpha[:, front] > 0.5).any(axis=1)).max())


def test_pictures_show_the_first_photos_expression_unless_the_face_is_to_rest(shouting, monkeypatch):
    assert lowest_row(shouting) > lowest_row(shouting, neutral=True) + 5
    monkeypatch.setattr(TemplateGenerator, "fit", lambda self, portraits, *, seed: shouting)
    cameras = orbit_cameras([90.0], [0.0], size_px=64)
    shown, at_rest = (
        TemplateGenerator(neutral=neutral).generate((), cameras, seed=0).alpha for neutral in (False, True)
    )
    np.testing.assert_array_equal(shown, shouting.render(cameras).alpha)
    np.testing.assert_array_equal(at_rest, shouting.render(cameras, neutral=True).alpha)
    assert (shown != at_rest).any()


def test_an_avatar_rests_and_has_the_first_photos_expression_as_a_pose(shouting):
    avatar = shouting.avatar(lod=2, texture_px=64)
    assert avatar.poses == {PHOTO_POSE: {"jawOpen": 0.75}}
    skin = avatar.parts[0]
    at_rest = shouting.model.dense(shouting.head.neutral)
    away = cKDTree(at_rest).query(skin.mesh.vertices)[0]
    assert np.median(away) < 1e-6
    wide = shouting.model.dense(shouting.head.posed(0))
    moved = posed(skin, avatar.poses[PHOTO_POSE]).vertices
    assert np.quantile(cKDTree(wide).query(moved)[0], 0.95) < 0.01 < np.abs(moved - skin.mesh.vertices).max()


def test_splats_of_a_template_head_start_out_as_its_pictures(shouting):
    views = shouting.render(orbit_cameras([0.0, 60.0, 120.0, 180.0, 240.0, 300.0], [12.0, -14.0] * 3, size_px=128))
    between = shouting.render(orbit_cameras([30.0, 150.0], [0.0, 0.0], size_px=128))
    assert isinstance(shouting, PaintedHead)
    painted = shouting.painted_surface(views.cameras, neutral=False)
    start, _ = splats_on_painted_surface(views, painted, count=30_000, sh_degree=0)
    drawn = NumbaRasterizer().render(start, between.cameras)
    error = drawn.rgb.numpy() + 1 - drawn.alpha.numpy()[..., None] - composite(between.rgb, between.alpha)
    assert -10 * np.log10((error[between.alpha > 0] ** 2).mean()) > 22
