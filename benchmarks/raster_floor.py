"""Blending of splats on the CPU against the same loops in C++ on vectors, and against what the machine can do.

    PYTHONPATH=. python benchmarks/raster_floor.py

Both get the same lists of splats by tile, run on one thread, and must agree in pictures and in the gradients of colour,
normal and depth. ``blend_tiles.cpp`` is compiled with the machine's own C++ compiler; without one the project's kernels
are timed alone. Operations are those of the formulas, in all sixteen lanes of each row of pixels that a splat may
touch; what the machine can do is a float32 matrix product.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench_raster import SIZE_PX, ball
from command_line import benchmark_parser, run
from tables import Figure, print_table

from spinmeround.orbits import orbit_cameras
from spinmeround.recon.raster.gaussian_blending import blend_gaussians, blend_gaussians_backward
from spinmeround.recon.raster.gaussian_projection import project_gaussians
from spinmeround.recon.raster.layout import GAUSSIAN_MEAN2D_SIZE, RECORD_RADIUS_Y, TILE
from spinmeround.recon.raster.view_plan import Projected, Workers, project, views_of

_SPLATS = 200_000
_REPEATS = 9
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
_FLOPS_FORWARD, _FLOPS_BACKWARD = 38, 77
"""Additions, multiplications and comparisons of a lane, a fused one counted twice."""
_MATRIX = 1536


def scene() -> tuple[Projected, int, int]:
    """Return the view of a ball that is blended."""
    cameras = orbit_cameras([20.0], [0.0], size_px=SIZE_PX)
    splats = ball(_SPLATS)
    pose, view = torch.from_numpy(cameras.camera_from_world[0]), views_of(cameras)[0]
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    projected = project(
        project_gaussians, fields, pose, view, options=(0.1, False), means2d_size=GAUSSIAN_MEAN2D_SIZE,
        workers=Workers(1),
    )  # fmt: skip
    return projected, view.width_px, view.height_px


def numba_passes(projected: Projected, width: int, height: int) -> tuple[list[Callable[[], None]], dict]:
    """Return the forward and the backward pass of the project, and the arrays they fill."""
    pairs, size = projected.pairs, (height, width)
    tiles = len(pairs.tile_starts) - 1
    pictures = [np.empty((*size, *channels), np.float32) for channels in ((3,), (3,), (), (), ())]
    used, median_pair = np.empty(tiles, np.int32), np.empty(size, np.int32)
    blended = (pairs.tile_starts, pairs.splat, projected.means2d, projected.records, used, *pictures, median_pair)
    gradients = [np.ones_like(picture) for picture in pictures[:4]] + [np.zeros_like(pictures[4])]
    pair_grads = np.empty((len(pairs.grad_row), 16), np.float32)
    passes = [
        lambda: blend_gaussians(0, tiles, *blended),
        lambda: blend_gaussians_backward(0, tiles, *blended, *gradients, pairs.grad_row, pair_grads),
    ]
    return passes, {"alpha": pictures[3], "rgb": pictures[0], "used": used, "pair_grads": pair_grads}


def compiled_passes(
    library: ctypes.CDLL, projected: Projected, width: int, height: int
) -> tuple[list[Callable[[], None]], dict]:
    """Return the same passes in C++, and the arrays they fill."""
    pairs, size = projected.pairs, (height, width)
    tiles = len(pairs.tile_starts) - 1
    out, alpha = np.empty((*size, 7), np.float32), np.empty(size, np.float32)
    used, median_pair = np.empty(tiles, np.int32), np.empty(size, np.int32)
    g_out, g_alpha = np.ones_like(out), np.ones_like(alpha)
    pair_grads = np.empty((len(pairs.grad_row), 16), np.float32)
    given = (pairs.tile_starts, pairs.splat, projected.means2d, projected.records)

    def call(function: Callable[..., None], *arrays: np.ndarray) -> None:
        function(ctypes.c_int64(tiles), width, height, *(ctypes.c_void_p(array.ctypes.data) for array in arrays))

    passes = [
        lambda: call(library.blend, *given, used, out, alpha, median_pair),
        lambda: call(
            library.blend_backward, *given, used, out, alpha, g_out, g_alpha, pairs.grad_row, pair_grads
        ),
    ]  # fmt: skip
    return passes, {"alpha": alpha, "rgb": out[..., :3], "used": used, "pair_grads": pair_grads}


def load_compiled(folder: Path) -> ctypes.CDLL | None:
    """Compile the C++ loops; None if there is no compiler."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if compiler is None:
        return None
    source, library = Path(__file__).with_name("blend_tiles.cpp"), folder / "blend_tiles.so"
    subprocess.run([compiler, *_FLAGS, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def least_seconds(each: list[Callable[[], object]]) -> list[float]:
    """Return the least processor time of each call, in turn many times: other load only adds to it."""
    best = [np.inf] * len(each)
    for _ in range(_REPEATS):
        for index, function in enumerate(each):
            started = time.process_time()
            function()
            best[index] = min(best[index], time.process_time() - started)
    return best


def lanes_blended(projected: Projected, used: np.ndarray, width: int) -> int:
    """Count the lanes of all rows that the blended splats may touch, of rows that are finished as well."""
    pairs, across = projected.pairs, -(-width // TILE)
    starts = pairs.tile_starts[:-1]
    taken = np.concatenate([np.arange(a, a + n) for a, n in zip(starts, used, strict=True)])
    tile_y = np.repeat(np.arange(len(used)) // across, used)
    splat = pairs.splat[taken]
    y, radius = projected.means2d[splat, 1] - tile_y * TILE - 0.5, projected.records[splat, RECORD_RADIUS_Y]
    first, last = np.maximum(0, np.ceil(y - radius)), np.minimum(TILE - 1, np.floor(y + radius))
    return int(np.maximum(last - first + 1, 0).sum()) * TILE


def measure(*, quick: bool = False) -> list[Figure]:
    """Measure the passes beside each other; ``quick`` is the same."""
    torch.set_num_threads(1)
    projected, width, height = scene()
    passes, made = numba_passes(projected, width, height)
    with tempfile.TemporaryDirectory() as name:
        library = load_compiled(Path(name))
        others, reference = compiled_passes(library, projected, width, height) if library else ([], {})
        matrix = torch.rand(_MATRIX, _MATRIX)
        seconds = least_seconds([*passes, *others, lambda: matrix @ matrix])
    peak = 2 * _MATRIX**3 / seconds[-1] / 1e9
    lanes = lanes_blended(projected, made["used"], width)
    work = np.array([_FLOPS_FORWARD, _FLOPS_BACKWARD]) * lanes / 1e9
    names = ["numba, forward", "numba, backward", "C++, forward", "C++, backward"][: len(seconds) - 1]
    rows = [
        [name, f"{1e3 * s:.1f}", f"{work[k % 2] / s:.1f}", f"{100 * work[k % 2] / s / peak:.0f} %"]
        for k, (name, s) in enumerate(zip(names, seconds, strict=False))
    ]
    rows.append(["matrix product", f"{1e3 * seconds[-1]:.1f}", f"{peak:.1f}", "100 %"])
    print_table(["pass", "ms", "GFLOP/s", "of the product"], rows, title=f"blending {_SPLATS} splats, one thread")
    note = f"forward {work[0] / seconds[0]:.0f}, product {peak:.0f} GFLOP/s"
    rate = work[1] / seconds[1]
    figures = [Figure("blending backward, GFLOP/s on one thread", rate, at_most=False, note=note)]
    if not others:
        return figures
    for key in ("alpha", "rgb"):
        np.testing.assert_allclose(made[key], reference[key], atol=2e-4)
    scale = np.abs(reference["pair_grads"][:, 8:15]).max()
    np.testing.assert_allclose(made["pair_grads"][:, 8:15] / scale, reference["pair_grads"][:, 8:15] / scale, atol=1e-3)
    ratios = (seconds[0] / seconds[2], seconds[1] / seconds[3], (seconds[0] + seconds[1]) / (seconds[2] + seconds[3]))
    note = f"forward {ratios[0]:.2f}, backward {ratios[1]:.2f}"
    return [*figures, Figure("blending, times C++ on vectors", ratios[2], 1.0, unit="x", note=note)]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__), title="blending against C++")


if __name__ == "__main__":
    main()
