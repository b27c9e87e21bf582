"""``spmr-batch``: many photos, on one machine or a cluster of Ray, to a head each."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import (
    Parser,
    add_avatar,
    add_batch_files,
    add_diffusion,
    add_effort,
    add_photo_options,
    add_stage_one_parts,
    add_stage_two_parts,
    add_talk,
    counted,
    run_settings,
    seed_number,
)
from spinmeround.cli.console import run, stderr_console

if TYPE_CHECKING:
    from spinmeround.batch.head import Recipe
    from spinmeround.batch.plan import Selection
    from spinmeround.batch.run import BatchResult, Progress
    from spinmeround.runtime.stages import Watch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = parser().read(argv)

    def action(_: Watch) -> None:
        from spinmeround.batch.plan import Selection

        selection = Selection(shard=given.shard, limit=given.limit)
        if given.dry_run:
            _foretell(given, selection)
        else:
            _make(given, selection)

    return run("spmr-batch", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """Return what the command understands."""
    made = Parser(
        "spmr-batch",
        does="Many photos, or lists of photos, to a 3D head each: on all cores of this machine, or on a Ray cluster.",
        examples=(
            "spmr-batch photos/ --out heads/                               every photo in a folder, as splats",
            "spmr-batch photos/ --out heads/ --dry-run                     what that would do, how long, how large",
            "spmr-batch 'photos/*.jpg' --out heads/ --formats ply,glb --quality draft",
            "spmr-batch people.csv --out heads/                            a list: photo, name, any setting by row",
            "spmr-batch s3://bucket/photos --out s3://bucket/heads         needs s3fs; gs:// needs gcsfs",
            "spmr-batch photos/ --out heads/ --address auto                on the cluster this machine belongs to",
            "spmr-batch photos/ --out heads/ --shard 3/10                  the third tenth, one of ten such commands",
        ),
        closing=(
            "Stop it as you like: the same command makes only what is missing or whose photo or settings changed.\n"
            "A list is .csv, .jsonl or .parquet: photo (or photos, with ; between several of one person), name, and\n"
            "settings by their names in RunSettings, such as quality, seed, photo.face.\n"
            "A photo that fails costs its own head only: batch.csv says why, and the status is 9.\n"
            "The photos go nowhere but to the machines of the cluster."
        ),
    )
    made.add_argument_group("photos").add_argument(
        "photos", nargs="+", metavar="PHOTOS", help="photos, folders, patterns, lists; paths or URLs; one head a photo"
    )
    add_batch_files(made)
    _add_selection(made)
    _add_cluster(made)
    add_photo_options(made)
    add_effort(made)
    add_avatar(made)
    add_stage_one_parts(made)
    add_stage_two_parts(made)
    add_diffusion(made)
    add_talk(made)
    return made


def _add_selection(parser: Parser) -> None:
    group = parser.add_argument_group("which heads")
    group.add_argument("--limit", type=counted, metavar="N", help="the first N only")
    group.add_argument(
        "--shard", type=_shard, metavar="I/N", help="the I-th of N parts, by name; a run without it joins the tables"
    )
    group.add_argument("--dry-run", action="store_true", help="only say what would be done, how long, how large")


def _add_cluster(parser: Parser) -> None:
    group = parser.add_argument_group("where (Ray)")
    group.add_argument(
        "--address", metavar="auto|HOST:PORT", help="a running cluster (default: this machine, with all its cores)"
    )
    group.add_argument("--cpus-per-head", type=counted, default=1, metavar="N", help="cores a head (default: 1)")
    group.add_argument(
        "--memory-mb", type=counted, metavar="MB", help="memory a head (default: by quality and formats)"
    )
    group.add_argument(
        "--retries",
        type=seed_number,
        default=3,
        metavar="N",
        help="how often a head whose process or node died is tried again (default: 3)",
    )


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,6})/([1-9]\d{0,6})", text)
    if match is None or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"expected a part of how many, such as 1/10, got {text!r}")
    return int(match[1]), int(match[2])


def _make(given: argparse.Namespace, selection: Selection) -> None:
    """Make the heads.

    Raises:
        HeadsFailedError: not all of them could be made.
    """
    from spinmeround.batch.ray_executor import RayExecutor, RayOptions
    from spinmeround.batch.run import kinds, run_batch
    from spinmeround.errors import HeadsFailedError

    options = RayOptions(given.address, given.cpus_per_head, given.memory_mb, given.retries)
    executor = RayExecutor(options)
    recipe = _recipe(given)
    with _progress_line(given.quiet) as tell:
        result = run_batch(given.photos, recipe, executor, selection=selection, tell=tell)
    _say(result)
    if result.failures:
        failed = sum(result.failures.values())
        raise HeadsFailedError(
            f"{failed} of {result.wanted} heads failed ({kinds(result.failures)}); {result.table} says why"
        )


def _recipe(given: argparse.Namespace) -> Recipe:
    from spinmeround.batch.many import make_recipe

    return make_recipe(
        given.out,
        settings=run_settings(given),
        formats=given.formats.split(","),
        ply=given.ply,
        glb=given.glb,
        strict=given.strict,
    )


def _say(result: BatchResult) -> None:
    import logging

    made = result.done - result.present
    logging.getLogger(__name__).info(
        "%d of %d heads are there, %d of them new: %s", result.done, result.wanted, made, result.table
    )


def _foretell(given: argparse.Namespace, selection: Selection) -> None:
    """Print what would be done."""
    from spinmeround.batch.estimate import foretell

    told = foretell(given.photos, _recipe(given), selection=selection, cpus_per_head=given.cpus_per_head)
    sys.stdout.write(told + "\n")


@contextmanager
def _progress_line(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Yield what shows the progress in one line at the bottom of a terminal; None where there is none."""
    from rich.status import Status

    console = stderr_console()
    if quiet or not console.is_terminal:
        yield None
        return
    with Status("planning", console=console) as status:
        yield lambda progress: status.update(progress.sentence)
