"""Stage one as the pipelines run it: photos to a head, a head to views."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spinmeround.configs import Quality, preset
from spinmeround.errors import InputError
from spinmeround.geometry import framed
from spinmeround.orbits import FOCAL_WIDTHS, RIGS, orbit_cameras
from spinmeround.pipelines.backends import Head, Rooms, Sighting
from spinmeround.pipelines.diffusion_options import DiffusionOptions, Direction, directions_of
from spinmeround.runtime.stages import Stage, Stages
from spinmeround.types import Cameras, Views

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Seen:
    """What stage one gives, by whichever prior.

    Attributes:
        report: its part of the report.
        head: the fitted head, where the prior has one.
    """

    views: Views
    report: dict[str, Any]
    head: Head | None = None


def planned(prior: str) -> list[Stage]:
    """The stages of stage one, in order."""
    return ["photo", "portrait", "identity" if prior == "diffusion" else "head", "views"]


def expected_seconds(prior: str, quality: Quality, options: DiffusionOptions, device: str) -> dict[str, float]:
    """A first guess of how long each stage takes."""
    seconds = dict(preset(quality).seconds)
    if prior == "diffusion":
        views, steps = len(directions_of(options, quality)), options.steps or _STEPS
        seconds["views"] = views * steps * _STEP_SECONDS[device == "cuda"]
    return seconds


def look_with_template(
    sightings: Sequence[Sighting],
    rooms: Rooms,
    stages: Stages,
    *,
    directions: Sequence[Direction],
    own_cameras: bool,
    size_px: int,
    focal_widths: float,
    keep_expression: bool,
    seed: int,
) -> Seen:
    """The template fitted to the photos, seen from the photos' cameras and from all directions."""
    head = fit(sightings, rooms, stages, seed=seed)
    with stages("views"):
        photo_cameras = head.photo_cameras if own_cameras else ()
        cameras, names = cameras_around(
            directions, size_px=size_px, photo_cameras=photo_cameras, focal_widths=focal_widths
        )
        views = head.render(cameras, keep_expression=keep_expression, names=names)
    return Seen(views, {"head": head.report, "texture": shares(head)}, head)


def look_with_diffusion(
    sightings: Sequence[Sighting],
    rooms: Rooms,
    stages: Stages,
    *,
    options: DiffusionOptions,
    directions: Sequence[Direction],
    own_cameras: bool,
    seed: int,
) -> Seen:
    """What the diffusion model paints. The expression is that of the photos.

    Args:
        directions: as the model counts them, from the first photo on, with ``own_cameras``; else of the head.
        own_cameras: whether the photos themselves are views too, and come first.
    """
    from spinmeround.diffusion.camera import photo_poses
    from spinmeround.diffusion.generator import cameras_toward, rig_cameras
    from spinmeround.diffusion.portrait_crop import MODEL_PX

    with stages("identity"):
        portraits = rooms.identify([sighting.portrait for sighting in sightings], options.identity)
    with stages("views") as progress:
        if own_cameras:
            cameras, photos = rig_cameras(portraits, directions, size_px=MODEL_PX)
            own = photo_poses(portraits)
            names = (*_photo_stems(photos), *(_stem(*d) for d in directions if d not in own))
        else:
            cameras, names = (
                cameras_toward(portraits, directions, size_px=MODEL_PX),
                tuple(_stem(*d) for d in directions),
            )
        views = rooms.paint_views(portraits, cameras, options, seed, progress)
    inside = views.alpha > 0.5
    trust = round(float(views.weight[inside].mean()), 4) if inside.any() else 0.0
    painted = {"views": len(views), "trust": trust, "with_normals": bool(views.normals_world.any())}
    return Seen(replace(views, names=names), {"diffusion": painted})


def rig_directions(name: str) -> tuple[Direction, ...]:
    """Where the cameras of a named rig stand.

    Raises:
        InputError: no such rig.
    """
    if name not in RIGS:
        raise InputError(f"no camera rig is called {name!r}; there are {', '.join(RIGS)}")
    return RIGS[name]


_STEPS = 50
_STEP_SECONDS = (12.0, 0.1)
"""Of one view and step of the diffusion model, on a CPU and on a card: a guess."""

_FARTHEST_DEG, _STEEPEST_DEG = 3600.0, 85.0
"""Ten turns, since nobody means more, and short of the pole, where a camera has no up."""
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
        # Written so that a NaN fails too.
        if not (abs(azimuth_deg) <= _FARTHEST_DEG and abs(elevation_deg) <= _STEEPEST_DEG):
            raise InputError(
                f"no camera at azimuth {azimuth_deg:g}, elevation {elevation_deg:g}: azimuths lie within "
                f"±{_FARTHEST_DEG:g} degrees, elevations within ±{_STEEPEST_DEG:g}"
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
    return together, (*_photo_stems(len(own)), *(_stem(*direction) for direction in directions))


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


def _photo_stems(count: int) -> list[str]:
    return ["photo"] if count == 1 else [f"photo_{index + 1}" for index in range(count)]


def _stem(azimuth_deg: float, elevation_deg: float) -> str:
    wrapped = (azimuth_deg + 180) % 360 - 180
    if wrapped == -180:
        wrapped = 180.0
    return f"az{wrapped:+g}_el{elevation_deg:+g}".replace(".", "p")
