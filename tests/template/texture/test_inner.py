"""Eyes and mouth on the texture: what a photo shows of them goes on into what it hides."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.template.model.atlas import Atlas, build_atlas
from spinmeround.template.model.head_model import PARTS, load_head_model
from spinmeround.template.texture.eyes import complete_eyes
from spinmeround.template.texture.fill import Layer
from spinmeround.template.texture.mouth import complete_mouth

SIZE = 512
IRIS, WHITE, SKIN, LIP = (
    np.array(c) for c in ([0.2, 0.35, 0.45], [0.7, 0.69, 0.68], [0.75, 0.5, 0.4], [0.7, 0.35, 0.35])
)


@pytest.fixture(scope="module")
def model():
    return load_head_model()


@pytest.fixture(scope="module")
def atlas(model) -> Atlas:
    return build_atlas(model, SIZE)


@pytest.fixture(scope="module")
def eye(model, atlas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texels of the left eye, their angle from the line of gaze (radians) and their height over it."""
    here = atlas.part == PARTS.index("eye_left")
    vertices = np.unique(model.dense_faces[model.dense_part == PARTS.index("eye_left")])
    dense = model.dense(model.mean)
    direction = atlas.spread(dense - (dense[vertices].min(0) + dense[vertices].max(0)) / 2)
    direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-9)
    return here, np.arccos(np.clip(direction[..., 2], -1, 1)), direction[..., 1]


def nothing_seen() -> Layer:
    return Layer(np.zeros((SIZE, SIZE, 3), np.float32), np.zeros((SIZE, SIZE), np.float32))


def half_seen(eye, white: np.ndarray = WHITE) -> Layer:
    """The lower part of an eye, with a highlight: what lies over the gaze hides behind a lid."""
    here, angle, height = eye
    rgb = np.where(angle[..., None] < 0.5, IRIS, white)
    rgb = np.where((angle < 0.18)[..., None], 0.03, rgb)
    shown = here & (height < 0.1) & (angle < 1.1)
    return Layer(np.where(shown[..., None], rgb, 0).astype(np.float32), shown.astype(np.float32))


def test_the_iris_becomes_a_disc(model, atlas, eye):
    here, angle, height = eye
    painted = complete_eyes(model, atlas, half_seen(eye)).rgb
    for low, high, colour in ((0.25, 0.4, IRIS), (0.65, 1.0, WHITE), (0.0, 0.1, np.full(3, 0.03))):
        ring = here & (angle > low) & (angle < high)
        above, below = painted[ring & (height > 0.15)], painted[ring & (height < 0.05)]
        if len(above):
            assert np.abs(np.median(above, axis=0) - colour).max() < 0.12, low
        assert np.abs(np.median(below, axis=0) - colour).max() < 0.12, low


def test_no_border_shows_where_the_lid_was(model, atlas, eye):
    here, angle, height = eye
    darker = half_seen(eye, WHITE * 0.85)
    painted = complete_eyes(model, atlas, darker).rgb.mean(-1)
    beside = here & (angle > 0.75) & (angle < 0.95) & (np.abs(height - 0.1) < 0.1)
    steps = np.abs(np.diff(painted, axis=0))[beside[1:] & beside[:-1]]
    assert len(steps) > 20
    assert steps.max() < 0.04


def test_skin_and_lashes_do_not_get_into_the_white(model, atlas, eye):
    here, angle, height = eye
    seen = half_seen(eye)
    corner = here & (angle > 0.85) & (height < 0.1)
    rgb = np.where(corner[..., None], np.where(height < -0.3, 0.1, 1)[..., None] * SKIN, seen.rgb).astype(np.float32)
    painted = complete_eyes(model, atlas, Layer(rgb, seen.weight))
    assert painted.weight[corner].max() < 0.5
    wrong = painted.rgb[here & (angle > 0.95) & (angle < 1.4)]
    assert (wrong[:, 0] - wrong[:, 2]).max() < 0.15
    assert wrong.mean(-1).min() > 0.45


def test_both_eyes_are_alike_where_only_one_is_seen(model, atlas, eye):
    painted = complete_eyes(model, atlas, half_seen(eye)).rgb
    for name in ("eye_left", "eye_right"):
        colours = painted[atlas.part == PARTS.index(name)]
        assert (np.abs(colours - IRIS).max(1) < 0.1).sum() > 100, name
        assert (np.abs(colours - WHITE).max(1) < 0.12).sum() > 500, name


def test_the_mouth_darkens_with_its_depth(model, atlas):
    painted = complete_mouth(model, atlas, nothing_seen())
    assert painted.weight.max() == 0
    depth = atlas.spread(np.asarray(model.dense(model.mean)[:, 2:], np.float64))[..., 0]
    cavity = atlas.part == PARTS.index("mouth_cavity")
    assert painted.rgb[cavity & (depth < 0.05)].mean() < 0.2
    tongue = painted.rgb[atlas.part == PARTS.index("tongue")]
    assert tongue.mean(-1).max() > 2 * tongue.mean(-1).min()
    teeth, gum = atlas.part == PARTS.index("teeth_upper"), atlas.spread(model.masks["gums"][:, None])[..., 0]
    front = teeth & (depth > 0.165) & (painted.rgb.mean(-1) > 0.5)
    white, red = painted.rgb[front & (gum < 0.1)], painted.rgb[teeth & (gum > 0.9)]
    assert np.ptp(white, axis=1).mean() < 0.2 < (red[:, 0] / red[:, 1]).mean() - 1


def test_lips_seen_in_the_place_of_teeth_are_refused(model, atlas):
    depth = atlas.spread(np.asarray(model.dense(model.mean)[:, 2:], np.float64))[..., 0]
    across = atlas.spread(np.asarray(model.dense(model.mean)[:, :1], np.float64))[..., 0]
    shown = (atlas.part == PARTS.index("teeth_upper")) & (depth > 0.12)
    rgb = np.where((across > 0)[..., None], LIP, [0.9, 0.88, 0.84]).astype(np.float32)
    painted = complete_mouth(model, atlas, Layer(rgb, shown.astype(np.float32)))
    gum = atlas.spread(model.masks["gums"][:, None])[..., 0] > 0.01
    assert painted.weight[shown & (across > 0.01)].max() == 0
    assert np.median(painted.weight[shown & ~gum & (across < -0.02)]) > 0.9
    lip_like = np.abs(painted.rgb - LIP).max(-1) < 0.05
    assert not (lip_like & shown & ~gum).any()
