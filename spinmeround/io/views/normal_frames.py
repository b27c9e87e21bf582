"""Find the frame that the normals of a folder are in, and rotate them to the world frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.geometry import pixel_rays_world
from spinmeround.types import Cameras

NormalFrame = Literal["world", "camera", "camera_opengl", "camera_opencv"]
"""``camera`` is whichever of ``camera_opengl`` and ``camera_opencv`` fits."""

FRAMES = ("world", "camera_opengl", "camera_opencv")
"""What a file can declare. ``camera_opengl``: +Y up, +Z toward the viewer; ``camera_opencv``: +Y down, +Z forward."""

log = logging.getLogger(__name__)

_STEP_PX = 4
"""Every so many pixels are enough to tell frames apart."""


@dataclass(frozen=True)
class FacingFractions:
    """Fractions of normals that face their camera.

    Attributes:
        right: in the right frame nearly all do.
        wrong: in a wrong frame about half do.
        tie: frames whose fractions differ by less fit equally well.
        view: for a single view, whose normals may be poor: a wrong frame stays below it from the side and from behind.
    """

    right: float = 0.9
    wrong: float = 0.75
    tie: float = 0.02
    view: float = 0.6


_FACING = FacingFractions()

Normals = Float[np.ndarray, "v h w 3"]


def rotate_to_world(
    path: Path,
    normals: Normals,
    cameras: Cameras,
    *,
    declared: str | None,
    names: Sequence[str],
    asked: NormalFrame | None = None,
    file_from_world: Float[np.ndarray, "3 3"] | None = None,
) -> None:
    """Rotate normals to the world frame, in place, after checking the frame they are declared in.

    Normals of visible surfaces face their camera. With cameras all around a head, only the right frame has that.

    Args:
        path: the file that describes the views, for messages.
        declared: ``normal_frame`` of the file.
        names: of the views, for messages.
        asked: the frame the user states instead.
        file_from_world: rotation of the file's ``applied_transform``; normals declared ``world`` may not have had it.

    Raises:
        InputError: the frame is not the declared one or the one asked for; none is declared and it is not the
            world's; or the normals of some or all views face away from their cameras in every frame.
    """
    if not normals.any():
        return
    rotations = _rotations_to_world(cameras, file_from_world)
    fractions = {name: _facing_fractions(normals, cameras, rotations[name]) for name in rotations}
    facing = {name: float(np.nanmean(per_view)) for name, per_view in fractions.items()}
    evidence = (
        f"normals that face their cameras: {', '.join(f'{name} {fraction:.0%}' for name, fraction in facing.items())}"
    )
    best = max(facing, key=lambda name: facing[name])
    if facing[best] < _FACING.wrong and np.nanmedian(fractions[best]) < _FACING.right:
        inward = min(facing.values()) < 1 - _FACING.right
        raise InputError(
            f"{path}: its normals face their cameras in no frame; "
            + ("they seem to point into the head" if inward else "channels may be swapped, or poses be of other views")
            + f"; write (n + 1) / 2 of outward normals, or leave out normal_path ({evidence})"
        )
    frame = _frame(path, facing, evidence, declared, asked)
    if frame == "world" and facing.get("world of the file", 0) > facing["world"] + _FACING.tie:
        frame = "world of the file"
    _check_views(path, fractions[frame], names)
    if frame != "world":
        log.info("%s: normals are in the frame %s and are rotated to the world's (%s)", path, frame, evidence)
        for i, rotation in enumerate(rotations[frame]):
            normals[i] = normals[i] @ rotation.T.astype(np.float32)


def _frame(path: Path, facing: dict[str, float], evidence: str, declared: str | None, asked: NormalFrame | None) -> str:
    """Choose the frame, or refuse the normals."""
    best = max(FRAMES, key=lambda name: facing[name])
    if asked == "camera":
        asked = "camera_opengl" if facing["camera_opengl"] >= facing["camera_opencv"] else "camera_opencv"
    frame = asked or declared
    world = max(facing["world"], facing.get("world of the file", 0))
    if frame is None:
        if best == "world" or world > facing[best] - _FACING.tie:
            log.info("%s: no normal_frame; taken for world (%s)", path, evidence)
            return "world"
        raise InputError(
            f'{path}: has normals but no normal_frame, and they do not look like world normals; say "normal_frame": '
            f'"{best}" in transforms.json, or read them in the normal frame "camera", if that is right ({evidence})'
        )
    fraction = world if frame == "world" else facing[frame]
    if fraction < _FACING.wrong and max(facing[best], world) > _FACING.right:
        stated = f'the normal frame asked for is "{asked}"' if asked else f'normal_frame is "{declared}"'
        better = "world" if world > facing[best] else best
        instead = "world" if better == "world" else "camera"
        raise InputError(
            f'{path}: {stated}, but its normals face away from their cameras; is it "{better}"? '
            f'Read them in the normal frame "{instead}" ({evidence})'
        )
    return frame


def _check_views(path: Path, fractions: Float[np.ndarray, "v"], names: Sequence[str]) -> None:
    """Check the views one by one: those of most may be right and those of some not."""
    wrong = [name for name, fraction in zip(names, fractions, strict=True) if fraction < _FACING.view]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(
            f"{path}: the normals of {len(wrong)} of {len(names)} views face away from their cameras, those of the "
            f"others do not: {', '.join(wrong[:3])}{more}; write these in the frame of the others, or leave out their "
            "normal_path"
        )


def _rotations_to_world(
    cameras: Cameras, file_from_world: Float[np.ndarray, "3 3"] | None
) -> dict[str, Float[np.ndarray, "v 3 3"]]:
    """Return the rotations to the world frame from each frame that normals could be in."""
    world_from_camera = np.swapaxes(cameras.camera_from_world[:, :3, :3], 1, 2)
    rotations = {
        "world": np.broadcast_to(np.eye(3), world_from_camera.shape),
        "camera_opengl": world_from_camera @ np.diag([1.0, -1.0, -1.0]),
        "camera_opencv": world_from_camera,
    }
    if file_from_world is not None:
        rotations["world of the file"] = np.broadcast_to(file_from_world.T, world_from_camera.shape)
    return rotations


def _facing_fractions(
    normals: Normals, cameras: Cameras, world_from_frame: Float[np.ndarray, "v 3 3"]
) -> Float[np.ndarray, "v"]:
    """Compute the fraction of each view's normals that face its camera; NaN for views without normals."""
    fractions = np.full(len(cameras), np.nan)
    for i, camera_from_world in enumerate(cameras.camera_from_world):
        rays = pixel_rays_world(camera_from_world, cameras.intrinsics_px[i], cameras.width_px, cameras.height_px)
        sampled = slice(None, None, _STEP_PX if normals[i, ::_STEP_PX, ::_STEP_PX].any() else 1)
        rays, some = rays[sampled, sampled], normals[i, sampled, sampled]
        valid = some.any(axis=-1)
        if valid.any():
            fractions[i] = ((some[valid] @ world_from_frame[i].T * rays[valid]).sum(axis=-1) < 0).mean()
    return fractions
