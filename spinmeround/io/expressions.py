"""Names of expressions, ARKit's, Perfect Sync's and VRM's, as weights of ARKit's morph targets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from spinmeround.errors import InputError
from spinmeround.io.vrm import EXPRESSIONS


def expression_weights(given: Mapping[str, float], morph_names: Sequence[str]) -> dict[str, float]:
    """Weights of morph targets for expressions by name.

    Args:
        given: how far, in [0, 1], by ``jawOpen`` (ARKit), ``JawOpen`` (Perfect Sync) or ``happy`` (a preset of VRM);
            what several of them move adds up to at most 1.
        morph_names: ARKit's names.

    Raises:
        InputError: a number out of range, or a name nobody knows, with the nearest one.
    """
    weights: dict[str, float] = {}
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise InputError(f"expression {name}={value:g}: expected a number from 0 to 1")
        for morph, share in _made_of(name, morph_names).items():
            weights[morph] = min(1.0, weights.get(morph, 0.0) + share * value)
    return weights


def _made_of(name: str, morph_names: Sequence[str]) -> Mapping[str, float]:
    if name in EXPRESSIONS:
        return EXPRESSIONS[name]
    morph = name[:1].lower() + name[1:]
    if morph in morph_names:
        return {morph: 1.0}
    raise InputError(
        f"no expression is called {name!r}{perhaps(name, (*morph_names, *EXPRESSIONS))}; known are the names of ARKit "
        "(jawOpen) and the presets of VRM (happy)"
    )


def perhaps(name: str, known: Iterable[str]) -> str:
    """The nearest known name in brackets, or nothing where none is near; upper and lower case are the same."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (perhaps {by_lower[close[0]]}?)" if close else ""
