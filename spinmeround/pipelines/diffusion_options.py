"""What a user may ask of the diffusion prior, and whether this machine has what it needs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spinmeround import weights
from spinmeround.configs import Quality
from spinmeround.errors import InputError, WeightsError
from spinmeround.orbits import RIGS

if TYPE_CHECKING:
    from spinmeround.diffusion.inputs import Sampling

CHECKPOINT = "spmr.ckpt"
CONVERTED = "spinmeround"
ENCODER = "models/encoder/pytorch_model.bin"
RECOGNITION = "glintr100.onnx"

Direction = tuple[float, float]
"""Azimuth and elevation, degrees."""

_LEVEL: tuple[Direction, ...] = RIGS["spin-48"]
VIEWS: dict[int, tuple[Direction, ...]] = {
    8: RIGS["orbit-8"],
    48: _LEVEL,
    88: _LEVEL + tuple((18.0 * k, 20.0) for k in range(20)) + tuple((18.0 * k + 9.0, -20.0) for k in range(20)),
}
"""Directions as the model counts them, from the first photo on, by how many views there are in all."""
_VIEWS_OF: dict[Quality, int] = {"draft": 8, "standard": 48, "high": 88}


@dataclass(frozen=True)
class DiffusionOptions:
    """How the diffusion model is run. What is left at None takes the published code's value, or follows the quality.

    Attributes:
        identity: file with an ArcFace embedding; by default it is computed from the photos.
        views: 8, 48 or 88 in all.
        steps: of the sampler; 50 as published.
        guidance: 3.5 as published; 1 is none and halves the work.
        solver: ``euler`` as published; the others need about half the steps.
        precision: of the network; ``float16`` on CUDA, else ``float32``.
        views_at_once: in one joint pass, 8 as published; fewer need less memory and agree less.
        low_memory: networks visit the card one at a time, pictures are decoded in tiles.
    """

    identity: Path | None = None
    views: int | None = None
    steps: int | None = None
    guidance: float | None = None
    solver: Literal["euler", "dpmpp-2m", "unipc"] | None = None
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    views_at_once: int | None = None
    low_memory: bool = False

    def sampling(self) -> Sampling:
        """How the model is sampled."""
        from spinmeround.diffusion.inputs import Sampling

        asked = {name: getattr(self, name) for name in ("steps", "guidance", "solver", "views_at_once")}
        return Sampling(**{name: value for name, value in asked.items() if value is not None})

    @property
    def given(self) -> list[str]:
        """Names of the options somebody set."""
        return [field.name for field in fields(self) if getattr(self, field.name) not in (None, False)]


def directions_of(options: DiffusionOptions, quality: Quality) -> tuple[Direction, ...]:
    """Where the model is asked to look from.

    Raises:
        InputError: no such number of views.
    """
    count = options.views if options.views is not None else _VIEWS_OF[quality]
    if count not in VIEWS:
        raise InputError(f"--views {count}: there are {', '.join(map(str, VIEWS))}")
    return VIEWS[count]


def checkpoint_path() -> Path | None:
    """The model on this machine: the folder ``spmr-convert`` made if there is one, else the checkpoint as published."""
    converted, published = weights.folder() / CONVERTED, weights.folder() / CHECKPOINT
    if (converted / "model_index.json").is_file():
        return converted
    return published if published.is_file() else None


def check_ready(options: DiffusionOptions, *, device: str) -> None:
    """Asks for everything the model needs before any work is done.

    Raises:
        InputError: the identity given cannot be used, or an option is out of range.
        WeightsError: the model or the recognition network is absent; the message says where from, under which licence,
            and where to.
        MissingDependencyError: the recognition network is there, but not what runs it.
    """
    if checkpoint_path() is None:
        wanted, encoder, place = weights.entry(CHECKPOINT), weights.entry(ENCODER), weights.folder()
        raise WeightsError(
            f"--prior diffusion needs {wanted.manual} [{wanted.licence}] saved as {place / CHECKPOINT}, and, if it is "
            f"without its text encoder, {encoder.manual} [{encoder.licence}] in {(place / ENCODER).parent}; "
            "until then use --prior template"
        )
    options.sampling().check()
    if options.precision == "float16" and device != "cuda":
        raise InputError("--precision float16 is for a card; on a CPU use --precision bfloat16, or add --device cuda")
    if options.identity is not None:
        from spinmeround.diffusion.identity import read_identity

        read_identity(options.identity)
        return
    network = weights.folder() / RECOGNITION
    if not network.is_file():
        licence = weights.entry(RECOGNITION).licence
        raise WeightsError(
            f"--prior diffusion reads the identity of the face with {network}, which is absent. Its licence is "
            f"{licence}. If that suits you, run: spmr-weights fetch {RECOGNITION}; else give an ArcFace embedding with "
            "--identity FILE.npy"
        )
    from spinmeround.diffusion.identity import check_runtime

    check_runtime()
