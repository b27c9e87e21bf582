"""Prior of a photo's expression: what the detector's scores say of the weights of the model's expressions.

Scores depend on who is photographed: faces nearly at rest have scores up to 0.6 of squinting or of raised brows, as
narrow eyes and high brows look alike to the detector. Taken at their word they leave an expression in the neutral face
that is the person's own. So each score is regressed on the true weight over renders of random heads with random
expressions (``benchmarks/expression_scores.py``), through zero: a face without a score has no expression.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_SLOPE_AND_SIGMA: dict[str, tuple[float, float]] = {
    "browDown": (0.58, 0.15),
    "browInnerUp": (1.0, 0.18),
    "browOuterUp": (0.83, 0.12),
    "cheekSquint": (0.0, 0.12),
    "eyeBlink": (0.68, 0.08),
    "eyeLookDown": (0.26, 0.3),
    "eyeLookIn": (0.57, 0.3),
    "eyeLookOut": (0.54, 0.3),
    "eyeLookUp": (0.1, 0.3),
    "eyeSquint": (0.35, 0.17),
    "eyeWide": (1.0, 0.1),
    "jawOpen": (1.0, 0.2),
    "mouthFrown": (0.49, 0.09),
    "mouthFunnel": (0.74, 0.2),
    "mouthLowerDown": (0.04, 0.2),
    "mouthPress": (0.24, 0.09),
    "mouthPucker": (0.03, 0.05),
    "mouthShrugLower": (0.02, 0.08),
    "mouthSmile": (1.0, 0.18),
    "mouthStretch": (0.43, 0.11),
    "mouthUpperUp": (0.71, 0.2),
    "noseSneer": (0.0, 0.06),
}
"""Expected weight for a score of 1, and the standard deviation around ``slope * score``; left and right are pooled.

Where the eyes look the irises show, and how far lips are parted the gap between them, as no shape parts them. So
these deviations are wider than measured: otherwise thick lips stand for parted ones.
"""
_RARE = (0.5, 0.05)
"""The same for expressions that portraits hardly ever show, which were not measured."""


_FROWN, _CHIN = "mouthFrown", "mouthShrugLower"
_FROWN_BY_CHIN = (0.5, 0.6)
"""Expected weight of lowered mouth corners for a score of 1 of the raised chin, and the deviation that it adds.

The detector hardly sees lowered corners (on renders with a weight of 0.6 to 0.9 it scores 0.1), but it does see the
raised chin that goes with them (action units 15 and 17 of sadness, Ekman & Friesen 1978). On 24 renders, of which every
other one frowns with a raised chin, the slope is 1.06, with a deviation of 0.35 around it for scores above 0.1. Half of
that slope is taken: chins are raised without a frown, too.
"""


def expected_expression(
    names: Sequence[str], scores: Float[np.ndarray, "e"]
) -> tuple[Float[np.ndarray, "e"], Float[np.ndarray, "e"]]:
    """Return the expected weights of expressions by the scores of one photo, and the deviations around them.

    Args:
        names: ARKit names.
        scores: of the detector; values outside [0, 1] are clipped.
    """
    seen = np.clip(scores, 0, 1)
    slope, sigma = slopes_and_sigmas(names)
    frowns = np.array([name.startswith(_FROWN) for name in names])
    chin = seen[list(names).index(_CHIN)] * frowns
    by_chin, added = _FROWN_BY_CHIN
    return np.clip(slope * seen + by_chin * chin, 0, 1), np.hypot(sigma, added * chin)


def slopes_and_sigmas(names: Sequence[str]) -> tuple[Float[np.ndarray, "e"], Float[np.ndarray, "e"]]:
    """Return, for expressions by ARKit name, the expected weight for a score of 1 and the deviation around it."""
    stems = [name.removesuffix("Left").removesuffix("Right") for name in names]
    pairs = np.array([_SLOPE_AND_SIGMA.get(stem, _RARE) for stem in stems])
    return pairs[:, 0], pairs[:, 1]
