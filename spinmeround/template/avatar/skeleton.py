"""The skeleton of a head, and which bone carries which vertex."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from spinmeround.template.model import neck_cut
from spinmeround.template.model.expression_transfer import EYES, eyeball, rotation_between
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points
from spinmeround.types import Joint

NECK, HEAD, JAW, LEFT_EYE, RIGHT_EYE = range(5)
NAMES = ("neck", "head", "jaw", "leftEye", "rightEye")
"""Bones by the names VRM gives them."""

_BEFORE_EARS = (234, 454)
"""Landmarks on the cheekbones, just before the ears."""
_NECK_FROM, _NECK_TO = -0.13, -0.38
"""Heights on the mean head between which the neck passes from the head's bone to its own, head units."""


def skeleton(model: HeadModel, neutral: Float[np.ndarray, "n 3"]) -> tuple[Joint, ...]:
    """Neck, head, jaw and eyes of one person.

    The neck turns at its cut, the head between the ear lobes, the jaw just before the ears, each eye about the centre
    of its ball.

    Args:
        neutral: coarse vertices at rest.
    """
    dense = model.dense(neutral)
    ears = dense[np.maximum(model.masks["ear_left"], model.masks["ear_right"]) > 0.5]
    before = landmark_points(model, neutral, _BEFORE_EARS).mean(0)
    ring = dense[(np.abs(dense[:, 1] - neck_cut.HEIGHT) < 0.03) & (model.masks["neck"] > 0.5)]
    neck = np.array([0.0, neck_cut.HEIGHT, (ring[:, 2].min() + ring[:, 2].max()) / 2])
    head = np.array([0.0, ears[:, 1].min(), ears[:, 2].mean()])
    jaw = np.array([0.0, before[1], (before[2] + ears[:, 2].max()) / 2])
    left, right = (eyeball(model, neutral, side)[0] for side in EYES)
    parents = (-1, NECK, HEAD, HEAD, HEAD)
    return tuple(
        Joint(name, parent, position)
        for name, parent, position in zip(NAMES, parents, (neck, head, jaw, left, right), strict=True)
    )


def skin_weights(model: HeadModel) -> Float[np.ndarray, "m 5"]:
    """Share of each bone in each dense vertex, by its place on the mean head; rows sum to 1."""
    weights = np.zeros((len(model.subdivision.indptr) - 1, len(NAMES)))
    height = model.dense(model.mean)[:, 1]
    down = np.clip((_NECK_FROM - height) / (_NECK_FROM - _NECK_TO), 0, 1)
    neck = model.masks["neck"] * down * down * (3 - 2 * down)
    jaw = np.clip(model.subdivision @ _jaw_share(model), 0, 1)
    weights[:, NECK], weights[:, HEAD], weights[:, JAW] = neck * (1 - jaw), (1 - neck) * (1 - jaw), jaw
    for name, joint in (
        ("eye_left", LEFT_EYE), ("eye_right", RIGHT_EYE), ("teeth_upper", HEAD), ("teeth_lower", JAW), ("tongue", JAW),
    ):  # fmt: skip
        whole = np.unique(model.dense_faces[model.dense_part == PARTS.index(name)])
        weights[whole] = np.eye(len(NAMES))[joint]
    return weights


def _jaw_share(model: HeadModel) -> Float[np.ndarray, "n"]:
    """How much of the jaw's turn each coarse vertex makes when the mouth opens; the lower teeth make it whole."""
    action = model.expression_basis[model.expression_names.index("jawOpen")].astype(np.float64)
    mean = model.mean.astype(np.float64)
    teeth = model.part == PARTS.index("teeth_lower")
    turn = rotation_between(mean[teeth], mean[teeth] + action[teeth])
    whole = (mean - mean[teeth].mean(0)) @ (turn - np.eye(3)).T + action[teeth].mean(0)
    along = (action * whole).sum(1) / ((whole**2).sum(1) + 1e-5)
    return np.clip(along, 0, 1)


def strongest(weights: Float[np.ndarray, "m 5"]) -> tuple[Int64[np.ndarray, "m 4"], Float[np.ndarray, "m 4"]]:
    """The four strongest bones of each vertex, in order, and their shares, which sum to 1."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    share = np.take_along_axis(weights, order, axis=1)
    share[share < 1e-3] = 0
    share /= share.sum(1, keepdims=True)
    return np.where(share > 0, order, 0).astype(np.int64), share
