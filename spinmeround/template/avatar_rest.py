"""The face an avatar rests with: neutral, and as much of the person as the photos show."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.template.avatar_morphs import landmark_points
from spinmeround.template.fit import FittedHead

_INNER_LIPS = (78, 80, 81, 82, 13, 312, 311, 310, 308, 402, 317, 14, 87, 178, 88, 191, 95, 318, 324, 415)
"""Landmarks along the line where the lips meet."""
_LIPS_MM, _CHEEKS_MM = 4.0, 12.0
"""Distances from that line up to which the lips stay as they are, and from which all of the photos counts."""


def resting(head: FittedHead) -> Float[np.ndarray, "n 3"]:
    """Coarse vertices at rest: neutral, with what the photos on average show beyond their expressions.

    What the basis of expressions cannot say of a photo is more who somebody is than what the face was doing there. Only
    the lips are left out of it: their line says how far the mouth was open. With the weights of the only photo's
    expression the head then looks as it does in that photo.
    """
    model = head.model
    line = landmark_points(model, model.mean, _INNER_LIPS)
    away_mm = 1000 * METRES_PER_UNIT * np.linalg.norm(model.mean[:, None] - line, axis=2).min(axis=1)
    share = np.clip((away_mm - _LIPS_MM) / (_CHEEKS_MM - _LIPS_MM), 0, 1)
    share = share * share * (3 - 2 * share)
    return head.neutral + share[:, None] * np.mean([photo.corrective for photo in head.photos], axis=0)
