"""Whether a run makes an avatar, which moves, or a plain mesh, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinmeround.errors import FitError, OutputError, WeightsError
from spinmeround.io.formats import formats, suffixes
from spinmeround.pipelines.backends import Backends
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.registered_head import RegisteredHeadOnSurface
from spinmeround.pipelines.settings import RunSettings
from spinmeround.pipelines.stage_two import StageTwoResult
from spinmeround.protocols import RiggableHead
from spinmeround.runtime.stages import Stages
from spinmeround.types import Avatar, Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NoAvatar:
    """Why a run makes no avatar.

    Attributes:
        settings: dotted names of the settings that decide it.
    """

    reason: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class AvatarResult:
    """What became of the avatar.

    Attributes:
        report: its part of the report.
        world_per_unit: world units in a unit of an avatar that was registered to the surface, 1 unless the world is not
            that of a head; None if there is no such avatar.
    """

    avatar: Avatar | None
    report: dict[str, Any]
    world_per_unit: float | None = None


class _NoFaceOnSurfaceError(FitError):
    """The template cannot be registered to a surface; the run goes on with a plain mesh."""


def find_obstacle(settings: RunSettings) -> NoAvatar | None:
    """Return why no avatar can be made, if that is known beforehand; else None."""
    if not settings.avatar.rig:
        return NoAvatar("the rig was left out", ("avatar.rig",))
    if settings.mesh.is_levelled:
        return NoAvatar("numbers of faces and levels of detail are for plain meshes", ("mesh.faces", "mesh.lods"))
    return None


def check_avatar_only(outputs: Outputs, no_avatar: NoAvatar | None) -> None:
    """Check that formats which hold nothing but avatars, as ``.vrm``, get one.

    Raises:
        OutputError: one was asked for, and none can be made.
    """
    if no_avatar is None:
        return
    for path in outputs.meshes:
        suffix = path.suffix.lower()
        if suffix in suffixes("avatar") and suffix not in suffixes("mesh"):
            raise OutputError(
                f"{path}: a {suffix} must move, but {no_avatar.reason}; write a .glb or leave that out",
                settings=no_avatar.settings,
            )


def holds_avatar(path: Path) -> bool:
    """Whether files of this name can hold an avatar."""
    return path.suffix.lower() in suffixes("avatar")


def bakes_normal_map(outputs: Outputs) -> bool:
    """Whether anything asked for can hold a normal map; logs a warning if nothing can."""
    requested = (*outputs.meshes, *outputs.splats)
    holding = tuple(dict.fromkeys(f.suffix for f in (*formats(holds="avatar"), *formats(holds="mesh")) if f.normal_map))
    if not requested or any(path.suffix.lower() in holding for path in outputs.meshes):
        return True
    log.warning("normal map: no file asked for holds one; %s do", " ".join(holding))
    return False


def wants_avatar(outputs: Outputs) -> bool:
    """Whether an output holds an avatar, or there are no outputs, so that all results are made."""
    return any(holds_avatar(path) for path in outputs.meshes) or not (outputs.meshes or outputs.splats)


def make_avatar(
    head: object | None,
    built: StageTwoResult,
    outputs: Outputs,
    backends: Backends,
    stages: Stages,
    *,
    no_avatar: NoAvatar | None,
) -> AvatarResult:
    """Make the avatar if an output holds one or there are no outputs.

    Args:
        head: what stage one fitted, if it did; else the template is registered to the surface.
        no_avatar: why none can be made, if that is known.

    Raises:
        OutputError: a format that holds nothing else was asked for, and no face was found.
    """
    requested = any(holds_avatar(path) for path in outputs.meshes)
    if not wants_avatar(outputs):
        return AvatarResult(None, {})
    options = backends.settings.avatar
    if no_avatar is None:
        with stages("avatar") as progress:
            try:
                rigged = head if isinstance(head, RiggableHead) else _register(built, backends, progress)
            except _NoFaceOnSurfaceError as error:
                no_avatar = NoAvatar(str(error))
            else:
                avatar = rigged.avatar(
                    lod=options.lod,
                    texture_px=options.texture_px,
                    normal_map=backends.settings.mesh.normal_map,
                    delight=options.delight,
                    hair=options.hair,
                )
                report = {"made": True, "level_of_detail": options.lod} | _described(avatar)
                if not isinstance(rigged, RegisteredHeadOnSurface):
                    return AvatarResult(avatar, {"avatar": report})
                report |= {"registration": rigged.report}
                return AvatarResult(avatar, {"avatar": report}, rigged.registered.world_from_head.scale)
    check_avatar_only(outputs, no_avatar)
    if requested and options.rig:
        log.warning("the avatar's file holds a plain mesh: %s", no_avatar.reason)
    return AvatarResult(None, {"avatar": {"made": False, "why": no_avatar.reason}})


def _register(built: StageTwoResult, backends: Backends, progress: Progress) -> RegisteredHeadOnSurface:
    """Register the template to the surface."""
    assert built.surface is not None, "only heads that can move come without one"
    try:
        head = backends.register_head(built.views, built.surface, progress=progress)
    except WeightsError as error:
        raise _NoFaceOnSurfaceError(f"no face could be looked for: {error}") from error
    if head is None:
        raise _NoFaceOnSurfaceError("no face was found, or the surface does not have the form of one")
    log.info("a face was found in %d pictures of the head: it gets bones and expressions", head.face_view_count)
    return head


def _described(avatar: Avatar) -> dict[str, Any]:
    return {
        "triangles": {part.name: len(part.mesh.faces) for part in avatar.parts},
        "bones": [joint.name for joint in avatar.joints],
        "morph_targets": len(avatar.morph_names),
        "poses": list(avatar.poses),
        "normal_map": any(part.mesh.normal_map is not None for part in avatar.parts),
    }
