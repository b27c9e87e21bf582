"""``spmr-convert``: the published checkpoint into a diffusers folder of safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import Parser, add_talk
from spinmeround.cli.console import run

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = parser().read(argv)

    def action(_: Watch) -> None:
        from spinmeround.diffusion.model.convert import convert

        convert(given.checkpoint, given.out, config=given.config)

    return run("spmr-convert", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """What the command understands."""
    made = Parser(
        "spmr-convert",
        does="The published SpinMeRound checkpoint into a folder of safetensors that diffusers opens too.",
        examples=("spmr-convert weights/spmr.ckpt --out weights/spinmeround",),
        closing=(
            "Nothing in the checkpoint is run. models/encoder and tokenizer beside it are used where they are there.\n"
            "Every key is checked; a file with missing, unknown or misshapen ones is refused."
        ),
    )
    made.add_argument("checkpoint", type=Path, metavar="FILE.ckpt", help="the checkpoint as published")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    made.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="JSON or TOML that says how the networks look, laid out as the published inference configuration "
        "(default: the published model)",
    )
    add_talk(made)
    return made
