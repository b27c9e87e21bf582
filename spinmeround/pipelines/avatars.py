"""Whether a run makes an avatar, which moves, or a plain mesh, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from spinmeround.errors import OutputError, WeightsError
from spinmeround.io.formats import AVATAR_SUFFIXES, NORMAL_MAP_SUFFIXES
from spinmeround.pipelines.backends import Head, Rooms
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.registered_head import RegisteredHeadOnSurface
from spinmeround.pipelines.stage_two import Built
from spinmeround.runtime.stages import Stages
from spinmeround.types import Avatar, Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RigOptions:
    """How an avatar is made.

    Attributes:
        rig: whether a ``.glb`` moves at all.
        lod: level of detail: about 30,000, 12,000 or 4,000 triangles.
        texture_px: side of the skin's texture.
    """

    rig: bool = True
    lod: Literal[0, 1, 2] = 0
    texture_px: int = 2048


@runtime_checkable
class Riggable(Protocol):
    """A head that can be made to move."""

    def avatar(self, *, lod: Literal[0, 1, 2], texture_px: int, normal_map: bool) -> Avatar:
        """The head with bones and morph targets, neutral at rest."""
        ...


def reason_against(options: RigOptions, *, keep_expression: bool) -> str | None:
    """Why no avatar can be made, if that is known beforehand."""
    if not options.rig:
        return "--no-rig was asked for"
    if keep_expression:
        return "an avatar rests with a neutral face, and --keep-expression was asked for"
    return None


def check_vrm(outputs: Outputs, against: str | None) -> None:
    """A ``.vrm`` is an avatar or nothing.

    Raises:
        OutputError: one was asked for, and none can be made.
    """
    for path in outputs.meshes:
        if path.suffix.lower() == ".vrm" and against is not None:
            raise OutputError(f"{path}: a .vrm must move, but {against}; write a .glb or leave that out")


def bakes_normal_map(outputs: Outputs) -> bool:
    """Whether anything asked for can hold a normal map; says so if nothing can."""
    asked = (*outputs.meshes, *outputs.splats)
    if not asked or any(path.suffix.lower() in NORMAL_MAP_SUFFIXES for path in outputs.meshes):
        return True
    log.warning("--normal-map: no file asked for holds one; %s do", " ".join(NORMAL_MAP_SUFFIXES))
    return False


def make_avatar(
    head: Head | None,
    built: Built,
    outputs: Outputs,
    options: RigOptions,
    rooms: Rooms,
    stages: Stages,
    *,
    against: str | None,
    normal_map: bool = False,
) -> tuple[Avatar | None, dict[str, Any]]:
    """The avatar, where an output wants one or there are no outputs, and the report's part about it.

    Args:
        head: what stage one fitted, where it did; else the template is brought onto the surface.
    """
    wanted = any(path.suffix.lower() in AVATAR_SUFFIXES for path in outputs.meshes)
    if not wanted and (outputs.meshes or outputs.splats):
        return None, {}
    if against is None:
        stages.also("avatar")
        with stages("avatar") as progress:
            moving = head if isinstance(head, Riggable) else _on_surface(built, rooms, progress)
            if not isinstance(moving, str):
                avatar = moving.avatar(lod=options.lod, texture_px=options.texture_px, normal_map=normal_map)
                registered = {"registration": moving.report} if isinstance(moving, RegisteredHeadOnSurface) else {}
                described = {"made": True, "level_of_detail": options.lod} | _described(avatar) | registered
                return avatar, {"avatar": described}
            against = moving
    check_vrm(outputs, against)
    if wanted and options.rig:
        log.warning("the avatar's file holds a plain mesh: %s", against)
    return None, {"avatar": {"made": False, "why": against}}


def _on_surface(built: Built, rooms: Rooms, progress: Progress) -> RegisteredHeadOnSurface | str:
    """The template on the surface, or why it is not there."""
    try:
        assert built.surface is not None, "only heads that can move come without one"
        head = rooms.rig_surface(built.views, built.surface, progress)
    except WeightsError as error:
        return f"no face could be looked for: {error}"
    if head is None:
        return "no face was found, or the surface does not have the form of one"
    log.info("a face was found in %d pictures of the head: it gets bones and expressions", head.face_view_count)
    return head


def _described(avatar: Avatar) -> dict[str, Any]:
    return {
        "triangles": {part.name: len(part.mesh.faces) for part in avatar.parts},
        "bones": [joint.name for joint in avatar.joints],
        "morph_targets": len(avatar.morph_names),
        "normal_map": any(part.mesh.normal_map is not None for part in avatar.parts),
    }
