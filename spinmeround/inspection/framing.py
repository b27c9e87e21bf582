"""Cameras for pictures of a result: all of it is in each picture, at one scale, whatever the hair is like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spinmeround.orbits import orbit_cameras
from spinmeround.types import Cameras, Views

Draw = Callable[[Cameras], Views]
"""A finished head, drawn as any cameras see it."""


@dataclass(frozen=True)
class _Search:
    """How the room that a result takes is measured.

    Attributes:
        size_px, focal_widths: of the trial pictures, which hold 1.35 head units to each side of the head's middle:
            twice the height of a head.
        alpha: coverage of a pixel that counts; a strand that is a fifth of a pixel wide does.
        margin: left free on each side, in picture widths.
    """

    size_px: int = 256
    focal_widths: float = 1.0
    alpha: float = 0.02
    margin: float = 0.03


_SEARCH = _Search()


@dataclass(frozen=True)
class Frame:
    """The part of the cameras' view that pictures show; the head turns about the middle of it.

    Attributes:
        half_width: tangent of half the angle of view.
        middle_y: tangent of the angle by which the middle of the pictures lies below the world's origin.
    """

    half_width: float
    middle_y: float

    def cameras(self, azimuths_deg: Sequence[float], *, size_px: int) -> Cameras:
        """Return level cameras around the head, 0 in front of it, that show this part."""
        around = orbit_cameras(azimuths_deg, [0.0] * len(azimuths_deg), size_px=size_px)
        focal_px = size_px / (2 * self.half_width)
        intrinsics_px = around.intrinsics_px.copy()
        intrinsics_px[:, :2] = [[focal_px, 0, size_px / 2], [0, focal_px, size_px / 2 - focal_px * self.middle_y]]
        return replace(around, intrinsics_px=intrinsics_px)


def frame_around(drawn: Iterable[tuple[Draw, Sequence[float]]]) -> Frame:
    """Return the frame that holds all that is drawn, with a margin.

    Args:
        drawn: what draws a result, and the azimuths in degrees that it will be seen from.
    """
    trial = Frame(0.5 / _SEARCH.focal_widths, 0.0)
    seen = np.zeros((_SEARCH.size_px, _SEARCH.size_px), bool)
    for draw, azimuths_deg in drawn:
        views = draw(trial.cameras(azimuths_deg, size_px=_SEARCH.size_px))
        seen |= (views.alpha > _SEARCH.alpha).any(axis=0)
    if not seen.any():
        return trial
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    x, y = ((np.array([line[0], line[-1] + 1]) / _SEARCH.size_px - 0.5) for line in (columns, rows))
    half = max(np.abs(x).max(), (y[1] - y[0]) / 2) / (1 - 2 * _SEARCH.margin)
    return Frame(float(half / _SEARCH.focal_widths), float(y.mean() / _SEARCH.focal_widths))
