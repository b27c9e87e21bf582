"""The face an avatar rests with: neutral, and as much of the person as the photos show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.expression_transfer import LIDS
from spinmeround.template.model.head_model import HeadModel, landmark_points

_INNER_LIPS = (78, 80, 81, 82, 13, 312, 311, 310, 308, 402, 317, 14, 87, 178, 88, 191, 95, 318, 324, 415)
"""Landmarks along the line where the lips meet."""
_NEAR_MM, _FAR_MM = 4.0, 12.0
"""Distances from lips and lids up to which they are as they are, and from which all of the photos counts."""
_LIDS_SHARE = 0.5
"""Of what the photos show at the lids: half of it is who somebody is, half takes back too much of a blink or squint,
and would leave the eyes wide open where the face does neither."""


def resting(head: FittedHead) -> Float[np.ndarray, "n 3"]:
    """Coarse vertices at rest: neutral, with what the photos on average show beyond their expressions.

    What the basis of expressions cannot say of a photo is more who somebody is than what the face was doing there. The
    lips are left out of it, since their line says how far the mouth was open, and half of the lids. With the weights of
    the only photo's expression the head then looks nearly as it does in that photo.
    """
    model = head.model
    lids = [mark for pair in LIDS.values() for line in pair for mark in line]
    share = _far_from(model, _INNER_LIPS) * (_LIDS_SHARE + (1 - _LIDS_SHARE) * _far_from(model, lids))
    return head.neutral + share[:, None] * np.mean([photo.corrective for photo in head.photos], axis=0)


def _far_from(model: HeadModel, landmarks: Sequence[int]) -> Float[np.ndarray, "n"]:
    """0 on the coarse vertices near some landmarks, 1 far from them."""
    line = landmark_points(model, model.mean, landmarks)
    away_mm = 1000 * METRES_PER_UNIT * np.linalg.norm(model.mean[:, None] - line, axis=2).min(axis=1)
    share = np.clip((away_mm - _NEAR_MM) / (_FAR_MM - _NEAR_MM), 0, 1)
    return share * share * (3 - 2 * share)
