"""Photos to portraits: the first two stages of every run that begins with photos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinmeround.errors import InputError
from spinmeround.pipelines.backends import Backends, LoadedPortrait
from spinmeround.runtime.stages import Stages

log = logging.getLogger(__name__)

PORTRAIT_STAGES = ("photo", "portrait")


def check_photos(photos: Sequence[Path]) -> None:
    """Check that there is anything to read before anything heavy is loaded.

    Raises:
        InputError: no photo was given, or one is not there.
    """
    if not photos:
        raise InputError("no photo given; name one or several photos of one person")
    for path in photos:
        if not path.exists():
            raise InputError(f"{path}: no such file")


def load_portraits(photos: Sequence[Path], backends: Backends, stages: Stages) -> list[LoadedPortrait]:
    """Read the photos and find the person in each.

    Raises:
        InputError: a photo that cannot be read or has no usable face; with several photos the message names it.
    """
    with stages("photo") as progress:
        pictures = []
        for index, path in enumerate(photos):
            pictures.append(backends.read_photo(path))
            progress((index + 1) / len(photos), path.name)
    with stages("portrait") as progress:
        loaded = []
        for index, (path, picture) in enumerate(zip(photos, pictures, strict=True)):
            loaded.append(backends.find_portrait(path, picture))
            progress((index + 1) / len(photos), path.name)
    for each in loaded:
        for note in each.notes:
            log.warning("%s: %s", each.photo, note)
    return loaded


def describe_photos(loaded: Sequence[LoadedPortrait]) -> list[dict[str, Any]]:
    """Return what the report says about the photos."""
    return [
        {
            "file": each.photo.name,
            "faces_seen": each.faces_seen,
            "face_taken": each.face_taken,
            "notes": list(each.notes),
        }
        for each in loaded
    ]
