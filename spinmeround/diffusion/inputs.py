"""Inputs, settings and outputs of the SpinMeRound model: plain arrays, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.types import Progress

Solver = Literal["euler", "dpmpp-2m", "unipc"]
Pose = tuple[float, float]
"""(azimuth, elevation) in degrees, as in CONVENTIONS.md: (0, 0) faces the subject."""

ANCHORS: tuple[Pose, ...] = tuple((azimuth, 0.0) for azimuth in (45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0))
"""The views that are sampled first, together (section 3.3 of the SpinMeRound paper, arXiv 2504.10716)."""
IDENTITY_SIZE = 512
"""Numbers of an ArcFace embedding."""
LEAST_VIEWS_AT_ONCE = 2
"""One given view and one to sample."""
_MOST_STEPS, _MOST_GUIDANCE = 1000, 100.0
_UNIT_TOLERANCE = 1e-3
"""Of the length of an embedding: larger than the rounding of 16-bit floats."""


@dataclass(frozen=True)
class Conditioning:
    """The photos of one person, cropped like the training pictures, and the identity.

    Attributes:
        rgb: sRGB in [0, 1], 512 × 512 for the published model: square crops around the head, upright, white background.
        poses: the direction each photo was taken from; one frontal photo is ``((0, 0),)``.
        identity: ArcFace embedding of unit length, 512 numbers.
    """

    rgb: Float[np.ndarray, "n h w 3"]
    poses: Sequence[Pose]
    identity: Float[np.ndarray, "e"]


def identity_problem(identity: np.ndarray) -> str | None:
    """Describe why an array is no ArcFace embedding of unit length, and what to do; None if it is one."""
    if identity.dtype.kind != "f" or identity.shape != (IDENTITY_SIZE,):
        return f"an ArcFace embedding is {IDENTITY_SIZE} fractions, got {identity.dtype} of shape {identity.shape}"
    if not np.isfinite(identity).all():
        return "the embedding holds NaN or infinity; compute it again"
    length = float(np.linalg.norm(identity.astype(np.float64)))
    if abs(length - 1) > _UNIT_TOLERANCE:
        return f"the embedding has length {length:.4g}, expected 1; divide it by its length"
    return None


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler. The defaults are the published code's.

    Attributes:
        steps: UNet steps of each multi-view pass.
        normals_steps: UNet steps of the pass that finds the photos' normals.
        guidance: scale of classifier-free guidance; 1 is none and halves the work. The paper's text uses 3.
        guidance_sigmas: guidance is active where ``low <= sigma <= high`` only; elsewhere half the work is saved, and
            results differ from the published sampler's (arXiv 2404.07724).
        dense_sigmas: the network is evaluated at every noise level between these two, at every third of the levels
            above, and at none of those below. ``(0.01, 80)`` saves a quarter of the steps and more. On small models
            that moved the result by less than the error of the solver; the upper end of 80 is scaled from them to
            512 × 512 pixels by the pictures' side and is untried with the published weights.
        solver: ``euler`` is the published sampler. ``dpmpp-2m`` and ``unipc`` follow the same equation with a second
            order multistep rule on the same sigmas: the same quality in fewer steps, but other pictures than Euler's.
        views_at_once: most views in one joint pass, conditioning views included. The model learned 8; fewer need less
            memory and are less consistent, since only views of one pass attend to each other.
    """

    steps: int = 50
    normals_steps: int = 50
    guidance: float = 3.5
    guidance_sigmas: tuple[float, float] = (0.0, float("inf"))
    dense_sigmas: tuple[float, float] = (0.0, float("inf"))
    solver: Solver = "euler"
    views_at_once: int = 8

    def check(self) -> None:
        """Check the settings.

        Raises:
            InputError: some are out of range; all of them are named.
        """
        wrong = []
        for count, what in ((self.steps, "steps"), (self.normals_steps, "steps for normals")):
            if not 1 <= count <= _MOST_STEPS:
                wrong.append(f"{count} {what}: 1 to {_MOST_STEPS} are possible")
        # Written so that a NaN fails too.
        if not 0 <= self.guidance <= _MOST_GUIDANCE:
            wrong.append(f"guidance {self.guidance:g}: it lies between 0 and {_MOST_GUIDANCE:g}")
        for (low, high), what in ((self.guidance_sigmas, "guidance"), (self.dense_sigmas, "every level")):
            if not 0 <= low <= high:
                wrong.append(f"{what} between sigmas {low} and {high}: they must rise from 0")
        if self.views_at_once < LEAST_VIEWS_AT_ONCE:
            wrong.append(f"{self.views_at_once} views at once: a pass needs {LEAST_VIEWS_AT_ONCE}, one of them given")
        if wrong:
            raise InputError("; ".join(wrong))


@dataclass(frozen=True)
class ModelViews:
    """Pictures as the model's decoder gives them, one for each requested pose and in that order.

    Attributes:
        rgb: sRGB in [0, 1]; the background is near white.
        normals: pictures of the world-frame normals, (n + 1) / 2 in [0, 1], grey 0.5 outside the head; not unit length.
        poses: the direction of each view. For a photo's own pose the view is that photo with its normals.
        input_normals: the same for the photos themselves.
        unet_passes: views the UNet has evaluated in all, the cost of the run.
    """

    rgb: Float[np.ndarray, "v h w 3"]
    normals: Float[np.ndarray, "v h w 3"]
    poses: tuple[Pose, ...]
    input_normals: Float[np.ndarray, "n h w 3"]
    unet_passes: int = 0


@runtime_checkable
class ViewSampler(Protocol):
    """Interface of the model: photos to views. ``pipeline.SpinMeRoundPipeline`` implements it."""

    def __call__(
        self,
        conditioning: Conditioning,
        poses: Sequence[Pose],
        *,
        seed: int,
        sampling: Sampling,
        progress: Progress,
    ) -> ModelViews:
        """Sample views of the person from each of ``poses``.

        With more poses than fit into one joint pass, the seven ``ANCHORS`` come first, and then the views between them
        from the photos and the two nearest anchors. The same seed gives the same views; noise is drawn on the CPU, so a
        seed means the same on every device.

        Args:
            poses: at least one; elevations within ±85 degrees.
            progress: called after every step.

        Raises:
            InputError: no pose or no photo, an absurd angle, sizes that do not fit, an embedding that is not of unit
                length, or settings out of range.
            ResourceError: not enough memory; the message says what to lower.
        """
        ...
