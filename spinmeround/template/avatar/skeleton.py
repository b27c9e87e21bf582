"""The skeleton of a head, and the skinning weights of its vertices."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class _SkeletonSettings:
    """Constants of joints and skinning. Lengths are in head units, masks and weights in [0, 1].

    Attributes:
        neck_heights: on the mean head, between which the neck passes from the head's bone to its own.
        min_mask: vertices with more of the ears or the neck than this belong to it.
        ring_height: half the height of the ring of vertices at the neck's cut whose middle is the neck's joint.
        min_motion: square of a displacement below which a vertex does not follow the jaw.
        max_joints: a vertex has at most so many bones, as glTF and VRM want it.
        min_weight: smaller weights are dropped.
    """

    neck_heights: tuple[float, float] = (-0.13, -0.38)
    min_mask: float = 0.5
    ring_height: float = 0.03
    min_motion: float = 1e-5
    max_joints: int = 4
    min_weight: float = 1e-3


_SKELETON = _SkeletonSettings()


def skeleton(model: HeadModel, neutral: Float[np.ndarray, "n 3"]) -> tuple[Joint, ...]:
    """Return neck, head, jaw and eyes of one person.

    The neck rotates at its cut, the head between the ear lobes, the jaw just before the ears, each eye about the centre
    of its ball.

    Args:
        neutral: coarse vertices at rest.
    """
    dense = model.dense(neutral)
    ears = dense[np.maximum(model.masks["ear_left"], model.masks["ear_right"]) > _SKELETON.min_mask]
    before = landmark_points(model, neutral, _BEFORE_EARS).mean(0)
    at_cut = np.abs(dense[:, 1] - neck_cut.HEIGHT) < _SKELETON.ring_height
    ring = dense[at_cut & (model.masks["neck"] > _SKELETON.min_mask)]
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
    """Return the weight of each bone in each dense vertex, by its place on the mean head; rows sum to 1."""
    weights = np.zeros((len(model.subdivision.indptr) - 1, len(NAMES)))
    height = model.dense(model.mean)[:, 1]
    top, bottom = _SKELETON.neck_heights
    down = np.clip((top - height) / (top - bottom), 0, 1)
    # A smoothstep, written out: multiplied in another order the bytes would differ.
    neck = model.masks["neck"] * down * down * (3 - 2 * down)
    jaw = np.clip(model.subdivision @ _jaw_weights(model), 0, 1)
    weights[:, NECK], weights[:, HEAD], weights[:, JAW] = neck * (1 - jaw), (1 - neck) * (1 - jaw), jaw
    for name, joint in (
        ("eye_left", LEFT_EYE), ("eye_right", RIGHT_EYE), ("teeth_upper", HEAD), ("teeth_lower", JAW), ("tongue", JAW),
    ):  # fmt: skip
        whole = np.unique(model.dense_faces[model.dense_part == PARTS.index(name)])
        weights[whole] = np.eye(len(NAMES))[joint]
    return weights


def _jaw_weights(model: HeadModel) -> Float[np.ndarray, "n"]:
    """Return the fraction of the jaw's rotation that each coarse vertex follows; 1 at the lower teeth."""
    action = model.expression_basis[model.expression_names.index("jawOpen")].astype(np.float64)
    mean = model.mean.astype(np.float64)
    teeth = model.part == PARTS.index("teeth_lower")
    turn = rotation_between(mean[teeth], mean[teeth] + action[teeth])
    whole = (mean - mean[teeth].mean(0)) @ (turn - np.eye(3)).T + action[teeth].mean(0)
    along = (action * whole).sum(1) / ((whole**2).sum(1) + _SKELETON.min_motion)
    return np.clip(along, 0, 1)


def strongest_joints(weights: Float[np.ndarray, "m j"]) -> tuple[Int64[np.ndarray, "m 4"], Float[np.ndarray, "m 4"]]:
    """Return the four bones of each vertex with the largest weights, in order, and their weights, which sum to 1."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, : _SKELETON.max_joints]
    kept = np.take_along_axis(weights, order, axis=1)
    kept[kept < _SKELETON.min_weight] = 0
    kept /= kept.sum(1, keepdims=True)
    return np.where(kept > 0, order, 0).astype(np.int64), kept
