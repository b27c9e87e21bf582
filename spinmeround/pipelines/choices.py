"""What the user left open, what was selected for it, and why: ``auto`` always says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from spinmeround.errors import InputError, MissingDependencyError, WeightsError
from spinmeround.pipelines.priors.diffusion import check_ready, checkpoint_path
from spinmeround.pipelines.settings import Device, DiffusionOptions, RunSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """One decision."""

    requested: str
    selected: str
    reason: str

    def described(self) -> dict[str, str]:
        """Return the decision as the report has it."""
        return {"asked": self.requested, "took": self.selected, "why": self.reason}


def resolve(settings: RunSettings, *, with_prior: bool) -> tuple[RunSettings, dict[str, Choice]]:
    """Settle all that settings leave open.

    Args:
        with_prior: whether stage one runs too.

    Returns:
        Settings without ``auto``, and each decision by name.

    Raises:
        InputError: options of the diffusion prior were given for another, or a face at rest was asked of it.
        MissingDependencyError: a device was requested that is not to be had.
    """
    device = _announced("device", choose_device(settings.device))
    choices = {"device": device, "quality": Choice(settings.quality, settings.quality, "asked for")}
    settings = replace(settings, device=device.selected)
    if with_prior:
        prior = choose_prior(
            settings.prior, device=device.selected, options=settings.diffusion, neutral=settings.photo.neutral
        )
        _announced("prior", prior)
        hair = _announced("hair", choose_hair(settings.photo.hair))
        choices = {"prior": prior, "hair": hair} | choices
        settings = replace(settings, prior=prior.selected, photo=replace(settings.photo, hair=hair.selected))
    return settings, choices


def choose_prior(requested: str, *, device: str, options: DiffusionOptions, neutral: bool = False) -> Choice:
    """Select where the unseen sides of the head come from.

    Args:
        device: the one selected; on a CPU the diffusion prior takes hours and is never taken unasked.
        options: of the diffusion prior.
        neutral: whether the face is to be at rest, which the diffusion prior cannot do.

    Raises:
        InputError: options of the diffusion prior were given for another, or a face at rest was asked of it.
    """
    if requested != "diffusion" and options.given:
        raise InputError(
            f"{', '.join(options.given)}: only the diffusion prior knows this; choose it or leave it out",
            settings=("prior", *(f"diffusion.{name}" for name in options.given)),
        )
    if requested == "diffusion" and neutral:
        raise InputError(
            "the diffusion prior keeps the photo's expression; take the template prior for a face at rest",
            settings=("photo.neutral", "prior"),
        )
    if requested == "auto":
        return _auto_prior(device, options, neutral=neutral)
    return Choice(requested, requested, "asked for")


def choose_hair(requested: str) -> Choice:
    """Select what finds hair."""
    if requested != "auto":
        return Choice(requested, requested, "asked for")
    from spinmeround.portrait.hair_segmentation import choose_hair_network

    return Choice(requested, *choose_hair_network())


def warn_of_substitutes(choices: Mapping[str, Choice]) -> None:
    """Say, once the photos are understood, what stood in for something better."""
    hair = choices["hair"]
    if hair.requested == "auto" and hair.selected == "builtin":
        log.warning("hair was found by the package's own small network: %s", hair.reason)


def choose_device(requested: Device) -> Choice:
    """Select where the work is done.

    Raises:
        MissingDependencyError: CUDA was requested, and gsplat or a GPU is missing.
    """
    match requested:
        case "cpu":
            return Choice(requested, "cpu", "asked for")
        case "cuda":
            from spinmeround.recon.raster.gsplat_backend import GsplatRasterizer

            GsplatRasterizer()  # says what is missing now rather than after the first stages
            return Choice(
                requested,
                "cuda",
                "asked for; splats, neural surface and diffusion model are there, all else on the CPU",
            )
        case "auto":
            return Choice(requested, "cpu", "runs everywhere and repeats to the byte")
        case _:
            assert_never(requested)


def _announced(what: str, choice: Choice) -> Choice:
    if choice.requested == "auto":
        log.info("%s: %s (%s)", what, choice.selected, choice.reason)
    return choice


def _auto_prior(device: str, options: DiffusionOptions, *, neutral: bool) -> Choice:
    if checkpoint_path() is None:
        return Choice("auto", "template", "the one prior that needs no large weights")
    if device != "cuda":
        return Choice("auto", "template", "the diffusion model is there, but takes hours without a GPU")
    if neutral:
        return Choice("auto", "template", "the diffusion model is there, but keeps the photo's expression")
    try:
        check_ready(options, device=device)
    except (WeightsError, MissingDependencyError) as error:
        return Choice("auto", "template", f"the diffusion model is there, but not all it needs: {error}")
    return Choice("auto", "diffusion", "the model and all it needs are there, and so is a GPU")
