"""The face of an avatar at rest: neutral, with as much of the person's look as the photos show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.expression_transfer import LIDS
from spinmeround.template.model.head_model import HeadModel, landmark_points

_INNER_LIPS = (78, 80, 81, 82, 13, 312, 311, 310, 308, 402, 317, 14, 87, 178, 88, 191, 95, 318, 324, 415)
"""Landmarks along the line where the lips meet."""


@dataclass(frozen=True)
class _RestSettings:
    """Constants of the face at rest.

    Attributes:
        distance_mm: distances from lips and lids between which the weight of the photos' corrective grows to 1,
            millimetres.
        lid_weight: its weight at the lids. Half of the corrective there belongs to the person; half makes up for too
            strong a blink or squint, and would leave the eyes wide open where the face does neither.
    """

    distance_mm: tuple[float, float] = (4.0, 12.0)
    lid_weight: float = 0.5


_REST = _RestSettings()


def rest_vertices(head: FittedHead) -> Float[np.ndarray, "n 3"]:
    """Return coarse vertices at rest: neutral, with the mean corrective of the photos.

    The corrective is what the expression basis cannot express of a photo, and belongs to the person more than to the
    expression. It has no weight at the lips, whose line says how far the mouth was open, and half at the lids. With the
    weights of the only photo's expression the head then looks nearly as it does in that photo.
    """
    model = head.model
    lids = [landmark for pair in LIDS.values() for line in pair for landmark in line]
    lid_weight = _REST.lid_weight + (1 - _REST.lid_weight) * _distance_weight(model, lids)
    weight = _distance_weight(model, _INNER_LIPS) * lid_weight
    return head.neutral + weight[:, None] * np.mean([photo.corrective for photo in head.photos], axis=0)


def _distance_weight(model: HeadModel, landmarks: Sequence[int]) -> Float[np.ndarray, "n"]:
    """Return 0 on the coarse vertices near some landmarks, 1 far from them."""
    line = landmark_points(model, model.mean, landmarks)
    distance_mm = 1000 * METRES_PER_UNIT * np.linalg.norm(model.mean[:, None] - line, axis=2).min(axis=1)
    return smooth_ramp(distance_mm, *_REST.distance_mm)
