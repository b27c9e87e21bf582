"""Named expressions (of ARKit, Perfect Sync and VRM) as weights of ARKit's morph targets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from spinmeround.errors import InputError

ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 morph targets of ARKit, in alphabetical order."""

EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "aa": {"jawOpen": 0.6},
    "ih": {"jawOpen": 0.15, "mouthStretchLeft": 0.5, "mouthStretchRight": 0.5},
    "ou": {"jawOpen": 0.15, "mouthPucker": 0.8},
    "ee": {"jawOpen": 0.2, "mouthSmileLeft": 0.4, "mouthSmileRight": 0.4, "mouthStretchLeft": 0.3,
           "mouthStretchRight": 0.3},
    "oh": {"jawOpen": 0.4, "mouthFunnel": 0.7},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "happy": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5},
    "angry": {"browDownLeft": 1.0, "browDownRight": 1.0, "noseSneerLeft": 0.4, "noseSneerRight": 0.4,
              "mouthFrownLeft": 0.4, "mouthFrownRight": 0.4},
    "sad": {"browInnerUp": 0.9, "mouthFrownLeft": 0.7, "mouthFrownRight": 0.7, "mouthShrugLower": 0.3},
    "relaxed": {"mouthSmileLeft": 0.3, "mouthSmileRight": 0.3, "eyeBlinkLeft": 0.2, "eyeBlinkRight": 0.2},
    "surprised": {"browInnerUp": 0.7, "browOuterUpLeft": 0.9, "browOuterUpRight": 0.9, "eyeWideLeft": 0.8,
                  "eyeWideRight": 0.8, "jawOpen": 0.35},
    "lookUp": {"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0},
    "lookDown": {"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0},
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
}  # fmt: skip
"""VRM's presets as weights of ARKit's morph targets."""


def perfect_sync(name: str) -> str:
    """Spell ARKit's ``jawOpen`` as Perfect Sync does, ``JawOpen``."""
    return name[0].upper() + name[1:]


def expression_weights(given: Mapping[str, float], morph_names: Sequence[str]) -> dict[str, float]:
    """Return weights of morph targets for named expressions.

    Args:
        given: intensity in [0, 1] by name: ``jawOpen`` (ARKit), ``JawOpen`` (Perfect Sync) or ``happy`` (a preset of
            VRM); weights that several of them share add up to at most 1.
        morph_names: ARKit's names.

    Raises:
        InputError: a number out of range, or an unknown name; the message has the nearest one.
    """
    weights: dict[str, float] = {}
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise InputError(f"expression {name}={value:g}: expected a number from 0 to 1")
        for morph, weight in _components(name, morph_names).items():
            weights[morph] = min(1.0, weights.get(morph, 0.0) + weight * value)
    return weights


def _components(name: str, morph_names: Sequence[str]) -> Mapping[str, float]:
    if name in EXPRESSIONS:
        return EXPRESSIONS[name]
    morph = name[:1].lower() + name[1:]
    if morph in morph_names:
        return {morph: 1.0}
    raise InputError(
        f"no expression is called {name!r}{suggestion(name, (*morph_names, *EXPRESSIONS))}; known are the names of "
        "ARKit (jawOpen) and the presets of VRM (happy)"
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name as " (perhaps NAME?)", or "" if none is near; case is ignored."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (perhaps {by_lower[close[0]]}?)" if close else ""
