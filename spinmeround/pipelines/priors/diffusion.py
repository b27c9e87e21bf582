"""The diffusion prior: the SpinMeRound model with its published weights, and whether this machine has what it needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround import weights
from spinmeround.configs import Quality, preset
from spinmeround.errors import InputError, ResourceError, WeightsError
from spinmeround.orbits import ORBITS
from spinmeround.pipelines.priors.directions import Direction, direction_stem, photo_stems
from spinmeround.pipelines.settings import DiffusionOptions, RunSettings
from spinmeround.protocols import StageRunner
from spinmeround.runtime.memory import free_bytes
from spinmeround.types import Cameras, Licence, Portrait, PriorResult, Progress, ViewRequest, Views

if TYPE_CHECKING:
    from spinmeround.diffusion.model.placement import DevicePlacement

log = logging.getLogger(__name__)

CHECKPOINT = "spmr.ckpt"
CONVERTED = "spinmeround"
ENCODER = "models/encoder/pytorch_model.bin"
RECOGNITION = "glintr100.onnx"

_LEVEL: tuple[Direction, ...] = ORBITS["spin-48"]
VIEWS: dict[int, tuple[Direction, ...]] = {
    8: ORBITS["orbit-8"],
    48: _LEVEL,
    88: _LEVEL + tuple((18.0 * k, 20.0) for k in range(20)) + tuple((18.0 * k + 9.0, -20.0) for k in range(20)),
}
"""The paper's 48 views of one turn; 88 with two more turns, seen from above and from below."""
_PUBLISHED_STEPS = 50
_STEP_SECONDS = {"cpu": 12.0, "cuda": 0.1}
"""Of one view and step of the model: a guess, corrected while it runs."""


class DiffusionPrior:
    """``Prior`` on the multi-view diffusion model. The expression is that of the photos."""

    def __init__(self, settings: RunSettings) -> None:
        """Check that the model, and what tells it who the person is, are there.

        Raises:
            InputError: the identity given cannot be used, or an option is out of range.
            WeightsError: the model or the recognition network is absent.
            MissingDependencyError: the recognition network is there, but not what runs it.
        """
        check_ready(settings.diffusion, device=settings.device)
        self._settings, self._options = settings, settings.diffusion

    @property
    def licences(self) -> Sequence[Licence]:
        """The checkpoint, its text encoder, and the recognition network where it was used."""
        names = (CHECKPOINT, ENCODER, *([RECOGNITION] if self._options.identity is None else []))
        return [Licence("model", name, weights.entry(name).licence) for name in names]

    def planned_stages(self, request: ViewRequest) -> Mapping[str, float]:
        """Plan recognising the person and sampling the views.

        Raises:
            InputError: directions and a number of views were both asked for.
        """
        if self._options.views is not None and request.directions is not None:
            raise InputError("a number of views and directions were both given; give one of them")
        steps = self._options.steps or _PUBLISHED_STEPS
        views = len(directions_of(self._options, self._settings.quality))
        seconds = views * steps * _STEP_SECONDS["cuda" if self._settings.device == "cuda" else "cpu"]
        return {"identity": preset(self._settings.quality).seconds["identity"], "views": seconds}

    def generate(
        self, portraits: Sequence[Portrait], request: ViewRequest, *, seed: int, stages: StageRunner
    ) -> PriorResult:
        """Recognise the person, then sample the views.

        Directions are counted from the first photo on where the photos' cameras come first, else from the head's front.

        Raises:
            ResourceError: not enough memory.
            FitError: the model's pictures hold NaN.
        """
        with stages("identity"):
            portraits = self._identify(portraits)
        with stages("views") as progress:
            cameras, names = self._cameras(portraits, request)
            views = self._sample(portraits, cameras, seed=seed, progress=progress)
        inside = views.alpha > 0.5
        trust = round(float(views.weight[inside].mean()), 4) if inside.any() else 0.0
        report = {"views": len(views), "trust": trust, "with_normals": bool(views.normals_world.any())}
        return PriorResult(replace(views, names=names), {"diffusion": report})

    def _identify(self, portraits: Sequence[Portrait]) -> list[Portrait]:
        from spinmeround.diffusion.identity import ArcFace, identified, read_identity

        if self._options.identity is not None:
            return identified(portraits, [read_identity(self._options.identity)])
        network = ArcFace(weights.path(RECOGNITION, fetch=False))
        return identified(portraits, [network.embed(portrait) for portrait in portraits])

    def _cameras(self, portraits: Sequence[Portrait], request: ViewRequest) -> tuple[Cameras, tuple[str, ...]]:
        from spinmeround.diffusion.camera import photo_poses
        from spinmeround.diffusion.generator import cameras_toward, rig_cameras
        from spinmeround.diffusion.portrait_crop import MODEL_PX

        directions = request.directions or directions_of(self._options, self._settings.quality)
        if not request.photo_cameras:
            cameras = cameras_toward(portraits, directions, size_px=MODEL_PX)
            return cameras, tuple(direction_stem(*direction) for direction in directions)
        cameras, photos = rig_cameras(portraits, directions, size_px=MODEL_PX)
        own = photo_poses(portraits)
        return cameras, (*photo_stems(photos), *(direction_stem(*d) for d in directions if d not in own))

    def _sample(self, portraits: Sequence[Portrait], cameras: Cameras, *, seed: int, progress: Progress) -> Views:
        """Check that it can be done, load the model, say on a CPU how slow it will be, and run it."""
        from spinmeround.diffusion.camera import photo_poses, rig_of
        from spinmeround.diffusion.generator import DiffusionGenerator
        from spinmeround.diffusion.model.placement import DevicePlacement
        from spinmeround.diffusion.pipeline import SpinMeRoundPipeline
        from spinmeround.diffusion.sampling.cost import expected_seconds, in_words
        from spinmeround.diffusion.sampling.passes import plan

        options, device = self._options, self._settings.device
        sampling = options.sampling()
        precision = options.precision or ("float16" if device == "cuda" else "float32")
        placement = DevicePlacement(device, precision, offload=options.low_memory, tiled_vae=options.low_memory)
        poses, own = rig_of(portraits[0]).poses(cameras), photo_poses(portraits)
        plan(own, poses, views_at_once=sampling.views_at_once)
        progress(0.0, "loading the model")
        path = checkpoint_path()
        assert path is not None, "checked before the run began"
        if device == "cpu":
            _check_model_fits(path, placement, views_at_once=sampling.views_at_once)
        load = SpinMeRoundPipeline.from_pretrained if path.is_dir() else SpinMeRoundPipeline.from_single_file
        model = load(path, placement=placement)
        if device == "cpu":
            seconds = expected_seconds(model.parts.unet, own, poses, sampling=sampling, size_px=cameras.width_px)
            log.warning(
                "on this CPU the diffusion model needs about %s for %d views; fewer views, the solver unipc with 24 "
                "steps, a guidance of 1 or a GPU make it shorter",
                in_words(seconds),
                len(cameras),
            )
        return DiffusionGenerator(model, sampling=sampling, progress=progress).generate(portraits, cameras, seed=seed)


def directions_of(options: DiffusionOptions, quality: Quality) -> tuple[Direction, ...]:
    """Return where the model is asked to look from.

    Raises:
        InputError: no such number of views.
    """
    count = options.views if options.views is not None else preset(quality).diffusion_views
    if count not in VIEWS:
        raise InputError(f"{count} views: there are {', '.join(map(str, VIEWS))}", settings=("diffusion.views",))
    return VIEWS[count]


def checkpoint_path() -> Path | None:
    """Return the model on this machine: the folder ``spmr-convert`` made if there is one, else the checkpoint."""
    converted, published = weights.folder() / CONVERTED, weights.folder() / CHECKPOINT
    if (converted / "model_index.json").is_file():
        return converted
    return published if published.is_file() else None


def check_ready(options: DiffusionOptions, *, device: str) -> None:
    """Check that all the model needs is there, before any work is done.

    Raises:
        InputError: the identity given cannot be used, or an option is out of range.
        WeightsError: the model or the recognition network is absent; the message says where from, under which licence,
            and where to.
        MissingDependencyError: the recognition network is there, but not what runs it.
    """
    if checkpoint_path() is None:
        wanted, encoder, place = weights.entry(CHECKPOINT), weights.entry(ENCODER), weights.folder()
        raise WeightsError(
            f"the diffusion prior needs {wanted.manual} [{wanted.licence}] saved as {place / CHECKPOINT}, and, if "
            f"it is without its text encoder, {encoder.manual} [{encoder.licence}] in {(place / ENCODER).parent}; "
            "until then use the template prior",
            settings=("prior",),
        )
    options.sampling().check()
    if options.precision == "float16" and device != "cuda":
        raise InputError(
            "float16 needs a GPU; on a CPU use bfloat16, or choose the device cuda",
            settings=("diffusion.precision", "device"),
        )
    if options.identity is not None:
        from spinmeround.diffusion.identity import read_identity

        read_identity(options.identity)
        return
    network = weights.folder() / RECOGNITION
    if not network.is_file():
        licence = weights.entry(RECOGNITION).licence
        raise WeightsError(
            f"the diffusion prior reads the identity of the face with {network}, which is absent. Its licence is "
            f"{licence}. If that suits you, run: spmr-weights fetch {RECOGNITION}; else give an ArcFace embedding as a "
            ".npy file",
            settings=("diffusion.identity",),
        )
    from spinmeround.diffusion.identity import check_runtime

    check_runtime()


def _check_model_fits(path: Path, placement: DevicePlacement, *, views_at_once: int) -> None:
    """Check that the model fits into what is free: most systems end a program that takes more without a word.

    Raises:
        ResourceError: it does not.
    """
    from spinmeround.diffusion.model.checkpoint import count_numbers
    from spinmeround.diffusion.model.placement import what_to_lower
    from spinmeround.diffusion.sampling.cost import expected_bytes

    needed = expected_bytes(count_numbers(path), placement=placement, views_at_once=views_at_once)
    free = free_bytes()
    if free < needed:
        raise ResourceError(
            f"the diffusion model needs {needed / 1e9:.1f} GB of free memory and {free / 1e9:.1f} GB are free; "
            f"{what_to_lower(placement, views_at_once)}"
        )
