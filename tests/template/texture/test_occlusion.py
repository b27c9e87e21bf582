"""Light in hollows: what stands in the way takes it, and gives some of it back in its own colour."""

from __future__ import annotations

import numpy as np

from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.texture.occlusion import Visibility, relief_light, with_interreflection

_CUBE = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip


def test_hollows_of_a_head_get_less_light():
    model = load_head_model()
    openness = model.subdivision @ Visibility.of(model.mean, model.faces).openness()
    assert openness.min() >= 0
    assert openness.max() <= 1
    scalp = openness[model.masks["scalp"] > 0.9]
    assert scalp.min() > 0.6
    assert openness[model.masks["nostrils"] > 0.9].mean() < 0.6 * scalp.mean()
    ears = openness[model.masks["ear_left"] > 0.9]
    assert np.percentile(ears, 95) > 0.8, "their rims stand free"
    assert np.percentile(ears, 5) < 0.5, "their hollows do not"


def test_a_convex_body_is_open_until_something_stands_beside_it():
    assert np.allclose(Visibility.of(_CUBE, _FACES).openness(), 1)
    beside = _CUBE * [0.1, 2, 2] + [1.3, 0, 0]
    shaded = Visibility.of(np.concatenate([_CUBE, beside]), np.concatenate([_FACES, _FACES + len(_CUBE)]))
    openness, right = shaded.openness()[: len(_CUBE)], _CUBE[:, 0] > 0
    assert openness[right].max() < 0.8
    assert openness[~right].min() > 0.9
    from_right = np.maximum(shaded.directions[:, 0], 0)
    lit = shaded.openness(from_right)[: len(_CUBE)]
    assert (lit < openness)[right].all(), "most where the light comes from"


def test_skin_reflects_red_light_into_its_hollows():
    light = with_interreflection(np.array([0.0, 0.3, 0.6, 1.0]), np.array([0.5, 0.25, 0.15]))
    assert np.allclose(light[0], 0)
    assert np.allclose(light[-1], 1, atol=0.01)
    assert (np.diff(light, axis=0) > 0).all()
    assert (np.diff(light[1:3], axis=1) < 0).all()


def test_an_ear_has_its_relief_and_more_light_from_above():
    model = load_head_model()
    dense, ear = model.dense(model.mean), model.masks["ear_left"] > 0
    lit = relief_light(dense, model.dense_faces, ear, lambda directions: np.ones(len(directions)))
    assert (lit[~ear] == 1).all()
    inner = model.masks["ear_left"] > 0.9
    assert np.percentile(lit[inner], 5) < 0.6
    assert np.percentile(lit[inner], 90) > 0.95
    assert lit.max() <= 1.3
    down = relief_light(dense, model.dense_faces, ear, lambda directions: np.clip(-directions[:, 1], 0, None))
    assert np.corrcoef(lit[inner], dense[inner, 1])[0, 1] > np.corrcoef(down[inner], dense[inner, 1])[0, 1]
