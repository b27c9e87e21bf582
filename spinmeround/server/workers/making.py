"""The process that makes one head: what is slow to import is there before the job comes."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from spinmeround.errors import InputError, SpinMeRoundError, is_out_of_memory
from spinmeround.server.options import REPORT, HeadOptions, is_hair
from spinmeround.server.store import FILES, PHOTOS, WORK
from spinmeround.server.workers.lines import Lines, step_back

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Stages
    from spinmeround.types import Reconstruction

log = logging.getLogger(__name__)

_LOOKS_PER_S = 20
_SAYS_PER_S = 4
_LOCK = "work.lock"


Reconstruct = Callable[..., "Reconstruction"]
"""Makes a head and writes its files, as ``spinmeround.reconstruct`` does."""


def main(reconstruct: Reconstruct | None = None) -> int:
    """Wait for one job, do it, say how it went, and end."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    lines = Lines()
    step_back()
    if reconstruct is None:
        reconstruct = _imported()
    job = lines.hear()
    if job is None:
        return 0
    lines.end_with_the_server()
    try:
        do_job(Path(job["folder"]), HeadOptions.model_validate(job["options"]), job["file"], reconstruct, lines)
    except SpinMeRoundError as error:
        lines.say(event="failed", kind=type(error).__name__, message=_sentence(error, job["folder"]))
    except Exception as error:
        if is_out_of_memory(error):
            lines.say(event="failed", kind="ResourceError", message="not enough memory; close other programs")
        else:
            log.error("a head could not be made\n%s", traceback.format_exc())
            message = f"a defect of this program: {type(error).__name__}; its log says more"
            lines.say(event="failed", kind="Defect", message=message)
    else:
        lines.say(event="done")
    return 0


def _imported() -> Reconstruct:
    from spinmeround.pipelines import stage_two  # noqa: F401 - its parts are imported before the job comes
    from spinmeround.pipelines.reconstruct import reconstruct

    return reconstruct


def do_job(folder: Path, options: HeadOptions, file: str | None, reconstruct: Reconstruct, lines: Lines) -> None:
    """Make a head, or one more file of it, in the head's ``work``, and move it to ``files`` when whole.

    A job that was ended half-way goes on from its last finished stage.

    Raises:
        SpinMeRoundError: see ``reconstruct``.
    """
    with FileLock(folder / _LOCK):  # one that a server left behind ends in a moment
        work = folder / WORK
        files = folder / FILES
        if file is None and files.is_dir():
            return  # the server ended before it could note that the head was whole
        _clear(work)
        with _temporary_files_in(work / "temporary"):
            if file is None:
                _make_all(folder, options, reconstruct, lines)
            else:
                _make_one(folder, options, file, reconstruct, lines)
        if file is None:
            work.rename(files)
        else:
            for made in sorted(work.iterdir(), key=lambda path: path.name == file):  # itself last
                made.replace(files / made.name)
            work.rmdir()


def _make_all(folder: Path, options: HeadOptions, reconstruct: Reconstruct, lines: Lines) -> None:
    from spinmeround.pipelines.report import write_report

    work = folder / WORK
    out, beside = options.outputs(work, options.names(), preview=True)
    made = reconstruct(_photos(folder), out=out, settings=options.run_settings(), outputs=beside, watch=_watch(lines))
    write_report(work / REPORT, {**made.report, "files": [path.name for path in made.files]})


def _make_one(folder: Path, options: HeadOptions, file: str, reconstruct: Reconstruct, lines: Lines) -> None:
    """Make one more file: splats from the splats that are there, everything else as the command would."""
    work, files = folder / WORK, folder / FILES
    kept = _kept_splats(files, options)
    if kept is not None and _holds_splats(file, options):
        from spinmeround.io import read_splats, write_splats

        write_splats(work / file, read_splats(kept, metres_per_unit=1), metres_per_unit=1)
        return
    # With a height the size depends on what is made together.
    names = [file] if options.height_m is None else [*options.names(), file]
    if is_hair(Path(file).suffix):
        names = [*(name for name in options.names() if not is_hair(Path(name).suffix)), file]
    out, beside = options.outputs(work, names, preview=False)
    reconstruct(_photos(folder), out=out, settings=options.run_settings(), outputs=beside, watch=_watch(lines))
    for name in set(names) - {file}:
        (work / name).unlink(missing_ok=True)
    if not (work / file).exists():
        raise InputError(f"{file} was not made: the head has no hair")


def _kept_splats(files: Path, options: HeadOptions) -> Path | None:
    """Return the exact splats of a finished head, if it has them."""
    kept = files / "head.ply"
    return kept if options.ply == "splats" and kept.is_file() else None


def _holds_splats(name: str, options: HeadOptions) -> bool:
    from spinmeround.io.formats import output_kinds

    return not is_hair(Path(name).suffix) and output_kinds(name, ply=options.ply) == ("splats",)


def _photos(folder: Path) -> list[Path]:
    return sorted((folder / PHOTOS).glob("photo_*"), key=lambda path: int(path.stem.removeprefix("photo_")))


def _clear(work: Path) -> None:
    """Leave of an earlier try only what its finished stages made."""
    work.mkdir(exist_ok=True)
    for left in work.iterdir():
        if left.name.endswith(".unfinished") and left.is_dir() and not left.is_symlink():
            continue
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Keep temporary files in the folder of the head, so that they go with it."""
    folder.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def _sentence(error: SpinMeRoundError, folder: str) -> str:
    """Return what an error says in one line, without the places of this machine's files."""
    return " ".join(str(error).replace(f"{folder}/{PHOTOS}/", "").replace(f"{folder}/{WORK}/", "").split())


def _watch(lines: Lines) -> Any:
    @contextmanager
    def watch(stages: Stages) -> Iterator[None]:
        """Say from a thread how far the run is: at once where a stage begins, else some times a second."""
        ended = threading.Event()

        def look() -> None:
            before, waits = None, 0
            while not ended.is_set():
                seen = (stages.current, len(stages.records), stages.planned)
                if seen != before or waits >= _LOOKS_PER_S // _SAYS_PER_S:
                    lines.say(event="progress", **_progress(stages))
                    before, waits = seen, 0
                waits += 1
                ended.wait(1 / _LOOKS_PER_S)

        thread = threading.Thread(target=look, name="spinmeround-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    return watch


def _progress(stages: Stages) -> dict[str, Any]:
    from spinmeround.runtime.stages import sentence

    done, current = {record.stage: record.seconds for record in list(stages.records)}, stages.current
    # Some stages are found to be needed on the way, and are planned last, though they come before others.
    begun = [*done] if current is None else [*done, current]
    order: dict[str, None] = dict.fromkeys([*begun, *stages.planned])
    described = [
        {
            "stage": stage,
            "title": sentence(stage),
            "state": "running" if stage == current else "done" if stage in done else "waiting",
            "seconds": round(done[stage], 2) if stage in done and stage != current else None,
        }
        for stage in order
    ]
    return {
        "stages": described,
        "fraction": round(stages.fraction_done, 3),
        "seconds_left": round(stages.seconds_left, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
