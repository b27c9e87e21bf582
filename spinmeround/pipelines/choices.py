"""What the user left open and what was taken for it, with the reason: `auto` always says."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, assert_never

from spinmeround.configs import Quality
from spinmeround.errors import InputError, MissingDependencyError, WeightsError
from spinmeround.pipelines.diffusion_options import DiffusionOptions, check_ready, checkpoint_path

log = logging.getLogger(__name__)

Prior = Literal["auto", "diffusion", "template"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Choice:
    """One decision."""

    asked: str
    took: str
    why: str


def choose(*, prior: Prior, device: Device, quality: Quality, options: DiffusionOptions) -> dict[str, Choice]:
    """All that a run with photos leaves open; see ``choose_prior`` and ``choose_device``."""
    where = choose_device(device)
    return {
        "prior": choose_prior(prior, device=where.took, options=options),
        "device": where,
        "quality": Choice(quality, quality, "asked for"),
    }


def choose_prior(asked: Prior, *, device: str, options: DiffusionOptions) -> Choice:
    """Where the unseen sides of the head come from.

    Args:
        device: what was taken; on a CPU the diffusion prior takes hours and is never taken unasked.
        options: of the diffusion prior.

    Raises:
        InputError: options of the diffusion prior were given for another, or its identity cannot be used.
        WeightsError, MissingDependencyError: the diffusion prior was asked for, and something it needs is not there.
    """
    if asked != "diffusion" and options.given:
        given = ", ".join("--" + name.replace("_", "-") for name in options.given)
        raise InputError(f"{given}: only the diffusion prior knows this; add --prior diffusion or leave it out")
    match asked:
        case "template":
            return Choice(asked, "template", "asked for")
        case "diffusion":
            check_ready(options, device=device)
            return Choice(asked, "diffusion", "asked for")
        case "auto":
            return _told("prior", _auto_prior(device, options))
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
            from spinmeround.recon.raster.gsplat_backend import GsplatRasterizer

            GsplatRasterizer()  # says what is missing now rather than after the first stages
            return Choice(
                asked, "cuda", "asked for; splats, neural surface and diffusion model are there, all else on the CPU"
            )
        case "auto":
            return _told("device", Choice(asked, "cpu", "runs everywhere and repeats to the byte"))
        case _:
            assert_never(asked)


def _told(what: str, choice: Choice) -> Choice:
    log.info("%s: %s (%s)", what, choice.took, choice.why)
    return choice


def _auto_prior(device: str, options: DiffusionOptions) -> Choice:
    if checkpoint_path() is None:
        return Choice("auto", "template", "the one prior that needs no large weights")
    if device != "cuda":
        return Choice("auto", "template", "the diffusion model is there, but takes hours without --device cuda")
    try:
        check_ready(options, device=device)
    except (WeightsError, MissingDependencyError) as error:
        return Choice("auto", "template", f"the diffusion model is there, but not all it needs: {error}")
    return Choice("auto", "diffusion", "the model and all it needs are there, and so is a card")
