"""The template prior hands the settings on to the head that it fits."""

from __future__ import annotations

import pytest

from spinmeround.pipelines.priors.template import TemplatePrior
from spinmeround.pipelines.settings import PhotoOptions, RunSettings
from spinmeround.runtime.stages import Stages
from spinmeround.types import ViewRequest
from tests.pipelines.fakes import HEAD_REPORT, PHOTO_CAMERA, portrait, sphere_views


class FittedSphere:
    """Stands for a fitted head; remembers how it was drawn."""

    report, photo_cameras = HEAD_REPORT, (PHOTO_CAMERA,)

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
