"""What the user left open and what was taken for it, with the reason: `auto` always says."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass
from typing import Literal, assert_never

from spinmeround import weights
from spinmeround.errors import MissingDependencyError, WeightsError

log = logging.getLogger(__name__)

Prior = Literal["auto", "diffusion", "template"]
Device = Literal["auto", "cpu", "cuda"]

_CHECKPOINT = "spmr.ckpt"


@dataclass(frozen=True)
class Choice:
    """One decision."""

    asked: str
    took: str
    why: str


def choose_prior(asked: Prior) -> Choice:
    """Where the unseen sides of the head come from.

    Raises:
        WeightsError: the diffusion prior was asked for, and its weights are not there.
        MissingDependencyError: its weights are there, but this version cannot run them.
    """
    match asked:
        case "template":
            return Choice(asked, "template", "asked for")
        case "diffusion":
            raise _no_diffusion()
        case "auto":
            has_weights = (weights.folder() / _CHECKPOINT).is_file()
            why = (
                f"{_CHECKPOINT} is there, but version {_version()} cannot run it yet"
                if has_weights
                else "the one prior that needs no large weights"
            )
            return _told("prior", Choice(asked, "template", why))
        case _:
            assert_never(asked)


def choose_device(asked: Device) -> Choice:
    """Where the work is done.

    Raises:
        MissingDependencyError: CUDA was asked for, and gsplat or a card is missing.
    """
    match asked:
        case "cpu":
            return Choice(asked, "cpu", "asked for")
        case "cuda":
            from spinmeround.recon.raster_gsplat import GsplatRasterizer

            GsplatRasterizer()  # says what is missing now rather than after the first stages
            return Choice(asked, "cuda", "asked for; splats are fitted there, the other stages run on the CPU")
        case "auto":
            return _told("device", Choice(asked, "cpu", "runs everywhere and repeats to the byte"))
        case _:
            assert_never(asked)


def _told(what: str, choice: Choice) -> Choice:
    log.info("%s: %s (%s)", what, choice.took, choice.why)
    return choice


def _no_diffusion() -> WeightsError | MissingDependencyError:
    place = weights.folder() / _CHECKPOINT
    if place.is_file():
        return MissingDependencyError(
            f"--prior diffusion: {place} is there, but version {_version()} cannot run it yet; use --prior template"
        )
    wanted = weights.entry(_CHECKPOINT)
    return WeightsError(
        f"--prior diffusion needs {wanted.manual}, saved as {place}, and a later version than {_version()} to run it; "
        "use --prior template"
    )


def _version() -> str:
    return importlib.metadata.version("spinmeround")
