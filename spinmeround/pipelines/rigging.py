"""Whether a run makes an avatar, which moves, or a plain mesh, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from spinmeround.errors import OutputError
from spinmeround.io.formats import AVATAR_SUFFIXES
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.rooms import Head
from spinmeround.pipelines.stages import Stages
from spinmeround.types import Avatar

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

    def avatar(self, *, lod: Literal[0, 1, 2], texture_px: int) -> Avatar:
        """The head with bones and morph targets, neutral at rest."""
        ...


def reason_against(options: RigOptions, *, prior: str, keep_expression: bool) -> str | None:
    """Why no avatar can be made, if so."""
    if not options.rig:
        return "--no-rig was asked for"
    if prior != "template":
        return "only the template prior makes avatars so far"
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


def make_avatar(
    head: Head | None, outputs: Outputs, options: RigOptions, stages: Stages, *, against: str | None
) -> tuple[Avatar | None, dict[str, Any]]:
    """The avatar, where an output wants one or there are no outputs, and the report's part about it."""
    wanted = any(path.suffix.lower() in AVATAR_SUFFIXES for path in outputs.meshes)
    if not wanted and (outputs.meshes or outputs.splats):
        return None, {}
    if against is not None or not isinstance(head, Riggable):
        why = against or "this head has no rig"
        check_vrm(outputs, why)
        if wanted and options.rig:
            log.info("the .glb is a plain mesh: %s", why)
        return None, {"avatar": {"made": False, "why": why}}
    stages.also("avatar")
    with stages("avatar"):
        avatar = head.avatar(lod=options.lod, texture_px=options.texture_px)
    return avatar, {"avatar": {"made": True, "level_of_detail": options.lod} | _described(avatar)}


def _described(avatar: Avatar) -> dict[str, Any]:
    return {
        "triangles": {part.name: len(part.mesh.faces) for part in avatar.parts},
        "bones": [joint.name for joint in avatar.joints],
        "morph_targets": len(avatar.morph_names),
    }
