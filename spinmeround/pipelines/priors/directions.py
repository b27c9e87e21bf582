"""Directions that views are asked from: named camera orbits, checks, and what their files are called."""

from __future__ import annotations

from collections.abc import Sequence

from spinmeround.errors import InputError
from spinmeround.orbits import ORBITS

Direction = tuple[float, float]
"""Azimuth and elevation, degrees."""

_FARTHEST_DEG, _STEEPEST_DEG = 3600.0, 85.0
"""Ten turns, since nobody means more, and short of the pole, where a camera has no up."""


def orbit_directions(name: str) -> tuple[Direction, ...]:
    """Return where the cameras of a named orbit stand.

    Raises:
        InputError: there is no such orbit.
    """
    if name not in ORBITS:
        raise InputError(f"no camera orbit is called {name!r}; there are {', '.join(ORBITS)}")
    return ORBITS[name]


def check_directions(directions: Sequence[Direction]) -> None:
    """Check that cameras can stand there.

    Raises:
        InputError: no direction at all, one straight above or below, or the same one twice.
    """
    if not directions:
        raise InputError("no direction to look from; give at least one azimuth and one elevation")
    for azimuth_deg, elevation_deg in directions:
        # Written so that a NaN fails too.
        if not (abs(azimuth_deg) <= _FARTHEST_DEG and abs(elevation_deg) <= _STEEPEST_DEG):
            raise InputError(
                f"no camera at azimuth {azimuth_deg:g}, elevation {elevation_deg:g}: azimuths lie within "
                f"±{_FARTHEST_DEG:g} degrees, elevations within ±{_STEEPEST_DEG:g}"
            )
    stems = [direction_stem(*direction) for direction in directions]
    for stem in stems:
        if stems.count(stem) > 1:
            raise InputError(f"the direction {stem} is asked for twice")


def photo_stems(count: int) -> list[str]:
    """Return file stems for views from the photos' own cameras."""
    return ["photo"] if count == 1 else [f"photo_{index + 1}" for index in range(count)]


def direction_stem(azimuth_deg: float, elevation_deg: float) -> str:
    """Return the file stem of a view, for instance ``az+30_el-10``; azimuths are wrapped to (-180, 180]."""
    wrapped = (azimuth_deg + 180) % 360 - 180
    if wrapped == -180:
        wrapped = 180.0
    return f"az{wrapped:+g}_el{elevation_deg:+g}".replace(".", "p")
