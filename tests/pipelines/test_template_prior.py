"""The template prior hands settings on to the head that it fits, and its views hold all of the hair."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from spinmeround.configs import preset
from spinmeround.geometry import project
from spinmeround.orbits import ORBITS, WHOLE_FOCAL_WIDTHS
from spinmeround.pipelines.priors.template import TemplatePrior, cameras_around
from spinmeround.pipelines.settings import PhotoOptions, RunSettings
from spinmeround.runtime.stages import Stages
from spinmeround.template.generator import HeadDetail, TemplateHead
from spinmeround.types import ViewRequest
from tests.pipelines.fakes import HEAD_REPORT, PHOTO_CAMERA, portrait, sphere_mesh, sphere_views


class FittedSphere:
    """Stands for a fitted head; remembers how it was drawn."""

    report, photo_cameras, coverings_above_neck = HEAD_REPORT, (PHOTO_CAMERA,), np.zeros((0, 3))

    def render(self, cameras, *, neutral, names):
        self.neutral = neutral
        return sphere_views(cameras, names)


@pytest.mark.parametrize("neutral", [False, True])
def test_views_show_the_photos_expression_unless_the_face_is_to_rest(neutral, monkeypatch):
    fitted = FittedSphere()
    monkeypatch.setattr("spinmeround.template.generator.TemplateGenerator.fit", lambda *_, seed: fitted)
    settings = RunSettings(quality="draft", prior="template", photo=PhotoOptions(neutral=neutral))
    stages = Stages(["head", "views"], expected_s={})
    result = TemplatePrior(settings).generate([portrait()], ViewRequest(), seed=0, stages=stages)
    assert fitted.neutral is neutral
    assert result.head is fitted


def test_the_head_is_what_the_prior_says_it_is():
    assert all(issubclass(TemplateHead, protocol) for protocol in TemplatePrior.offers)


def test_a_draft_is_a_sketch():
    draft, standard = (HeadDetail(**preset(quality).head) for quality in ("draft", "standard"))
    assert standard == HeadDetail()
    assert all(getattr(draft, each.name) < getattr(standard, each.name) for each in fields(HeadDetail))


def test_optional_views_are_not_drawn(monkeypatch):
    fitted = FittedSphere()
    monkeypatch.setattr("spinmeround.template.generator.TemplateGenerator.fit", lambda *_, seed: fitted)
    prior, request = TemplatePrior(RunSettings(quality="draft", prior="template")), ViewRequest(optional=True)
    stages = Stages(list(prior.planned_stages(request)), expected_s={})
    result = prior.generate([portrait()], request, seed=0, stages=stages)
    assert [record.stage for record in stages.records] == ["head"]
    assert len(result.views) == 0 and result.head is fitted


@pytest.mark.parametrize("stretch", [(3.0, 1.0, 1.0), (1.0, 3.0, 1.0), (1.0, 1.0, 3.0)])
def test_wide_and_tall_hair_is_in_all_pictures(stretch):
    hair = sphere_mesh().vertices * stretch
    cameras, names = cameras_around(
        ORBITS["orbit-16"], size_px=100, photo_cameras=[PHOTO_CAMERA], focal_widths=WHOLE_FOCAL_WIDTHS, hair=hair
    )
    assert len(names) == len(cameras) == 17
    for pose, intrinsics_px in zip(cameras.camera_from_world, cameras.intrinsics_px, strict=True):
        seen = project(hair, pose, intrinsics_px)[:, :2]
        assert seen.min() > 0 and seen.max() < 100


def test_other_hair_leaves_the_cameras_alone():
    usual = {"size_px": 100, "photo_cameras": [PHOTO_CAMERA], "focal_widths": WHOLE_FOCAL_WIDTHS}
    without, _ = cameras_around(ORBITS["orbit-8"], **usual)
    for hair in (np.zeros((0, 3)), sphere_mesh().vertices):
        cameras, _ = cameras_around(ORBITS["orbit-8"], **usual, hair=hair)
        np.testing.assert_array_equal(cameras.intrinsics_px, without.intrinsics_px)
