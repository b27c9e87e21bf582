"""Time and memory of the main job against its bars: each output, several photos, a cold start, imports, growth.

    PYTHONPATH=. python benchmarks/job_time.py [--quick]

For a quiet machine: seconds are those of the clock, each command in a process of its own, after one run that compiles
the kernels. Several photos are those of one person, ``same_0`` to ``same_3`` of the shared data; the fifth is a copy of
the first. A cold start compiles all kernels into an empty folder. Growth is that of a rasterised view, forward and
backward, and of laying splats on a painted surface: seconds over what linear growth from the smallest case would take.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import torch
import trimesh
from bench_raster import ball
from command_line import benchmark_parser, run
from repeat_time import Run, run_command
from tables import Figure, print_table

from spinmeround.configs import Quality
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.painted_initialisation import splats_on_painted_surface
from spinmeround.types import Cameras, Mesh, PaintedSurface, Views

BARS_S: dict[tuple[str, Quality], float] = {
    ("head.ply", "standard"): 28.0,
    ("head.ply", "draft"): 10.0,
    ("head.glb", "standard"): 12.0,
}
_BARS_OF_PHOTOS = {2: 1.3, 5: 1.8}
"""Times the seconds of one photo."""
_MEMORY_BAR_GB = 1.3
"""Of one photo; several hold their portraits side by side."""
_COLD_BAR = 1.8
"""Times the seconds of a warm run."""
_IMPORT_BAR_S = 0.25
_STARTS = {
    "import spinmeround": ["-c", "import spinmeround"],
    "spmr-recon --help": ["-c", "from spinmeround.cli.recon import main; main(['--help'])"],
}
_GROWTH_SLACK = 1.1
"""Of the clock: by so much linear growth may look worse than it is."""
_REPEATS = 3


def job_runs(folder: Path, *, quick: bool) -> tuple[dict[str, Run], list[Figure]]:
    """Run the main job for each output, then from several photos and cold."""
    photos = _photos(folder)
    run_command([photos[0]], "draft", _new(folder, "warm"), out=["head.ply", "head.glb"])
    runs, figures = {}, []
    for (out, quality), bar in BARS_S.items():
        name = f"{out.removeprefix('head')}, {quality}"
        runs[name] = run_command([photos[0]], quality, _new(folder, name), out=[out])
        figures += _figures(name, runs[name], bar)
    one = runs[".ply, standard"]
    if quick:
        return runs, figures
    for count, bar in _BARS_OF_PHOTOS.items():
        if len(photos) < count:
            continue
        name = f"{count} photos, .ply, standard"
        runs[name] = run_command(photos[:count], "standard", _new(folder, name), out=["head.ply"])
        figures.append(Figure(f"time, {count} photos against one", runs[name].wall_s / one.wall_s, bar, unit="x"))
        figures += _figures(name, runs[name], None)
    cold = run_command(
        [photos[0]], "standard", _new(folder, "cold"), out=["head.ply"], cache=_new(folder, "kernels")
    )  # fmt: skip
    runs["cold, .ply, standard"] = cold
    note = f"{cold.wall_s:.0f} s"
    figures.append(Figure("cold start against warm", cold.wall_s / one.wall_s, _COLD_BAR, unit="x", note=note))
    return runs, figures


def _new(folder: Path, name: str) -> Path:
    made = folder / name.replace(" ", "_")
    made.mkdir()
    return made


def _photos(folder: Path) -> list[Path]:
    """Return five photos of one person; the astronaut alone where there is no shared data."""
    try:
        same = [datasets.data_folder() / "people" / f"same_{index}.jpg" for index in range(4)]
    except FileNotFoundError:
        same = []
    if not all(path.is_file() for path in same) or not same:
        from pictures import write_rgb
        from skimage import data

        write_rgb(folder / "astronaut.png", data.astronaut())
        return [folder / "astronaut.png"]
    shutil.copy(same[0], folder / "again.jpg")
    return [*same, folder / "again.jpg"]


def _figures(name: str, made: Run, bar: float | None) -> list[Figure]:
    slowest = sorted(made.stages.items(), key=lambda item: -item[1])[:3]
    note = f"{made.cpu_s:.0f} processor seconds; " + ", ".join(f"{stage} {s:.1f}" for stage, s in slowest)
    return [
        Figure(f"time, {name}", made.wall_s, bar, unit=" s", note=note),
        Figure(f"peak memory, {name}", made.peak_gb, None if bar is None else _MEMORY_BAR_GB, unit=" GB"),
    ]


def start_figures() -> list[Figure]:
    """Time what a user waits for before anything begins, less the interpreter's own start."""
    empty = _least_wall(["-c", "pass"])
    return [Figure(f"time, {what}", _least_wall(c) - empty, _IMPORT_BAR_S, unit=" s") for what, c in _STARTS.items()]


def _least_wall(command: list[str]) -> float:
    best = np.inf
    for _ in range(_REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - started)
    return float(best)


def _around(views: int, size_px: int) -> Cameras:
    return orbit_cameras([360 * k / views for k in range(views)], [0.0] * views, size_px=size_px)


def rasterised_s(*, splats: int = 50_000, views: int = 1, size_px: int = 512) -> float:
    """Return the least processor seconds of drawing views forward and backward, on one thread."""
    cameras = _around(views, size_px)
    what, rasterizer = ball(splats), NumbaRasterizer(threads=1)

    def draw() -> None:
        drawn = rasterizer.render(what, cameras)
        (drawn.rgb.sum() + drawn.alpha.sum()).backward()

    return _least_cpu(draw)


def laid_s(*, views: int = 8, size_px: int = 256) -> float:
    """Return the least processor seconds of laying splats on a painted ball."""
    sphere = trimesh.creation.icosphere(subdivisions=5, radius=0.27)
    mesh = Mesh(np.array(sphere.vertices), np.array(sphere.faces))
    cameras = _around(views, size_px)
    grey, ones = np.full((views, size_px, size_px, 3), 0.5, np.float32), np.ones((views, size_px, size_px), np.float32)
    pictures = Views(cameras, grey, grey * 0, ones, ones)
    painted = PaintedSurface(mesh, lambda face, weights: np.full((len(face), 3), 0.5))
    return _least_cpu(lambda: splats_on_painted_surface(pictures, painted, count=10_000_000, sh_degree=0))


def _least_cpu(function: Callable[[], object]) -> float:
    best = np.inf
    for _ in range(_REPEATS):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return best


def growth_figures() -> list[Figure]:
    """Measure growth with splats, views and pixels against linear growth."""
    cases = {
        "rasteriser, splats": [(n, rasterised_s(splats=n)) for n in (50_000, 100_000, 200_000, 400_000)],
        "rasteriser, views": [(n, rasterised_s(views=n)) for n in (1, 2, 4, 8)],
        "rasteriser, pixels": [(n * n, rasterised_s(splats=200_000, size_px=n)) for n in (256, 512, 1024)],
        "start, views": [(n, laid_s(views=n)) for n in (8, 16, 32)],
        "start, pixels": [(n * n, laid_s(size_px=n)) for n in (256, 512, 1024)],
    }
    rows, figures = [], []
    for what, measured in cases.items():
        (first, least), worst = measured[0], 0.0
        for size, seconds in measured:
            ratio = seconds / least / (size / first)
            worst = max(worst, ratio if size > first else 0.0)
            rows.append([what, f"{size}", f"{1e3 * seconds:.0f}", f"{ratio:.2f}"])
        figures.append(Figure(f"growth against linear, {what}", worst, _GROWTH_SLACK, unit="x"))
    print_table(["what grows", "size", "ms", "against linear"], rows, title="growth")
    return figures


def measure(*, quick: bool) -> list[Figure]:
    """Measure all; ``quick`` leaves out the several photos and the cold start."""
    torch.set_num_threads(1)
    figures = [*start_figures(), *growth_figures()]
    with tempfile.TemporaryDirectory() as name:
        runs, more = job_runs(Path(name), quick=quick)
    stages = list(dict.fromkeys(stage for each in runs.values() for stage in each.stages))
    rows = [[stage, *(f"{each.stages.get(stage, 0):.1f}" for each in runs.values())] for stage in stages]
    print_table(["stage", *runs], rows, title="seconds by stage")
    return [*more, *figures]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="no several photos, no cold start"), title="time of the main job")


if __name__ == "__main__":
    main()
