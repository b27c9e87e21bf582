"""The commands in processes of their own, with a stand-in for each part, and what can go wrong around them.

A sphere stands for the head, so that a command takes half a second and nearly all it does is reading and writing. Each
run is forked from a server that has imported everything, and leaves what it said and how it ended.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import importlib
import io
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_SECONDS = 120
_VOLATILE = ("seconds", "peak_memory_mb", "stages", "resumed")
"""What differs between two reports of the same run."""
_TABLES = re.compile(r"batch\..*|head\.json")
"""Of these only the presence is compared: they hold times, and benchmarks/batch.py reads their rows."""

Fault = Callable[[], None]
"""Called in the new process before the command."""


@dataclass(frozen=True)
class Job:
    """A command, run in a folder that has its inputs in ``in`` and gets its results in ``out``.

    Attributes:
        refused: a second run at the same time may end with this status.
        stand_ins: whether a sphere takes the place of the head; else the parts themselves run.
    """

    name: str
    arguments: tuple[str, ...]
    refused: int = 0
    stand_ins: bool = True

    @property
    def module(self) -> str:
        """Where the command's ``main`` is."""
        return f"spinmeround.cli.{self.name}"


JOBS = {
    job.name: job
    for job in (
        Job(
            "recon",
            (
                *(
                    "in/photo.jpg",
                    "--out",
                    "out/a.ply",
                    "--out",
                    "out/a.glb",
                    "--out",
                    "out/a.obj",
                    "--quality",
                    "draft",
                ),
                *("--views-out", "out/views", "--preview", "out/a.png", "--report", "out/a.json"),
            ),
        ),
        Job("views", ("in/photo.jpg", "--out", "out/views", "--report", "out/a.json", "--quality", "draft")),
        Job(
            "fit",
            ("in/views", "--out", "out/a.ply", "--out", "out/a.glb", "--out", "out/a.splat", "--quality", "draft"),
        ),
        Job("convert", ("in/spmr.ckpt", "--config", "in/config.json", "--out", "out/model")),
        Job("weights", ("fetch", "net.tflite")),
        Job("batch", ("in/photos", "--out", "out", "--quality", "draft"), refused=3),
    )
}

REAL_JOBS = {
    job.name: job
    for job in (
        Job("recon", ("in/photo.jpg", "--out", "out/a.ply", "--splats", "3000", "--quality", "draft"), stand_ins=False),
        Job(
            "views", ("in/photo.jpg", "--out", "out/views", "--azimuths", "0,40", "--quality", "draft"), stand_ins=False
        ),
        Job("fit", ("in/views", "--out", "out/a.ply", "--splats", "500", "--quality", "draft"), stand_ins=False),
    )
}
"""The parts themselves, on a photo of a person and on views of a sphere."""


def prepare(job: Job, folder: Path) -> None:
    """Write the inputs of a job."""
    (folder / "in").mkdir(parents=True)
    (folder / "out").mkdir()
    if job.stand_ins:
        (folder / "in" / "photo.jpg").write_text("never read: the parts are stand-ins")
    else:
        from PIL import Image
        from skimage import data

        Image.fromarray(data.astronaut()).save(folder / "in" / "photo.jpg", quality=95)
    if job.name == "batch":
        (folder / "in" / "photos").mkdir()
        for name in "abcde":
            (folder / "in" / "photos" / f"{name}.jpg").write_text(name)
    if job.name == "fit":
        from spinmeround.io import write_views
        from spinmeround.orbits import orbit_cameras
        from tests.pipelines.fakes import sphere_views

        cameras = orbit_cameras([45.0 * k for k in range(8)], [0.0] * 8, size_px=64)
        write_views(folder / "in" / "views", sphere_views(cameras))
    if job.name == "convert":
        from tests.diffusion import tiny

        tiny.write(folder / "in", tiny.tensors())


class Server:
    """Starts jobs. Entered once; ends the server of processes when left."""

    def __init__(self) -> None:
        self._context: Any = get_context("forkserver")
        self._context.set_forkserver_preload(["fault_injection", "spinmeround.pipelines.run", "tests.pipelines.fakes"])

    def start(self, job: Job, folder: Path, fault: Fault | None = None) -> BaseProcess:
        """Start a job in its folder."""
        process = self._context.Process(target=_run, args=(job, folder, fault))
        process.start()
        return process

    def run(self, job: Job, folder: Path, fault: Fault | None = None) -> Ended:
        """Run a job to its end."""
        return self.wait(self.start(job, folder, fault), folder)

    def wait(self, process: BaseProcess, folder: Path) -> Ended:
        """Wait for the end of a job."""
        process.join(_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            return Ended(None, "it did not end")
        return Ended(process.exitcode, (folder / f"{process.pid}.err").read_text(errors="replace"))


@dataclass(frozen=True)
class Ended:
    """How a run ended; ``status`` is None if it did not."""

    status: int | None
    said: str

    @property
    def is_clear(self) -> bool:
        """Whether it ended well, or with one line of its own that says why."""
        lines = self.said.splitlines()
        if self.status is None or "Traceback" in self.said:
            return False
        return self.status == 0 or (self.status in range(1, 10) and lines[-1].startswith("spmr-"))


def _run(job: Job, folder: Path, fault: Fault | None) -> None:
    os.chdir(folder)
    for stream, name in ((1, "out"), (2, "err")):
        file = os.open(f"{os.getpid()}.{name}", os.O_CREAT | os.O_WRONLY)
        os.dup2(file, stream)
        os.close(file)
    if job.stand_ins:
        install_stand_ins(job.name)
    command = importlib.import_module(job.module)
    if fault is not None:
        fault()
    sys.exit(command.main(list(job.arguments)))


def run_here(name: str) -> int:
    """Run a job with stand-ins in this process and folder; return its status."""
    install_stand_ins(name)
    return importlib.import_module(JOBS[name].module).main(list(JOBS[name].arguments))


def install_stand_ins(name: str) -> None:
    """Replace the parts of a command's run in this process."""
    from spinmeround.pipelines import run
    from spinmeround.portrait import hair_segmentation
    from tests.pipelines.fakes import FakeBackends

    hair_segmentation.choose_hair_network = lambda: ("mediapipe", "the best that can be had")
    run.build_backends = lambda settings: FakeBackends(settings, before=lambda part: time.sleep(0.02))
    if name == "batch":
        from spinmeround.batch import ray_executor, work
        from tests.batch.stand_ins import fake_reconstruct, inline

        work._reconstruct = fake_reconstruct
        ray_executor.RayExecutor = lambda options: inline  # benchmarks/batch.py kills those of Ray
    if name == "weights":
        from spinmeround import weights

        content = bytes(range(256)) * 4096
        digest, source = hashlib.sha256(content).hexdigest(), weights.UrlSource("http://localhost/net.tflite")
        entry = weights.Entry("net.tflite", "free", "a test", len(content), digest, (source,), None)
        weights.entries = lambda: (entry,)
        weights._download = partial(_slowly_downloaded, content)
        os.environ["SPMR_WEIGHTS"] = "out"


def _slowly_downloaded(content: bytes, source: object, wanted: object, part: Path, progress: object) -> None:
    with part.open("ab") as file:
        for start in range(file.tell(), len(content), 1 << 16):
            file.write(content[start : start + (1 << 16)])
            time.sleep(0.01)


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of each file by its path, and of folders without files that they are there.

    Locks that stay, as those of a batch do, are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".lock":
            continue
        name = path.relative_to(folder).as_posix()
        found[name] = "folder" if path.is_dir() else _digest(path)
    return found


def _digest(path: Path) -> str:
    data = path.read_bytes()
    if _TABLES.fullmatch(path.name):
        return "there"
    with suppress(ValueError, AttributeError):
        report = json.loads(data) if path.suffix == ".json" else None
        data = data if report is None else json.dumps({k: v for k, v in report.items() if k not in _VOLATILE}).encode()
    return hashlib.sha256(data).hexdigest()


def hidden(folder: Path) -> list[str]:
    """Return what lies hidden in a folder: what an unfinished run left."""
    return [path for path in contents(folder) if re.search(r"(^|/)\.|\.part$", path)]


def kill_at_random(server: Server, job: Job, folder: Path, *, seconds: float, rng: random.Random) -> bool:
    """Start a job and kill it at a random moment; return whether it was still alive then.

    Args:
        seconds: how long it usually takes.
    """
    process = server.start(job, folder)
    process.join(rng.uniform(0, seconds))
    alive = process.exitcode is None
    process.kill()
    process.join()
    return alive


@dataclass(frozen=True)
class FullDisk:
    """From the n-th write to files in ``out`` on there is no room.

    Attributes:
        counter: a file that gets the number of writes.
    """

    at: int | None = None
    counter: Path | None = None

    def __call__(self) -> None:
        """Replace what opens files in Python."""
        count, limit, real = 0, self.at, io.open
        counter = None if self.counter is None else os.open(self.counter, os.O_CREAT | os.O_WRONLY)

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                nonlocal count
                count += 1
                if counter is not None:
                    os.pwrite(counter, f"{count}".encode(), 0)
                if limit is not None and count >= limit:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return super().write(data)

        place = str(Path("out").absolute())

        def opened(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **options: Any) -> Any:
            is_path = isinstance(file, (str, os.PathLike))
            if not is_path or not set(mode) & set("wax+") or not str(Path(file).absolute()).startswith(place):
                return real(file, mode, buffering, *more, **options)
            raw = Raw(file, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return buffered
            named: dict[str, Any] = dict(zip(("encoding", "errors", "newline"), more, strict=False)) | options
            return io.TextIOWrapper(buffered, **{name: value for name, value in named.items() if name != "closefd"})

        builtins.open = io.open = opened  # type: ignore[assignment]


@dataclass(frozen=True)
class Limit:
    """A limit of the system, such as ``RLIMIT_AS``, by its name."""

    name: str
    bytes: int

    def __call__(self) -> None:
        """Set it."""
        import resource

        which = getattr(resource, self.name)
        resource.setrlimit(which, (self.bytes, self.bytes))


@dataclass(frozen=True)
class ClockSetBack:
    """Python's clock goes so many seconds behind."""

    seconds: float

    def __call__(self) -> None:
        """Replace the clock."""
        now, now_ns, back = time.time, time.time_ns, self.seconds
        time.time = lambda: now() - back
        time.time_ns = lambda: now_ns() - int(back * 1e9)


@dataclass(frozen=True)
class Nobody:
    """A user who may write to nothing but what others may; root alone can become one."""

    def __call__(self) -> None:
        """Become this user, without a home that could be written."""
        os.environ |= {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent/.cache"}
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def into_future(folder: Path, seconds: float) -> None:
    """Give all files of a folder times that have not come yet."""
    when = time.time() + seconds
    for path in folder.rglob("*"):
        os.utime(path, (when, when))


def write_counts(server: Server, job: Job, folder: Path) -> int:
    """Return how many writes an undisturbed run makes."""
    counter = folder / "writes"
    server.run(job, folder, FullDisk(counter=counter))
    return int(counter.read_text())
