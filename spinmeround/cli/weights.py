"""``spmr-weights``: which model files there are, whether they are in order, and getting them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import Parser, add_talk
from spinmeround.cli.console import run, stderr_console

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch
    from spinmeround.weights import Entry, State


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = parser().read(argv)

    def action(_: Watch) -> None:
        if given.action == "fetch":
            _fetch(given.names, quiet=given.quiet)
        elif given.action == "verify":
            _verify(given.names)
        else:
            _list(given.names)

    return run("spmr-weights", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """What the command understands."""
    made = Parser(
        "spmr-weights",
        does="The model files: list them, fetch what is missing, verify what is there.",
        examples=(
            "spmr-weights list",
            "spmr-weights fetch                          everything that is free to fetch, once",
            "spmr-weights fetch face_landmarker.task",
            "spmr-weights verify                         exit status 4 if a file is absent or wrong",
        ),
        closing="Files live in SPMR_WEIGHTS, else in weights/ of a checkout, else in the user's cache folder.",
    )
    made.add_argument(
        "action", nargs="?", default="list", choices=("list", "fetch", "verify"), help="what to do (default: list)"
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="which files (default: all)")
    add_talk(made)
    return made


def _list(names: Sequence[str]) -> None:
    """Each file with its state, licence and purpose, on stdout."""
    from spinmeround import weights

    sys.stdout.write(f"folder: {weights.folder()}\n")
    for entry, state, sentence in _chosen(names):
        size = f"{entry.size / 1e6:.1f} MB" if entry.size is not None else "size not fixed"
        sys.stdout.write(f"\n{entry.name}  [{state}]  {size}\n")
        sys.stdout.write(f"  needed by  {entry.needed_by}\n  licence    {entry.licence}\n")
        if state == "wrong":
            sys.stdout.write(f"  problem    {sentence}\n")
        elif state == "absent":
            how = f"put it there by hand: {entry.manual}" if entry.manual else f"spmr-weights fetch {entry.name}"
            sys.stdout.write(f"  to get it  {how}\n")


def _fetch(names: Sequence[str], *, quiet: bool) -> None:
    """Fetch one after the other, with a bar on a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from spinmeround import weights

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = stderr_console()
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def progressed(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        paths = weights.fetch(names or None, progress=progressed)
    if not quiet:
        sys.stdout.writelines(f"in order: {path}\n" for path in paths)


def _verify(names: Sequence[str]) -> None:
    """Check sizes and checksums.

    Raises:
        WeightsError: a file is wrong, or absent though it can be fetched.
    """
    from spinmeround.errors import WeightsError

    faults = []
    for entry, state, sentence in _chosen(names):
        sys.stdout.write(f"{state:9s}  {entry.name}  {sentence}\n")
        if state == "wrong" or (state == "absent" and (names or (entry.needed_by_all and not entry.optional))):
            faults.append(entry.name)
    if faults:
        raise WeightsError(f"not in order: {', '.join(faults)}; run: spmr-weights fetch")


def _chosen(names: Sequence[str]) -> list[tuple[Entry, State, str]]:
    from spinmeround import weights

    for name in names:
        weights.entry(name)  # says which names there are
    return [one for one in weights.verify() if not names or one[0].name in names]
