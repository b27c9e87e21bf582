"""What an avatar is asked to do: an expression for the preview, a recorded clip for the files that can hold one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinmeround.errors import OutputError
from spinmeround.io.formats import ANIMATED_SUFFIXES, AVATAR_SUFFIXES
from spinmeround.io.recordings.expressions import expression_weights
from spinmeround.io.recordings.live_link import read_live_link
from spinmeround.pipelines.outputs import Outputs
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES
from spinmeround.types import FaceClip


@dataclass(frozen=True)
class Acting:
    """What the avatar does.

    Attributes:
        expression: weights by ARKit's names, shown in the preview.
        clip: baked into every ``.glb`` and ``.usdz``.
    """

    expression: Mapping[str, float] = field(default_factory=dict)
    clip: FaceClip | None = None

    def described(self) -> dict[str, Any]:
        """For the report."""
        told: dict[str, Any] = {}
        if self.expression:
            told["expression"] = dict(self.expression)
        if self.clip is not None:
            told["animation"] = {"frames": len(self.clip), "seconds": round(float(self.clip.times_s[-1]), 3)}
        return told


def prepare(
    expression: Mapping[str, float] | None, animate: Path | None, outputs: Outputs, *, against: str | None
) -> Acting:
    """Reads and checks what is asked for, before any other work.

    Args:
        expression: how far, in [0, 1], by name.
        animate: CSV of Live Link Face.
        against: why there will be no avatar, if so.

    Raises:
        InputError: an unknown expression, a number out of range, or a clip that cannot be used.
        OutputError: nothing of the outputs can show it.
    """
    if expression:
        _check_possible("--expression", outputs, against, AVATAR_SUFFIXES)
        if outputs.preview is None:
            raise OutputError("--expression is shown in the preview, and none was asked for; add --preview FILE.png")
    if animate is not None:
        _check_possible("--animate", outputs, against, ANIMATED_SUFFIXES)
    return Acting(
        expression_weights(expression or {}, BLENDSHAPE_NAMES),
        None if animate is None else read_live_link(animate, BLENDSHAPE_NAMES),
    )


def _check_possible(option: str, outputs: Outputs, against: str | None, suffixes: tuple[str, ...]) -> None:
    if against is not None:
        raise OutputError(f"{option} needs an avatar, but {against}; leave one of them out")
    if not any(path.suffix.lower() in suffixes for path in outputs.meshes):
        kinds = " or ".join(suffixes)
        raise OutputError(f"{option} needs an avatar in a {kinds}, and none is written; add --out head.glb")
