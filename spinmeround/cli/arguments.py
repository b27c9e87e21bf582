"""What the commands share in reading their arguments: plain errors in one line, help with examples, lists of angles."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from spinmeround import registry
from spinmeround.configs import QUALITIES, preset
from spinmeround.io.formats import formats, suffixes

if TYPE_CHECKING:
    from spinmeround.pipelines.outputs import OutputOptions
    from spinmeround.pipelines.settings import RunSettings

Options = TypeVar("Options")
_ANGLE_LISTS = ("--azimuths", "--elevations")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what to do.

    Attributes:
        removed: options that no longer exist, with what to do instead.
    """

    def __init__(self, command: str, *, does: str, examples: Sequence[str], closing: str = "") -> None:
        lines = "\n".join(f"  {example}" for example in examples)
        super().__init__(
            prog=command,
            description=does,
            epilog=f"examples:\n{lines}\n" + (f"\n{closing}\n" if closing else ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.removed: dict[str, str] = {}

    def read(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Read arguments in any order, photos between options included."""
        given = _joined(sys.argv[1:] if argv is None else argv)
        # Misspelt options first: argparse would complain of what is missing because of them.
        known = [option for action in self._actions for option in action.option_strings]
        for word in given:
            option = word.split("=")[0]
            if option in self.removed:
                self.error(f"unknown option {option}: {self.removed[option]}")
            if option.startswith("--") and option != "--" and option not in known:
                close = difflib.get_close_matches(option, known, n=1)
                self.error(f"unknown option {option}" + (f" (perhaps {close[0]}?)" if close else ""))
        return self.parse_intermixed_args(given)

    def error(self, message: str) -> NoReturn:
        """End the program with one line."""
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help explains\n")


def angles(text: str) -> tuple[float, ...]:
    """Read ``0,30,-30`` as numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,30,-30, got {text!r}") from None


def positive(text: str) -> float:
    """Read a number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def expression(text: str) -> dict[str, float]:
    """Read ``jawOpen=0.6,happy=1`` as numbers by name."""
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(value) for name, value in pairs if name.strip() or value}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER such as jawOpen=0.6, got {text!r}") from None


def counted(text: str) -> int:
    """Read a whole number from 1."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"expected 1, 2, 3 ..., got {text!r}")
    return int(text)


def seed_number(text: str) -> int:
    """Read a whole number from 0."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def add_photos(parser: Parser) -> None:
    """Add the photos and how they are read."""
    group = parser.add_argument_group("photos")
    group.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="one or several photos of one person")
    _add_reading(
        group, poor="a result that would be poor is an error (status 8), and nothing but the report is written"
    )
    parser.removed["--keep-expression"] = "the photo's expression is kept by default; --neutral gives the face at rest"


def add_photo_options(parser: Parser) -> None:
    """Add how the photos of a batch are read."""
    group = parser.add_argument_group("how photos are read")
    _add_reading(group, poor="a head that would be poor fails, and is not written")


def _add_reading(group: argparse._ArgumentGroup, *, poor: str) -> None:
    group.add_argument(
        "--face", type=counted, metavar="N", help="take the N-th largest face of each photo (default: the largest)"
    )
    group.add_argument(
        "--neutral",
        action="store_true",
        help="splats, plain meshes and views show the face at rest (default: the expression of the first photo)",
    )
    group.add_argument(
        "--glasses",
        choices=("keep", "remove"),
        default="keep",
        help="keep glasses, painted on the face, or remove them: skin fills in for their frame (default: %(default)s)",
    )
    group.add_argument("--strict", action="store_true", help=poor)


def add_effort(parser: Parser) -> None:
    """Add how hard to try, and where."""
    group = parser.add_argument_group("how")
    group.add_argument(
        "--quality",
        choices=QUALITIES,
        default="standard",
        help="from a photo draft takes a quarter of a minute, standard half a minute, high some minutes; more from a "
        "folder of views (default: standard)",
    )
    group.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help="same photo, same seed, same bytes (default: 0)"
    )
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)"
    )


def add_stage_one_parts(parser: Parser) -> None:
    """Add the names of the parts that stage one is made with."""
    group = parser.add_argument_group("parts of stage one, by name")
    group.add_argument(
        "--prior",
        default="auto",
        metavar="NAME",
        help=f"where the unseen sides come from: {_names(registry.PRIORS)}; auto says what it takes and why "
        "(default: auto)",
    )
    group.add_argument(
        "--matte",
        default="selfie",
        metavar="NAME",
        help=f"who the person is: {_names(registry.MATTE_MODELS)} (default: selfie)",
    )
    group.add_argument(
        "--hair",
        default="auto",
        metavar="NAME",
        help=f"what of the person is hair: {_names(registry.HAIR_MODELS)} (default: auto, the best that can be had)",
    )


def add_stage_two_parts(parser: Parser) -> None:
    """Add the names of the parts that stage two is made with."""
    group = parser.add_argument_group("parts of stage two, by name")
    group.add_argument(
        "--surface",
        default="mesh",
        metavar="NAME",
        help=f"how the surface is fitted: {_names(registry.SURFACE_FITTERS)}; neural fits a signed distance: minutes "
        "more, for normals that are off smoothly (default: mesh)",
    )
    group.add_argument(
        "--splat-fitter",
        default="gaussians",
        metavar="NAME",
        help=f"how splats are fitted: {_names(registry.SPLAT_FITTERS)} (default: gaussians)",
    )
    group.add_argument(
        "--rasterizer",
        default="auto",
        metavar="NAME",
        help=f"what draws splats in a fit: {_names(registry.RASTERIZERS)} (default: auto, by the device)",
    )


def _names(parts: registry.Registry) -> str:
    return ", ".join(parts.names())


def add_diffusion(parser: Parser) -> None:
    """Add how the diffusion model is run."""
    group = parser.add_argument_group("--prior diffusion")
    group.add_argument(
        "--identity", type=Path, metavar="FILE.npy", help="ArcFace embedding of the person (default: from the photos)"
    )
    counts = ", ".join(f"{preset(quality).diffusion_views} {quality}" for quality in QUALITIES)
    group.add_argument("--views", type=int, choices=(8, 48, 88), help=f"how many in all (default: {counts})")
    group.add_argument("--steps", type=counted, metavar="N", help="of the sampler (default: 50, as published)")
    group.add_argument(
        "--guidance", type=positive, metavar="G", help="scale; 1 is none and takes half the time (default: 3.5)"
    )
    group.add_argument(
        "--solver",
        choices=("euler", "dpmpp-2m", "unipc"),
        help="euler is the published one; the others need half the steps (default: euler)",
    )
    group.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        help="of the network; 16 bits halve its memory (default: float32, on CUDA float16)",
    )
    group.add_argument(
        "--views-at-once", type=counted, metavar="N", help="fewer take less memory and agree less (default: 8)"
    )
    group.add_argument(
        "--low-memory", action="store_true", help="networks visit the GPU one at a time, pictures come in tiles"
    )


def add_avatar(parser: Parser) -> None:
    """Add how an avatar is made."""
    group = parser.add_argument_group(f"avatar ({', '.join(suffixes('avatar'))})")
    group.add_argument("--no-rig", action="store_true", help="the .glb is a plain mesh that does not move")
    group.add_argument(
        "--lod", type=int, choices=(0, 1, 2), default=0, help="about 30,000, 12,000 or 4,000 triangles (default: 0)"
    )
    group.add_argument(
        "--texture-size", type=int, choices=(256, 512, 1024, 2048), default=2048, help="in pixels (default: 2048)"
    )
    out = "of the photo's light taken out of an avatar's skin, 0 to 1 (default: 0.7)"
    group.add_argument("--delight", type=float, default=0.7, metavar="FRACTION", help=out)
    group.add_argument(
        "--avatar-hair",
        choices=("cards", "shell"),
        default="cards",
        help="cards: strips with opacity, which look like strands, at --lod 0 and 1; shell: a closed surface, for "
        "printing, sculpting and programs without opacity (default: cards)",
    )
    group.add_argument(
        "--expression",
        action="append",
        type=expression,
        metavar="NAME=WEIGHT",
        help="show jawOpen=0.6 or happy=1,tongueOut=0.5 in the preview; ARKit's names or VRM's presets, 0 to 1",
    )
    group.add_argument(
        "--animate", type=Path, metavar="CLIP.csv", help="bake a recording by Live Link Face into the .glb or .usdz"
    )


def add_hair_file(parser: Parser) -> None:
    """Add the file the strands of hair go to."""
    names = suffixes("hair")
    parser.add_argument_group(f"hair strands ({', '.join(names)})").add_argument(
        "--hair-out",
        type=Path,
        metavar=f"FILE{names[0]}",
        help="also write the hair as strands, curves for Blender; a bald or shaved head gets none, and a warning",
    )


def add_head_files(parser: Parser) -> None:
    """Add the files a head goes to."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out",
        action="append",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"file to write; {_contents()}; repeat it for several files",
    )
    _add_head_contents(group)
    group.add_argument("--preview", type=Path, metavar="FILE.png", help="contact sheet: photo, colours, normals")
    group.add_argument("--turntable", type=Path, metavar="FILE.mp4", help="video of one turn")
    add_report(group)


def _contents() -> str:
    """Say what files of which names hold."""
    avatars = suffixes("avatar")
    meshes = [suffix for suffix in suffixes("mesh") if suffix not in (".ply", *avatars)]
    splats = [suffix for suffix in suffixes("splats") if suffix not in avatars]
    return f"{' '.join(splats)} hold splats, {' '.join(avatars)} an avatar, {' '.join(meshes)} a mesh"


def add_batch_files(parser: Parser) -> None:
    """Add where many heads go to, and the files each of them gets."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder or URL; gets heads/NAME/ of each head, and batch.csv, batch.parquet and batch.html of all",
    )
    group.add_argument(
        "--formats",
        default="ply",
        metavar="A,B",
        help=f"each head gets a file of each: {_contents()}, {' or '.join(suffixes('hair'))} strands of hair "
        "(default: ply)",
    )
    _add_head_contents(group)


def _add_head_contents(group: argparse._ArgumentGroup) -> None:
    """Add what is in the files of a head."""
    group.add_argument(
        "--ply", choices=("splats", "mesh"), default="splats", help="what a .ply holds (default: splats)"
    )
    group.add_argument(
        "--glb",
        choices=("avatar", "splats", "both"),
        default="avatar",
        help="what a .glb holds; both are two scenes of one file, the avatar's first; splats in glTF are "
        "KHR_gaussian_splatting (default: avatar)",
    )
    holding = dict.fromkeys(
        each.suffix for each in (*formats(holds="avatar"), *formats(holds="mesh")) if each.normal_map
    )
    group.add_argument(
        "--normal-map",
        action="store_true",
        help=f"meshes shade like the fine surface they were made from ({' '.join(holding)})",
    )
    counts = ", ".join(f"{preset(quality).splats['count']} {quality}" for quality in QUALITIES)
    group.add_argument("--splats", type=counted, metavar="N", help=f"at most (default: {counts})")
    group.add_argument("--height-m", type=positive, metavar="M", help="height of the head in metres (default: 0.23)")


def add_report(group: argparse._ArgumentGroup) -> None:
    """Add the report."""
    group.add_argument(
        "--report", type=Path, metavar="FILE.json", help="choices and why, quality, times, memory, fit errors, licences"
    )


FLAGS = {
    "photo.face": "--face",
    "photo.neutral": "--neutral",
    "photo.glasses": "--glasses",
    "photo.matte": "--matte",
    "photo.hair": "--hair",
    "capture.normal_frame": "--normal-frame",
    "capture.cameras": "--cameras",
    "capture.view_size_px": "--view-size",
    "capture.skip_missing": "--skip-missing",
    "mesh.faces": "--faces",
    "mesh.lods": "--lods",
    "mesh.normal_map": "--normal-map",
    "avatar.rig": "--no-rig",
    "avatar.lod": "--lod",
    "avatar.texture_px": "--texture-size",
    "avatar.delight": "--delight",
    "avatar.hair": "--avatar-hair",
    "avatar.expression": "--expression",
    "avatar.animate": "--animate",
    "diffusion.identity": "--identity",
    "diffusion.views": "--views",
    "diffusion.steps": "--steps",
    "diffusion.guidance": "--guidance",
    "diffusion.solver": "--solver",
    "diffusion.precision": "--precision",
    "diffusion.views_at_once": "--views-at-once",
    "diffusion.low_memory": "--low-memory",
    "quality": "--quality",
    "prior": "--prior",
    "surface": "--surface",
    "splat_fitter": "--splat-fitter",
    "rasterizer": "--rasterizer",
    "device": "--device",
    "seed": "--seed",
    "splats": "--splats",
    "height_m": "--height-m",
    "ply": "--ply",
    "glb": "--glb",
    "preview": "--preview",
    "report": "--report",
    "turntable": "--turntable",
    "hair": "--hair-out",
    "strict": "--strict",
    "directions.azimuths": "--azimuths",
    "directions.elevations": "--elevations",
    "directions.orbit": "--orbit",
}
"""What the commands call the settings that errors are about, by the settings' dotted names."""


def run_settings(given: argparse.Namespace) -> RunSettings:
    """Return the settings that a command was given; what it has no flag for keeps its default."""
    from spinmeround.pipelines.settings import (
        AvatarOptions,
        CaptureOptions,
        DiffusionOptions,
        MeshOptions,
        PhotoOptions,
        RunSettings,
    )

    return _filled(
        RunSettings,
        given,
        photo=_filled(PhotoOptions, given),
        capture=_filled(CaptureOptions, given, view_size_px="view_size"),
        mesh=_filled(MeshOptions, given),
        avatar=_filled(
            AvatarOptions,
            given,
            rig=not getattr(given, "no_rig", False),
            texture_px="texture_size",
            hair="avatar_hair",
            expression=_merged(getattr(given, "expression", None)),
        ),
        diffusion=_filled(DiffusionOptions, given),
    )


def _filled(options: type[Options], given: argparse.Namespace, **more: Any) -> Options:
    """Fill a dataclass of options from arguments of the same names.

    Args:
        more: values of fields, or, as strings, the names of arguments that are called differently.
    """
    values = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = more.get(field.name, field.name)
        if isinstance(value, str):
            if not hasattr(given, value):
                continue
            value = getattr(given, value)
        values[field.name] = value
    return options(**values)


def _merged(expressions: Sequence[dict[str, float]] | None) -> dict[str, float]:
    """Return what all ``--expression`` say together, the last word for each name."""
    return {name: weight for each in expressions or () for name, weight in each.items()}


def output_options(given: argparse.Namespace) -> OutputOptions:
    """Return what a command writes beside its results."""
    from spinmeround.pipelines.outputs import OutputOptions

    return _filled(OutputOptions, given, views="views_out", hair="hair_out")


def add_talk(parser: Parser) -> None:
    """Add how much to say."""
    group = parser.add_argument_group("talk").add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    group.add_argument("--verbose", action="store_true", help="say everything")


def _joined(given: Sequence[str]) -> list[str]:
    """``--azimuths -30,30`` as ``--azimuths=-30,30``: else a list that begins with a minus looks like an option."""
    joined: list[str] = []
    for word in given:
        if joined and joined[-1] in _ANGLE_LISTS and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
