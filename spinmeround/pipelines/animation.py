"""What an avatar is asked to do: an expression for the preview, a recorded clip for the files that can hold one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spinmeround.errors import OutputError
from spinmeround.io.formats import formats, suffixes
from spinmeround.io.recordings.expressions import expression_weights
from spinmeround.io.recordings.live_link import read_live_link
from spinmeround.pipelines.avatars import NoAvatar
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.settings import AvatarOptions
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES
from spinmeround.types import FaceClip


@dataclass(frozen=True)
class Animation:
    """What the avatar does.

    Attributes:
        expression: weights by ARKit's names, shown in the preview.
        clip: baked into every file that can hold one.
    """

    expression: Mapping[str, float] = field(default_factory=dict)
    clip: FaceClip | None = None

    def described(self) -> dict[str, Any]:
        """Return what the report says about it."""
        report: dict[str, Any] = {}
        if self.expression:
            report["expression"] = dict(self.expression)
        if self.clip is not None:
            report["animation"] = {"frames": len(self.clip), "seconds": round(float(self.clip.times_s[-1]), 3)}
        return report


def load_animation(options: AvatarOptions, outputs: Outputs, *, no_avatar: NoAvatar | None) -> Animation:
    """Read and check what is asked for, before any other work.

    Args:
        no_avatar: why there will be no avatar, if so.

    Raises:
        InputError: an unknown expression, a number out of range, or a clip that cannot be used.
        OutputError: nothing of the outputs can show it.
    """
    if options.expression:
        _check_possible("an expression", "avatar.expression", outputs, no_avatar, suffixes("avatar"))
        if outputs.preview is None:
            raise OutputError(
                "an expression is shown in the preview, and none was asked for; add one", settings=("preview",)
            )
    if options.animate is not None:
        animated = tuple(each.suffix for each in formats(holds="avatar") if each.animation)
        _check_possible("a clip", "avatar.animate", outputs, no_avatar, animated)
    return Animation(
        expression_weights(options.expression, BLENDSHAPE_NAMES),
        None if options.animate is None else read_live_link(options.animate, BLENDSHAPE_NAMES),
    )


def _check_possible(
    what: str, setting: str, outputs: Outputs, no_avatar: NoAvatar | None, known: tuple[str, ...]
) -> None:
    if no_avatar is not None:
        raise OutputError(
            f"{what} needs an avatar, but {no_avatar.reason}; leave one of them out",
            settings=(setting, *no_avatar.settings),
        )
    if not any(path.suffix.lower() in known for path in outputs.meshes):
        raise OutputError(
            f"{what} needs an avatar in a {' or '.join(known)}, and none is written; add a .glb", settings=(setting,)
        )
