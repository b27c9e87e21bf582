"""Damaged files for every reader: nothing but our own one-line errors may come out, within five seconds and a gigabyte.

    python benchmarks/fuzz_readers.py [--quick] [--inputs 1000000] [--only glb] [--workers 2] [--keep FOLDER]

Small valid files of each format are damaged at random (cut, bytes changed, pieces moved, doubled, left out, numbers
replaced by huge and odd ones) and read. Each worker is a process with a limit on its memory; an input that ends it, or
takes longer than allowed, counts as a fault like any exception of another kind. The same seed gives the same inputs.
"""

from __future__ import annotations

import importlib
import json
import logging
import random
import re
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from command_line import benchmark_parser, run
from tables import Figure, print_table

from spinmeround.errors import SpinMeRoundError

MAX_SECONDS, MAX_GROWTH_BYTES = 5.0, 1 << 30
QUICK_INPUTS, FULL_INPUTS = 4_000, 1_000_000
_SHARD = 250
"""Inputs a task: small enough that a process that dies loses little."""
_ODD_NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"99999999999", b"4294967295", b"1.7", b"null", b"[]", b'""')
_ODD_BYTES = (b"\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\n", b"../", b"\xf0\x9f")


@dataclass(frozen=True)
class Target:
    """A reader and the files it is fed.

    Attributes:
        write: writes valid files into a folder; they are what is damaged.
        read: called with the path of a damaged file that lies where the valid one did.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], object]


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"spinmeround.{module}"), function)


def _ball(*, textured: bool) -> Any:
    from spinmeround.types import Mesh, TexturedMesh

    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(size=(12, 3)) * 0.2, rng.permuted(np.tile(np.arange(12), (9, 1)), axis=1)[:, :3]
    if not textured:
        return Mesh(vertices, faces)
    return TexturedMesh(vertices, faces, rng.random((12, 2)), faces, rng.random((8, 8, 3)).astype(np.float32))


def _splats() -> Any:
    import torch

    from spinmeround.types import Splats

    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731 - six short uses
    quats = torch.nn.functional.normalize(draw(9, 4), dim=1)
    return Splats(draw(9, 3) - 0.5, draw(9, 3) * 0.02 + 1e-3, quats, draw(9) * 0.8 + 0.1, draw(9, 4, 3) - 0.5)


def _views() -> Any:
    from spinmeround.orbits import orbit_cameras
    from spinmeround.types import Views

    shape = (3, 16, 16)
    rng, alpha = np.random.default_rng(0), np.zeros(shape, np.float32)
    alpha[:, 4:12, 4:12] = 1
    rgb = rng.random((*shape, 3)).astype(np.float32)
    cameras = orbit_cameras([0.0, 120.0, 240.0], [0.0] * 3, size_px=16)
    return Views(cameras, rgb, np.zeros_like(rgb), alpha, np.ones_like(alpha), ("a", "b", "c"))


def _avatar() -> Any:
    from spinmeround.types import Avatar, AvatarPart, Joint

    mesh = _ball(textured=True)
    count = len(mesh.vertices)
    on_head, weights = np.zeros((count, 4), np.int64), np.eye(4)[np.zeros(count, np.int64)]
    part = AvatarPart("skin", mesh, on_head, weights, {"jawOpen": mesh.vertices * 0.1}, 0.9)
    joints = (Joint("head", -1, np.zeros(3)), Joint("leftEye", 0, np.ones(3)), Joint("rightEye", 0, np.ones(3)))
    return Avatar((part,), joints, ("jawOpen",), {"photo": {"jawOpen": 0.5}})


def _photo(folder: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 70, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.gif"):
        picture.save(folder / name, exif=exif)


def _write(function: str, names: Sequence[str], thing: Callable[[], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in names:
            _function(function)(folder / name, thing())

    return write


def _views_folder(path: Path) -> Path:
    """Return the folder of views that a file lies in."""
    return next(parent for parent in path.parents if parent.name == "views")


def _live_link(folder: Path) -> None:
    header = "Timecode,BlendshapeCount,JawOpen,EyeLookOutLeft,HeadYaw,HeadPitch,LeftEyeYaw,RightEyeYaw"
    rows = [f"12:00:0{k // 30}:{k % 30:02d}.000,61,{k / 60:.3f},0.2,{k / 90:.3f},0.1,0.1,0.1" for k in range(45)]
    (folder / "take.csv").write_text("\n".join([header, *rows]))


def _resume(folder: Path) -> None:
    from spinmeround.pipelines import resume
    from spinmeround.types import SurfaceFit

    arrays = resume.to_arrays(SurfaceFit(_ball(textured=False), _views().cameras))
    digest = np.asarray(resume._digest(arrays))
    np.savez(folder / "surface.npz", allow_pickle=False, **arrays, digest=digest)


def _resumed(path: Path) -> object:
    """Load as a store does, which takes any error for damage."""
    from spinmeround.pipelines import resume

    try:
        return resume.load_surface(resume._read_arrays(path))
    except MemoryError:
        raise
    except Exception as error:  # the store's own rule; memory, time and crashes are what counts here
        raise SpinMeRoundError(str(error)) from error


TARGETS: dict[str, Target] = {
    "photo": Target(_photo, lambda path: _function("io.photo.read_photo")(path)),
    "mesh": Target(
        _write("io.write_mesh", ("a.glb", "a.obj", "a.ply"), lambda: _ball(textured=True)),
        lambda path: _function("io.read_mesh")(path.with_suffix(".obj") if path.suffix in (".mtl", ".png") else path),
    ),
    "splats": Target(
        _write("io.write_splats", ("a.ply", "a.spz", "a.splat", "a.glb"), _splats),
        lambda path: _function("io.read_splats")(path),
    ),
    "avatar": Target(
        _write("io.write_avatar", ("a.glb", "a.vrm"), _avatar), lambda path: _function("io.read_avatar")(path)
    ),
    "transforms": Target(
        _write("io.write_views", ("views",), _views), lambda path: _function("io.read_views")(_views_folder(path))
    ),
    "colmap": Target(
        _write("io.write_colmap", ("views",), _views), lambda path: _function("io.read_views")(_views_folder(path))
    ),
    "recording": Target(
        _live_link,
        lambda path: _function("io.recordings.live_link.read_live_link")(path, ["jawOpen", "eyeLookOutLeft"]),
    ),
    "identity": Target(
        lambda folder: np.save(folder / "me.npy", np.full(512, 512**-0.5, np.float32)),
        lambda path: _function("diffusion.identity.read_identity")(path),
    ),
    "resume": Target(_resume, _resumed),
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a file's bytes after one to four random injuries."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_INJURIES)(data, rng)
    return data


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _change_bytes(data: bytes, rng: random.Random) -> bytes:
    reach = len(data) if rng.random() < 0.5 else min(len(data), 256)  # counts stand at the start
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        if reach:
            changed[rng.randrange(reach)] = rng.randrange(256)
    return bytes(changed)


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((*_ODD_BYTES, *_ODD_NUMBERS)) * rng.choice((1, 1, 3, 300)) + data[at:]


def _leave_out(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 4, 40, 400)) :]


def _double(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    piece = data[at : at + rng.choice((4, 40, 400))]
    return data[:at] + piece * rng.choice((2, 2, 30)) + data[at + len(piece) :]


def _change_number(data: bytes, rng: random.Random) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(?:\.\d+)?", data[: 1 << 16]))
    if not numbers:
        return data
    found = rng.choice(numbers)
    return data[: found.start()] + rng.choice(_ODD_NUMBERS) + data[found.end() :]


_INJURIES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _cut, _change_bytes, _change_bytes, _insert, _leave_out, _double, _change_number, _change_number,
)  # fmt: skip


def inputs_of(name: str, seed: int, count: int, folder: Path) -> Iterator[Path]:
    """Yield the path of one damaged file after the other; the file that was damaged is made whole again between."""
    rng = random.Random(f"{name} {seed}")
    TARGETS[name].write(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(count):
        path = rng.choice(files)
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, rng))
        try:
            yield path
        finally:
            path.write_bytes(whole)


class _TooSlow(BaseException):
    pass


def faults_of(name: str, seed: int, count: int, *, keep: Path | None = None) -> Counter[str]:
    """Read damaged files; return how many were read, refused, and every fault by its kind.

    Args:
        keep: folder for the inputs that made faults.
    """

    def too_slow(*_: object) -> None:
        raise _TooSlow

    found: Counter[str] = Counter()
    logging.disable()
    warnings.simplefilter("ignore")
    before = signal.signal(signal.SIGALRM, too_slow)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number, path in enumerate(inputs_of(name, seed, count, Path(folder))):
                signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
                try:
                    TARGETS[name].read(path)
                    kind = "read"
                except SpinMeRoundError as error:
                    kind = "refused" if "\n" not in str(error) else "an error of several lines"
                except _TooSlow:
                    kind = f"over {MAX_SECONDS:g} s"
                except MemoryError:
                    kind = "over a gigabyte"
                except Exception as error:  # what this benchmark looks for
                    where = traceback.extract_tb(error.__traceback__)
                    ours = next((f for f in reversed(where) if "spinmeround" in f.filename), where[-1])
                    kind = f"{type(error).__name__} in {Path(ours.filename).name}:{ours.name}"
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                found[kind] += 1
                if keep is not None and kind not in ("read", "refused") and found[kind] == 1:
                    _keep(keep, name, kind, path, seed * count + number)
    finally:
        signal.signal(signal.SIGALRM, before)
        logging.disable(logging.NOTSET)
    return found


def _keep(folder: Path, name: str, kind: str, path: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-{number}{path.suffix}").write_bytes(path.read_bytes())
    (folder / f"{name}-{number}.json").write_text(json.dumps({"fault": kind, "file": path.name}))


def _limit_memory() -> None:
    """Let a worker grow by a gigabyte beyond what its imports take."""
    import resource

    import torch  # noqa: F401 - its libraries count before the limit

    for target in TARGETS:
        faults_of(target, 0, 1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MAX_GROWTH_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def measure(
    *,
    quick: bool,
    inputs: int | None = None,
    only: Sequence[str] | None = None,
    workers: int = 2,
    keep: Path | None = None,
) -> list[Figure]:
    """Read damaged files with every reader; print what happened by reader."""
    names = [name for name in TARGETS if not only or name in only]
    shards = max(1, (inputs or (QUICK_INPUTS if quick else FULL_INPUTS)) // (_SHARD * len(names)))
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    started = time.monotonic()
    waiting = [(name, seed) for seed in range(shards, 0, -1) for name in names]
    with ThreadPoolExecutor(workers) as lanes:
        for results in lanes.map(lambda _: _work_through(waiting, keep), range(workers)):
            for name, counts in results:
                found[name] += counts
    rows = [[name, f"{counts.total()}", f"{counts['refused']}", _faults(counts)] for name, counts in found.items()]
    print_table(["reader", "inputs", "refused", "faults"], rows, title="damaged files")
    read = sum(counts.total() for counts in found.values())
    faults = sum(counts.total() - counts["read"] - counts["refused"] for counts in found.values())
    note = f"{read} inputs, {time.monotonic() - started:.0f} s"
    return [Figure("faults of readers over damaged files", faults, 0, note=note)]


def _work_through(waiting: list[tuple[str, int]], keep: Path | None) -> list[tuple[str, Counter[str]]]:
    """Take shards off a list that several threads share, until it is empty, and read them in a process of one's own."""
    results, pool = [], _new_process()
    while waiting:
        name, seed = waiting.pop()
        try:
            results.append((name, pool.submit(faults_of, name, seed, _SHARD, keep=keep).result()))
        except BrokenProcessPool:
            results.append((name, Counter({f"ended the process (seed {seed})": 1})))
            pool = _new_process()
    pool.shutdown()
    return results


def _new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_limit_memory)


def _faults(counts: Counter[str]) -> str:
    return "; ".join(f"{n} {kind}" for kind, n in counts.most_common() if kind not in ("read", "refused")) or "none"


def main() -> None:
    """Print the figure."""
    parser = benchmark_parser(__doc__, quick=f"{QUICK_INPUTS} inputs")
    parser.add_argument("--inputs", type=int, metavar="N", help=f"over all readers (default: {FULL_INPUTS})")
    parser.add_argument("--only", action="append", choices=TARGETS, help="one reader; may be given several times")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where inputs that make faults are kept")
    run(measure, parser, title="readers of damaged files")


if __name__ == "__main__":
    main()
