"""Which frame the normals of a folder are in, told or found out, and their way to the world frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.geometry import pixel_rays_world
from spinmeround.types import Cameras

NormalFrame = Literal["world", "camera", "camera_opengl", "camera_opencv"]
"""``camera`` stands for whichever of the two it is."""

FRAMES = ("world", "camera_opengl", "camera_opencv")
"""What a file can declare: ``camera_opengl`` has +Y up and +Z toward the viewer, ``camera_opencv`` neither."""

_log = logging.getLogger(__name__)

_STEP_PX = 4
_RIGHT, _WRONG, _ALIKE = 0.9, 0.75, 0.02
"""Shares of normals that face their camera: in the right frame nearly all, in a wrong one about half of them."""
_ASTRAY = 0.6
"""The same for a single view, whose normals may be poor: a wrong frame stays below it from the side and from behind."""

Normals = Float[np.ndarray, "v h w 3"]


def turn_to_world(
    path: Path,
    normals: Normals,
    cameras: Cameras,
    *,
    declared: str | None,
    names: Sequence[str],
    asked: NormalFrame | None = None,
    file_from_world: Float[np.ndarray, "3 3"] | None = None,
) -> None:
    """Brings normals to the world frame, in place, after asking whether they can be in the frame they claim.

    What a camera sees faces it: over a turn around a head that tells frames apart.

    Args:
        path: the file that describes the views, for messages.
        declared: ``normal_frame`` of the file.
        names: of the views, for messages.
        asked: what the user says instead.
        file_from_world: rotation the file's world had undergone; normals ``world`` may have been left out of it.

    Raises:
        InputError: the frame is not the one that was declared or asked for, or none was and it is not the world's; or
            normals of all views or of some turn away from their cameras in any frame.
    """
    if not normals.any():
        return
    turns = _turns(cameras, file_from_world)
    shares = {name: _facing(normals, cameras, turns[name]) for name in turns}
    facing = {name: float(np.nanmean(share)) for name, share in shares.items()}
    told = f"normals that face their cameras: {', '.join(f'{name} {share:.0%}' for name, share in facing.items())}"
    best = max(facing, key=lambda name: facing[name])
    if facing[best] < _WRONG and np.nanmedian(shares[best]) < _RIGHT:
        inward = min(facing.values()) < 1 - _RIGHT
        raise InputError(
            f"{path}: its normals face their cameras in no frame; "
            + ("they seem to point into the head" if inward else "channels may be swapped, or poses be those of others")
            + f"; write (n + 1) / 2 of outward normals, or leave out normal_path ({told})"
        )
    frame = _frame(path, facing, told, declared, asked)
    if frame == "world" and facing.get("world of the file", 0) > facing["world"] + _ALIKE:
        frame = "world of the file"
    _check_views(path, shares[frame], names)
    if frame != "world":
        _log.info("%s: normals are in the frame %s and are turned to the world's (%s)", path, frame, told)
        for i, turn in enumerate(turns[frame]):
            normals[i] = normals[i] @ turn.T.astype(np.float32)


def _frame(path: Path, facing: dict[str, float], told: str, declared: str | None, asked: NormalFrame | None) -> str:
    """The frame to believe in."""
    best = max(FRAMES, key=lambda name: facing[name])
    if asked == "camera":
        asked = "camera_opengl" if facing["camera_opengl"] >= facing["camera_opencv"] else "camera_opencv"
    frame = asked or declared
    world = max(facing["world"], facing.get("world of the file", 0))
    if frame is None:
        if best == "world" or world > facing[best] - _ALIKE:
            _log.info("%s: no normal_frame; taken for world (%s)", path, told)
            return "world"
        raise InputError(
            f'{path}: has normals but no normal_frame, and they do not look like world normals; say "normal_frame": '
            f'"{best}" in transforms.json, or --normal-frame camera, if that is right ({told})'
        )
    share = world if frame == "world" else facing[frame]
    if share < _WRONG and max(facing[best], world) > _RIGHT:
        whose = f"--normal-frame is {asked}" if asked else f'normal_frame is "{declared}"'
        better = "world" if world > facing[best] else best
        instead = "world" if better == "world" else "camera"
        raise InputError(
            f'{path}: {whose}, but its normals turn away from their cameras; is it "{better}" '
            f"(--normal-frame {instead})? ({told})"
        )
    return frame


def _check_views(path: Path, shares: Float[np.ndarray, "v"], names: Sequence[str]) -> None:
    """Most normals may be right and those of some views not."""
    wrong = [name for name, share in zip(names, shares, strict=True) if share < _ASTRAY]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(
            f"{path}: the normals of {len(wrong)} of {len(names)} views turn away from their cameras, those of the "
            f"others do not: {', '.join(wrong[:3])}{more}; write these in the frame of the others, or leave out their "
            "normal_path"
        )


def _turns(cameras: Cameras, file_from_world: Float[np.ndarray, "3 3"] | None) -> dict[str, Float[np.ndarray, "v 3 3"]]:
    """For each frame normals could be in, the rotations to the world frame."""
    world_from_camera = np.swapaxes(cameras.camera_from_world[:, :3, :3], 1, 2)
    turns = {
        "world": np.broadcast_to(np.eye(3), world_from_camera.shape),
        "camera_opengl": world_from_camera @ np.diag([1.0, -1.0, -1.0]),
        "camera_opencv": world_from_camera,
    }
    if file_from_world is not None:
        turns["world of the file"] = np.broadcast_to(file_from_world.T, world_from_camera.shape)
    return turns


def _facing(normals: Normals, cameras: Cameras, world_from_frame: Float[np.ndarray, "v 3 3"]) -> Float[np.ndarray, "v"]:
    """Share of each view's normals that face its camera; NaN where it has none."""
    shares = np.full(len(cameras), np.nan)
    for i, camera_from_world in enumerate(cameras.camera_from_world):
        rays = pixel_rays_world(camera_from_world, cameras.intrinsics_px[i], cameras.width_px, cameras.height_px)
        few = slice(None, None, _STEP_PX if normals[i, ::_STEP_PX, ::_STEP_PX].any() else 1)
        rays, these = rays[few, few], normals[i, few, few]
        valid = these.any(axis=-1)
        if valid.any():
            shares[i] = ((these[valid] @ world_from_frame[i].T * rays[valid]).sum(axis=-1) < 0).mean()
    return shares
