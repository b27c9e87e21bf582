"""Everything that changes a result, in one place: ``RunSettings`` and the groups of options it is made of.

A command, a server's job, a batch row, the report and the key of a resumed run are all made from ``RunSettings``; what
is not in it does not change what a run makes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spinmeround.configs import Quality
from spinmeround.errors import InputError
from spinmeround.io.formats import untextured_suffixes
from spinmeround.io.views.normal_frames import NormalFrame

if TYPE_CHECKING:
    from spinmeround.diffusion.inputs import Sampling

Device = Literal["auto", "cpu", "cuda"]
GlassesChoice = Literal["keep", "remove"]
"""Leave glasses painted on the face, or fill in skin for their frame."""
HairStyle = Literal["cards", "shell"]
"""Hair of avatars as strips that follow its strands, or as one closed surface."""
CameraTrust = Literal["auto", "keep", "register"]
"""Refine cameras that turn out to be off, keep all as they are, or refine all before anything else."""

_FACES = 20_000
_FEWEST_FACES = 500
_FACES_PER_LEVEL = 4
"""Each level of detail has a quarter of the faces of the one before."""


@dataclass(frozen=True)
class PhotoOptions:
    """How photos are read.

    Attributes:
        face: which face to take where a photo has several, 1 for the largest; by default the largest.
        neutral: splats, plain meshes and views show the face at rest; by default they show the expression of the first
            photo. Avatars rest neutral either way.
        glasses: ``keep`` leaves them painted on the face, ``remove`` fills in skin for their frame.
        matte: name of the matte model.
        hair: name of the hair model; ``auto`` takes the best that can be had.
    """

    face: int | None = None
    neutral: bool = False
    glasses: GlassesChoice = "keep"
    matte: str = "selfie"
    hair: str = "auto"


@dataclass(frozen=True)
class CaptureOptions:
    """How a folder of posed views is read.

    Attributes:
        normal_frame: the frame of the normals, whatever the folder says.
        cameras: ``keep`` leaves them where the folder has them, ``register`` refines all of them before the surface is
            fitted, ``auto`` refines those that turn out to be off.
        view_size_px: longer side the pictures are read at; by default the quality's.
        skip_missing: whether frames whose files are not all there are left out, with a warning.
    """

    normal_frame: NormalFrame | None = None
    cameras: CameraTrust = "auto"
    view_size_px: int | None = None
    skip_missing: bool = False


@dataclass(frozen=True)
class MeshOptions:
    """A plain mesh and its levels of detail; an avatar has its own.

    Attributes:
        faces: of the finest, met within 2 % where the surface has that many. By default 20,000, and formats without a
            texture hold the whole surface.
        lods: how many coarser ones there are, each with a quarter of the faces of the one before.
        normal_map: whether meshes and avatars carry the normals of the finest surface there is.
    """

    faces: int | None = None
    lods: int = 0
    normal_map: bool = False

    def __post_init__(self) -> None:
        if self.faces_of(self.lods) < _FEWEST_FACES:
            raise InputError(
                f"a mesh of {self.faces_of(self.lods)} faces is no head any more; ask for {_FEWEST_FACES} or more on "
                "the coarsest level",
                settings=("mesh.faces", "mesh.lods"),
            )

    @property
    def is_levelled(self) -> bool:
        """Whether a number of faces or levels of detail were asked for."""
        return self.faces is not None or self.lods > 0

    def faces_of(self, level: int) -> int:
        """Return the face budget of a level, 0 the finest."""
        return (self.faces or _FACES) // _FACES_PER_LEVEL**level

    def holds_whole_surface(self, mesh: Path) -> bool:
        """Whether a mesh file holds the whole surface: its format has no texture, and no number of faces was given."""
        return mesh.suffix.lower() in untextured_suffixes() and not self.is_levelled

    def level_files(self, meshes: Iterable[Path]) -> dict[Path, int]:
        """Return where the coarser levels go, ``head_lod1.glb`` beside ``head.glb``, and which level that is."""
        return {
            path.with_name(f"{path.stem}_lod{level}{path.suffix}"): level
            for path in meshes
            for level in range(1, self.lods + 1)
        }


@dataclass(frozen=True)
class AvatarOptions:
    """How an avatar is made, and what it does.

    Attributes:
        rig: whether files that can hold an avatar hold one; else they hold a plain mesh.
        lod: level of detail: about 30,000, 12,000 or 4,000 triangles.
        texture_px: side of the skin's texture.
        delight: fraction of the photos' light that is taken out of the skin's colours, in [0, 1].
        hair: ``cards``, strips with opacity, look like strands from near; ``shell``, a closed surface, is for printing,
            sculpting, and programs without opacity. Level of detail 2 and hair without strands are a shell.
        expression: shown by the avatar in the preview: numbers in [0, 1] by ARKit's names or VRM's presets.
        animate: a CSV of Live Link Face, baked into the files that can hold a clip.
    """

    rig: bool = True
    lod: Literal[0, 1, 2] = 0
    texture_px: int = 2048
    delight: float = 0.7
    hair: HairStyle = "cards"
    expression: Mapping[str, float] = field(default_factory=dict)
    animate: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.delight <= 1:
            raise InputError(
                f"the light can be taken out by a fraction from 0 to 1, not by {self.delight:g}; 0 keeps the photo's",
                settings=("avatar.delight",),
            )


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
        low_memory: networks visit the GPU one at a time, pictures are decoded in tiles.
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
        """Return how the model is sampled."""
        from spinmeround.diffusion.inputs import Sampling

        given = {name: getattr(self, name) for name in ("steps", "guidance", "solver", "views_at_once")}
        return Sampling(**{name: value for name, value in given.items() if value is not None})

    @property
    def given(self) -> list[str]:
        """Names of the options that differ from their defaults."""
        return [each.name for each in dataclasses.fields(self) if getattr(self, each.name) != each.default]


@dataclass(frozen=True)
class RunSettings:
    """All that changes a result beside the inputs and the version of the package.

    Attributes:
        quality: how much time is spent; ``configs/presets.toml`` has what it means.
        prior: name of what the unseen sides come from; ``auto`` chooses and says why.
        surface: name of the surface fitter.
        splat_fitter: name of the splat fitter.
        rasterizer: name of the rasteriser; ``auto`` follows the device.
        device: where the diffusion model, the splats and the neural surface are computed.
        seed: the same inputs, settings and versions give the same bytes on the same kind of processor.
        splats: how many at most; by default the quality's number.
        height_m: height of the head in metres, for formats that have a unit; by default 0.23.
    """

    quality: Quality = "standard"
    prior: str = "auto"
    surface: str = "mesh"
    splat_fitter: str = "gaussians"
    rasterizer: str = "auto"
    device: Device = "auto"
    seed: int = 0
    splats: int | None = None
    height_m: float | None = None
    photo: PhotoOptions = PhotoOptions()
    capture: CaptureOptions = CaptureOptions()
    mesh: MeshOptions = MeshOptions()
    avatar: AvatarOptions = field(default_factory=AvatarOptions)
    diffusion: DiffusionOptions = DiffusionOptions()

    def files(self) -> Iterator[Path]:
        """Yield the files that settings name; their bytes change the result as well."""
        yield from (path for path in (self.diffusion.identity, self.avatar.animate) if path is not None)


def run_key(settings: RunSettings, inputs: Iterable[Path]) -> str:
    """Digest everything that a result depends on: settings, bytes of the inputs, version of the package.

    Args:
        settings: resolved ones, with no ``auto`` left where a choice was made.
        inputs: the files that are read, in their order, folders with all their files; the files that settings name are
            added.
    """
    digest = hashlib.sha256(importlib.metadata.version("spinmeround").encode())
    digest.update(json.dumps(dataclasses.asdict(settings), sort_keys=True, default=str).encode())
    for path in (*inputs, *settings.files()):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            digest.update(file.name.encode("utf-8", "surrogateescape"))
            digest.update(_file_digest(file))
    return digest.hexdigest()[:32]


def _file_digest(path: Path) -> bytes:
    """Digest a file's bytes; one that cannot be read has a digest too, and the run says what is wrong with it."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return b"unreadable"
