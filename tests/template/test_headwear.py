"""Headwear from mattes that are known exactly: a hat pulled over the brow, a scarf around the face; stubble."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround import mesh_raster
from spinmeround.geometry import framed
from spinmeround.orbits import orbit_cameras
from spinmeround.template import generator, headwear
from spinmeround.template.avatar.build import AvatarDetail, build_avatar
from spinmeround.template.fit.fitter import FittedHead, FittedPhoto
from spinmeround.template.fit.photo_lookup import gather_evidence
from spinmeround.template.hair import volume
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.render import Covering, Skin, render_views
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Portrait

SIZE = 320
SKIN_RGB, HAIR_RGB, CLOTH_RGB = np.array([0.8, 0.6, 0.5]), np.array([0.3, 0.2, 0.1]), np.array([0.2, 0.3, 0.8])
EDGE = 0.06
"""Height of the lower edge of the hat: above the brows and the ears."""


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def camera():
    return framed(orbit_cameras([0.0], [0.0], size_px=SIZE), 0.55, size_px=SIZE)


@pytest.fixture(scope="module")
def head(model, camera):
    photo = FittedPhoto(camera, np.zeros(52), np.zeros_like(model.mean), 0.0, 0.0, 1.0)
    return FittedHead(model, np.zeros(len(model.shape_names)), np.zeros_like(model.mean), model.mean, (photo,))


@pytest.fixture(scope="module")
def drawn(model, camera):
    """Which pixels show the bare mean head, its scalp, and the world height of each."""
    buffer = mesh_raster.rasterize(model.dense(model.mean), model.dense_faces, camera, 0)
    scalp = mesh_raster.interpolate(model.masks["scalp"][:, None], model.dense_faces, buffer)[..., 0] > 0.5
    unit_px = camera.intrinsics_px[0, 0, 0] / camera.camera_from_world[0, 2, 3]
    height = (camera.intrinsics_px[0, 1, 2] - np.arange(SIZE) - 0.5) / unit_px
    return buffer.face >= 0, scalp & (buffer.face >= 0), np.broadcast_to(height[:, None], (SIZE, SIZE))


def grown(mask, pixels):
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1,) * 2)) > 0


def evidence_of(model, head, drawn, hair, cloth):
    """The mean head photographed from the front, with hair and headwear painted plainly."""
    alpha = (drawn[0] | hair | cloth).astype(np.float32)
    rgb = np.where(hair[..., None], HAIR_RGB, np.where(drawn[0][..., None], SKIN_RGB, 1.0))
    rgb = np.where(cloth[..., None], CLOTH_RGB, rgb).astype(np.float32)
    portrait = Portrait(
        rgb=rgb,
        alpha=alpha,
        hair=hair.astype(np.float32),
        clothes=np.zeros_like(alpha),
        headwear=cloth.astype(np.float32),
        foreground=rgb,
        observed=np.ones(alpha.shape, bool),
        landmarks_px=np.zeros((478, 2), np.float32),
        blendshapes=np.zeros(52, np.float32),
        head_pose_deg=np.zeros(3, np.float32),
        crop_from_source=np.eye(3, dtype=np.float32),
    )
    return gather_evidence(model, head, [portrait])


@pytest.fixture(scope="module")
def hatted(model, head, drawn):
    """A hat over hair, which shows below it at the sides: evidence, surfaces and coverage of both."""
    person, scalp, height = drawn
    cloth = grown(person, 8) & (height > EDGE)
    evidence = evidence_of(model, head, drawn, grown(scalp, 4) & ~cloth, cloth)
    (hair, hat), covered = generator._shape_coverings(model, head, evidence)
    return evidence, hair, hat, covered


@pytest.fixture(scope="module")
def worn(hatted):
    evidence, _, hat, _ = hatted
    return Covering("headwear", hat, headwear.paint_headwear(hat, headwear.headwear_evidence(evidence)))


def test_a_hat_goes_round_the_head_at_the_height_of_its_edge(model, hatted):
    coverage = headwear.headwear_coverage(model, headwear.headwear_evidence(hatted[0]))
    mean = model.dense(model.mean)
    outside = volume.outer_skin(model)
    behind = outside & (mean[:, 2] < -0.2)
    assert coverage[behind & (mean[:, 1] > EDGE + 0.03)].min() > 0.5
    assert coverage[outside & (mean[:, 1] < EDGE - 0.15)].max() < 0.5
    hat = hatted[2].vertices
    left, right = (hat[(side * hat[:, 0] > 0.1) & (hat[:, 2] < 0)][:, 1].min() for side in (1, -1))
    assert left == pytest.approx(right, abs=0.02)


def test_a_hat_is_as_thick_as_its_silhouette(model, camera, hatted):
    unit_px = camera.intrinsics_px[0, 0, 0] / camera.camera_from_world[0, 2, 3]
    top = model.dense(model.mean)[:, 1].max()
    assert hatted[2].vertices[:, 1].max() - top == pytest.approx(8 / unit_px, abs=0.012)


def test_hair_stays_below_a_hat(hatted):
    _, hair, _, _ = hatted
    assert hair is not None
    assert hair.vertices[:, 1].max() < EDGE + 0.06
    behind = hair.vertices[:, 2] < -0.2
    assert behind.any(), "hair grows on behind, though no photo shows it"


def test_unseen_cloth_has_the_colour_of_the_seen_and_no_strands(worn):
    texture = worn.texture
    unseen = texture.occupied & (texture.observed == 0)
    assert unseen.sum() > 1000
    assert np.abs(texture.albedo[unseen] - CLOTH_RGB).max() < 0.05
    assert 0.1 < texture.observed_fraction < 0.7
    assert not texture.relief.any()


def test_a_shadow_on_cloth_is_not_continued_over_it(hatted):
    (photo,), _, hat, _ = hatted
    cloth = photo.portrait.headwear > 0.5
    columns = np.nonzero(cloth)[1]
    shaded = cloth & (np.arange(SIZE) > np.quantile(columns, 0.8))
    shades = CLOTH_RGB * (1 + 0.05 * np.sin(np.arange(SIZE) / 5))[:, None, None]
    rgb = np.where(shaded[..., None], 0.1, np.where(cloth[..., None], shades, photo.portrait.rgb)).astype(np.float32)
    photo = replace(photo, portrait=replace(photo.portrait, rgb=rgb, foreground=rgb))
    texture = headwear.paint_headwear(hat, headwear.headwear_evidence([photo]))
    unseen = texture.occupied & (texture.observed == 0)
    assert (np.abs(texture.albedo[unseen] - CLOTH_RGB).max(1) > 0.1).mean() < 0.1


def test_a_hat_is_drawn_and_is_a_part_of_the_avatar(model, hatted, worn):
    skin = SkinTexture(np.full((64, 64, 3), SKIN_RGB, np.float32), np.zeros((64, 64), np.float32))
    views = render_views(
        Skin(model, model.dense(model.mean), skin.albedo), (worn,), orbit_cameras([180], [0], size_px=64)
    )
    upper = views.alpha[0].astype(bool) & (np.arange(64) < 20)[:, None]
    assert np.abs(views.rgb[0][upper] - CLOTH_RGB).max() < 0.1
    for lod in (0, 2):
        parts = build_avatar(model, model.mean, hatted[3], skin, (worn,), AvatarDetail(lod, 64)).parts
        (hat,) = (part for part in parts if part.name == "headwear")
        assert 100 < len(hat.mesh.faces) < 10_000
        assert len(np.unique(hat.joints[:, 0])) == 1
        assert not hat.morphs


def test_a_scarf_goes_down_behind(model, head, drawn):
    person, _, height = drawn
    face = np.zeros(person.shape, np.uint8)
    rows, columns = np.nonzero(person & (height < 0.12) & (height > -0.3))
    middle = (float(columns.mean()), float(rows.mean()))
    cv2.ellipse(face, (middle, (0.55 * np.ptp(columns), 1.05 * np.ptp(rows)), 0.0), 1, cv2.FILLED)
    scarf = grown(person, 6) & (face == 0)
    evidence = headwear.headwear_evidence(evidence_of(model, head, drawn, np.zeros_like(person), scarf))
    coverage = headwear.headwear_coverage(model, evidence)
    mean = model.dense(model.mean)
    assert coverage[(model.masks["ear_left"] > 0.5) | (model.masks["ear_right"] > 0.5)].min() > 0.5
    assert coverage[volume.outer_skin(model) & (mean[:, 2] < -0.15) & (mean[:, 1] > -0.4)].min() > 0.5


def test_without_headwear_nothing_is_worn(model, head, drawn):
    person, scalp, _ = drawn
    evidence = evidence_of(model, head, drawn, grown(scalp, 6), np.zeros_like(person))
    (hair, hat), covered = generator._shape_coverings(model, head, evidence)
    assert hat is None and hair is not None
    assert np.array_equal(covered, volume.hair_coverage(model, evidence))


def test_stubble_has_no_shell_but_tints_the_scalp(model, head, drawn):
    person, scalp, _ = drawn
    evidence = evidence_of(model, head, drawn, scalp, np.zeros_like(person))
    (hair, _), covered = generator._shape_coverings(model, head, evidence)
    assert hair is None
    behind = (model.masks["scalp"] > 0.8) & (model.dense(model.mean)[:, 2] < -0.2)
    assert np.median(covered[behind]) > 0.9
