"""What the commands share in reading their arguments: plain errors in one line, help with examples, lists of angles."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from spinmeround.pipelines.avatars import RigOptions
    from spinmeround.pipelines.diffusion_options import DiffusionOptions

_ANGLE_LISTS = ("--azimuths", "--elevations")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what to do."""

    def __init__(self, command: str, *, does: str, examples: Sequence[str], closing: str = "") -> None:
        lines = "\n".join(f"  {example}" for example in examples)
        super().__init__(
            prog=command,
            description=does,
            epilog=f"examples:\n{lines}\n" + (f"\n{closing}\n" if closing else ""),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Arguments in any order, photos between options included."""
        given = _joined(sys.argv[1:] if argv is None else argv)
        # Misspelt options first: argparse would complain of what is missing because of them.
        known = [option for action in self._actions for option in action.option_strings]
        for word in given:
            option = word.split("=")[0]
            if option.startswith("--") and option != "--" and option not in known:
                close = difflib.get_close_matches(option, known, n=1)
                self.error(f"unknown option {option}" + (f" (perhaps {close[0]}?)" if close else ""))
        return self.parse_intermixed_args(given)

    def error(self, message: str) -> NoReturn:
        """Ends the program with one line."""
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help explains\n")


def angles(text: str) -> tuple[float, ...]:
    """``0,30,-30`` as numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,30,-30, got {text!r}") from None


def positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def expression(text: str) -> dict[str, float]:
    """``jawOpen=0.6,happy=1`` as numbers by name."""
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(value) for name, value in pairs if name.strip() or value}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER such as jawOpen=0.6, got {text!r}") from None


def counted(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"expected 1, 2, 3 ..., got {text!r}")
    return int(text)


def seed_number(text: str) -> int:
    """A whole number from 0."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def add_photos(parser: Parser) -> None:
    """The photos and how they are read."""
    group = parser.add_argument_group("photos")
    group.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="one or several photos of one person")
    group.add_argument(
        "--face", type=counted, metavar="N", help="take the N-th largest face of each photo (default: the largest)"
    )
    group.add_argument(
        "--keep-expression", action="store_true", help="keep the expression of the first photo (default: neutral)"
    )


def add_how(parser: Parser, *, with_prior: bool) -> None:
    """How hard to try, and with what."""
    group = parser.add_argument_group("how")
    group.add_argument(
        "--quality",
        choices=("draft", "standard", "high"),
        default="standard",
        help="draft: under half a minute; standard: a minute or so; high: several minutes (default: standard)",
    )
    if with_prior:
        group.add_argument(
            "--prior",
            choices=("auto", "diffusion", "template"),
            default="auto",
            help="where the unseen sides come from; auto says what it takes and why (default: auto)",
        )
    group.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help="same photo, same seed, same bytes (default: 0)"
    )
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)"
    )


def add_diffusion(parser: Parser) -> None:
    """How the diffusion model is run."""
    group = parser.add_argument_group("--prior diffusion")
    group.add_argument(
        "--identity", type=Path, metavar="FILE.npy", help="ArcFace embedding of the person (default: from the photos)"
    )
    group.add_argument(
        "--views", type=int, choices=(8, 48, 88), help="how many in all (default: 8 draft, 48 standard, 88 high)"
    )
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
        "--low-memory", action="store_true", help="networks visit the card one at a time, pictures come in tiles"
    )


def diffusion_options(given: argparse.Namespace) -> DiffusionOptions:
    """What ``add_diffusion`` read."""
    from spinmeround.pipelines.diffusion_options import DiffusionOptions

    return DiffusionOptions(
        identity=given.identity,
        views=given.views,
        steps=given.steps,
        guidance=given.guidance,
        solver=given.solver,
        precision=given.precision,
        views_at_once=given.views_at_once,
        low_memory=given.low_memory,
    )


def add_rig(parser: Parser) -> None:
    """How an avatar is made."""
    group = parser.add_argument_group("avatar (.glb, .vrm, .usdz)")
    group.add_argument("--no-rig", action="store_true", help="the .glb is a plain mesh that does not move")
    group.add_argument(
        "--lod", type=int, choices=(0, 1, 2), default=0, help="about 30,000, 12,000 or 4,000 triangles (default: 0)"
    )
    group.add_argument(
        "--texture-size", type=int, choices=(256, 512, 1024, 2048), default=2048, help="in pixels (default: 2048)"
    )
    group.add_argument(
        "--expression",
        action="append",
        type=expression,
        metavar="NAME=SHARE",
        help="show jawOpen=0.6 or happy=1,tongueOut=0.5 in the preview; ARKit's names or VRM's presets, 0 to 1",
    )
    group.add_argument(
        "--animate", type=Path, metavar="CLIP.csv", help="bake a recording by Live Link Face into the .glb or .usdz"
    )


def rig_options(given: argparse.Namespace) -> RigOptions:
    """What ``add_rig`` read."""
    from spinmeround.pipelines.avatars import RigOptions

    return RigOptions(rig=not given.no_rig, lod=given.lod, texture_px=given.texture_size)


def expression_asked(given: argparse.Namespace) -> dict[str, float]:
    """What all ``--expression`` say together, the last word for each name."""
    return {name: share for each in given.expression or () for name, share in each.items()}


def add_head_files(parser: Parser) -> None:
    """The files a head goes to."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out",
        action="append",
        type=Path,
        required=True,
        metavar="FILE",
        help="file to write; .ply .spz .splat hold splats, .glb .obj .usdz meshes; repeat it for several files",
    )
    group.add_argument(
        "--ply", choices=("splats", "mesh"), default="splats", help="what a .ply holds (default: splats)"
    )
    group.add_argument(
        "--normal-map",
        action="store_true",
        help="meshes shade like the fine surface they were made from (.glb .vrm .usdz .obj)",
    )
    group.add_argument(
        "--splats",
        type=counted,
        metavar="N",
        help="at most (default: 60000 draft, 200000 standard, 400000 high)",
    )
    group.add_argument("--height-m", type=positive, metavar="M", help="height of the head in metres (default: 0.23)")
    group.add_argument("--preview", type=Path, metavar="FILE.png", help="contact sheet: photo, colours, normals")
    group.add_argument("--turntable", type=Path, metavar="FILE.mp4", help="video of one turn")
    add_report(group)


def add_report(group: argparse._ArgumentGroup) -> None:
    """The report."""
    group.add_argument(
        "--report", type=Path, metavar="FILE.json", help="choices and why, times, memory, fit errors, licences"
    )


def add_talk(parser: Parser) -> None:
    """How much to say."""
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
