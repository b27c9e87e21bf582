"""Plan of the joint passes: which views are sampled together, given which others (passes B and C of the paper)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from spinmeround.diffusion.inputs import ANCHORS, Pose
from spinmeround.errors import InputError

_NEAREST = 2
"""Anchors that condition a view between them, beside the photos (section 3.3 of the SpinMeRound paper)."""
_SAME_DEG = 1e-3
"""Two directions nearer than this are one."""
_MAX_ELEVATION_DEG, _MAX_AZIMUTH_DEG = 85.0, 3600.0
"""Short of the pole, where a camera has no up direction, and ten turns, beyond which an angle is a mistake."""


@dataclass(frozen=True)
class JointPass:
    """Views that are sampled together.

    Attributes:
        given: conditioning views, photos first.
        sampled: the views this pass adds.
    """

    given: tuple[Pose, ...]
    sampled: tuple[Pose, ...]


def plan(photos: Sequence[Pose], wanted: Sequence[Pose], *, views_at_once: int) -> tuple[JointPass, ...]:
    """Plan the passes that lead from the photos to all wanted views.

    Views that fit into one pass are sampled in one. Otherwise the anchors come first, all from the photos, and then the
    views between neighbouring anchors, each group from the photos and the two anchors nearest to it.

    Args:
        photos: directions of the photos; a wanted view that is a photo's own is not sampled.
        views_at_once: most views in a pass, given ones included.

    Raises:
        InputError: no view or no photo, an absurd angle, or too few views at once.
    """
    _check(photos, wanted)
    fresh = [pose for i, pose in enumerate(wanted) if not _among(pose, [*photos, *wanted[:i]])]
    if not fresh:
        return ()
    if len(photos) + len(fresh) <= views_at_once:
        return (JointPass(tuple(photos), tuple(fresh)),)
    anchors = [anchor for anchor in ANCHORS if not _among(anchor, photos)]
    between = [pose for pose in fresh if not _among(pose, anchors)]
    free_slots = views_at_once - len(photos) - (_NEAREST if between else 0)
    if free_slots < 1:
        raise InputError(
            f"{views_at_once} views at once leave no room beside those given, {len(photos)} and {_NEAREST} anchors; "
            f"raise it to {len(photos) + _NEAREST + 1} or more, or use fewer photos"
        )
    first = [JointPass(tuple(photos), part) for part in _parts(anchors, views_at_once - len(photos))]
    second = [
        JointPass((*photos, *_nearest(group, anchors)), part)
        for group in _intervals(between, [(0.0, 0.0), *anchors])
        for part in _parts(group, free_slots)
    ]
    return (*first, *second)


def same(one: Pose, other: Pose) -> bool:
    """Check whether two directions are the same."""
    turn = (one[0] - other[0] + 180) % 360 - 180
    return abs(turn) < _SAME_DEG and abs(one[1] - other[1]) < _SAME_DEG


def _among(pose: Pose, poses: Sequence[Pose]) -> bool:
    return any(same(pose, other) for other in poses)


def _intervals(poses: Sequence[Pose], borders: Sequence[Pose]) -> list[list[Pose]]:
    """Group views by the two neighbouring borders they lie between, by growing azimuth, then elevation."""
    edges = sorted(azimuth % 360 for azimuth, _ in borders)
    groups: dict[int, list[Pose]] = {}
    for pose in sorted(poses, key=lambda p: (p[0] % 360, p[1])):
        groups.setdefault(sum(edge <= pose[0] % 360 for edge in edges), []).append(pose)
    return [groups[index] for index in sorted(groups)]


def _nearest(group: Sequence[Pose], anchors: Sequence[Pose]) -> tuple[Pose, ...]:
    """Return the two anchors nearest to the middle of a group; of two equally near, the one nearer to the front."""
    middle = [sum(axis) for axis in zip(*(_direction(pose) for pose in group), strict=True)]
    length = math.hypot(*middle)

    def key(anchor: Pose) -> tuple[float, float]:
        cosine = sum(a * b for a, b in zip(_direction(anchor), middle, strict=True)) / length
        return round(-cosine, 6), abs(anchor[0])

    return tuple(sorted(anchors, key=key)[:_NEAREST])


def _direction(pose: Pose) -> tuple[float, float, float]:
    azimuth, elevation = (math.radians(angle) for angle in pose)
    return math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)


def _parts(poses: Sequence[Pose], most: int) -> list[tuple[Pose, ...]]:
    """Split into consecutive parts of nearly equal size, none larger than ``most``."""
    count = -(-len(poses) // most)
    borders = [len(poses) * i // count for i in range(count + 1)]
    return [tuple(poses[low:high]) for low, high in pairwise(borders)]


def _check(photos: Sequence[Pose], wanted: Sequence[Pose]) -> None:
    if not photos:
        raise InputError("no photo to look at: give at least one")
    if not wanted:
        raise InputError("no view was asked for: give at least one azimuth and elevation")
    for azimuth, elevation in [*photos, *wanted]:
        # Written so that a NaN fails too.
        if not (abs(azimuth) <= _MAX_AZIMUTH_DEG and abs(elevation) <= _MAX_ELEVATION_DEG):
            raise InputError(
                f"no view from azimuth {azimuth}, elevation {elevation}: azimuths lie within ±{_MAX_AZIMUTH_DEG:.0f} "
                f"and elevations within ±{_MAX_ELEVATION_DEG:.0f} degrees"
            )
