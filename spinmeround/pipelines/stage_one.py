"""Stage one as the pipelines run it: photos to a head, a head to views."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spinmeround.errors import InputError
from spinmeround.geometry import framed
from spinmeround.orbits import FOCAL_WIDTHS, RIGS, orbit_cameras
from spinmeround.pipelines.rooms import Head, Rooms, Sighting
from spinmeround.pipelines.stages import Stages
from spinmeround.types import Cameras

log = logging.getLogger(__name__)

Direction = tuple[float, float]
"""Azimuth and elevation of a camera, degrees."""


def meet(photos: Sequence[Path], rooms: Rooms, stages: Stages, *, face: int | None) -> list[Sighting]:
    """Reads the photos and finds the person in each.

    Raises:
        InputError: a photo that cannot be read or has no usable face; with several photos the message names it.
    """
    with stages("photo") as progress:
        pictures = []
        for index, path in enumerate(photos):
            pictures.append(rooms.read_photo(path))
            progress((index + 1) / len(photos), path.name)
    with stages("portrait") as progress:
        sightings = []
        for index, (path, picture) in enumerate(zip(photos, pictures, strict=True)):
            sightings.append(rooms.find_person(path, picture, face))
            progress((index + 1) / len(photos), path.name)
    for sighting in sightings:
        for note in sighting.notes:
            log.warning("%s: %s", sighting.photo, note)
    return sightings


def fit(sightings: Sequence[Sighting], rooms: Rooms, stages: Stages, *, seed: int) -> Head:
    """One head of the one person in all photos."""
    with stages("head") as progress:
        return rooms.fit_head([sighting.portrait for sighting in sightings], seed, progress)


def rig_directions(name: str) -> tuple[Direction, ...]:
    """Where the cameras of a named rig stand.

    Raises:
        InputError: no such rig.
    """
    if name not in RIGS:
        raise InputError(f"no camera rig is called {name!r}; there are {', '.join(RIGS)}")
    return RIGS[name]


_HEAD_RADIUS = 0.42
"""A ball around the origin of this radius holds a head with its hair, head units."""


def check_directions(directions: Sequence[Direction]) -> None:
    """Asks whether cameras can stand there.

    Raises:
        InputError: no direction at all, one straight above or below, or the same one twice.
    """
    if not directions:
        raise InputError("no direction to look from; give at least one azimuth and one elevation")
    for azimuth_deg, elevation_deg in directions:
        if not (math.isfinite(azimuth_deg) and abs(elevation_deg) <= 85):
            raise InputError(
                f"azimuth {azimuth_deg:g}, elevation {elevation_deg:g}: azimuths are finite, elevations -85 to 85"
            )
    stems = [_stem(*direction) for direction in directions]
    for stem in stems:
        if stems.count(stem) > 1:
            raise InputError(f"the direction {stem} is asked for twice")


def cameras_around(
    directions: Sequence[Direction],
    *,
    size_px: int,
    photo_cameras: Sequence[Cameras] = (),
    focal_widths: float = FOCAL_WIDTHS,
) -> tuple[Cameras, tuple[str, ...]]:
    """The photos' own cameras first, cropped to the head, then one camera a direction.

    Returns:
        the cameras and a file stem for each.
    """
    azimuths, elevations = zip(*directions, strict=True)
    around = orbit_cameras(azimuths, elevations, size_px=size_px, focal_widths=focal_widths)
    own = [framed(camera, _HEAD_RADIUS, size_px=size_px) for camera in photo_cameras]
    together = Cameras(
        np.concatenate([c.camera_from_world for c in (*own, around)]),
        np.concatenate([c.intrinsics_px for c in (*own, around)]),
        size_px,
        size_px,
    )
    numbered = ["photo"] if len(own) == 1 else [f"photo_{index + 1}" for index in range(len(own))]
    return together, (*numbered, *(_stem(*direction) for direction in directions))


def describe(sightings: Sequence[Sighting]) -> list[dict[str, Any]]:
    """What the report says about the photos."""
    return [
        {
            "file": sighting.photo.name,
            "faces_seen": sighting.faces_seen,
            "face_taken": sighting.face_taken,
            "notes": list(sighting.notes),
        }
        for sighting in sightings
    ]


def shares(head: Head) -> dict[str, dict[str, float]]:
    """Which share of each part of the texture the photos show, and which was made up."""
    observed = {part: share for part, share in head.report.get("observed_share", {}).items() if share is not None}
    return {part: {"observed": share, "invented": round(1 - share, 4)} for part, share in observed.items()}


def check_photos(photos: Sequence[Path]) -> None:
    """Asks whether there is anything to read before anything heavy is loaded.

    Raises:
        InputError: no photo was given, or one is not there.
    """
    if not photos:
        raise InputError("no photo given; name one or several photos of one person")
    for path in photos:
        if not path.exists():
            raise InputError(f"{path}: no such file")


def _stem(azimuth_deg: float, elevation_deg: float) -> str:
    wrapped = (azimuth_deg + 180) % 360 - 180
    if wrapped == -180:
        wrapped = 180.0
    return f"az{wrapped:+g}_el{elevation_deg:+g}".replace(".", "p")
