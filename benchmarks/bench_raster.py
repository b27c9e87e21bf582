"""How fast are splats drawn and differentiated? The CPU rasteriser against plain torch, in one run.

    PYTHONPATH=. python benchmarks/bench_raster.py [--quick]

Splats lie as a fit leaves them: opaque discs on a head-sized ball, together covering it a few times over whatever their
number. The plain torch side is the specification of the tests in float32, made as fast as plain torch goes: each 16 by
16 pixel tile is drawn as a picture of its own, with only the splats that reach it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from tables import Figure, print_figures, print_table

from spinmeround.geometry import project
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.raster_numba import NumbaRasterizer
from spinmeround.types import Cameras, Rendering, Splats
from tests.recon import splat_specification

SIZE_PX = 512
TILE_PX = 16


def ball(count: int) -> Splats:
    """Discs on a sphere of radius 0.27, differentiable, seeded."""
    source = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=source), dim=1)
    width = 0.7 * 0.27 * (4 * torch.pi / count) ** 0.5
    x, y, z = normals.unbind(1)
    fields = [
        0.27 * normals,
        torch.tensor([width, width, 0.15 * width]).repeat(count, 1),
        torch.stack([1 + z, -y, x, torch.zeros(count)], dim=1),
        torch.full((count,), 0.9),
        torch.rand(count, 1, 3, generator=source) - 0.5,
    ]
    return Splats(*(field.requires_grad_() for field in fields))


def plain_render(splats: Splats, cameras: Cameras) -> Rendering:
    """The specification, tile by tile; one camera."""
    pose, lens = cameras.camera_from_world[0], cameras.intrinsics_px[0]
    with torch.no_grad():
        x, y, z = torch.as_tensor(project(splats.means.double().numpy(), pose, lens)).unbind(1)
        reach = 3.5 * splats.scales.max(dim=1).values * lens[0, 0] / z + 2
    corners = [(x, y) for y in range(0, cameras.height_px, TILE_PX) for x in range(0, cameras.width_px, TILE_PX)]
    touching = [
        torch.nonzero(
            (abs(x - left - TILE_PX / 2) < reach + TILE_PX / 2) & (abs(y - top - TILE_PX / 2) < reach + TILE_PX / 2)
        )[:, 0]
        for left, top in corners
    ]
    # Gathered once for all tiles: a gather a tile would make each tile's gradient as large as all splats.
    everything, lengths = torch.cat(touching), [len(t) for t in touching]
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    parts = zip(*(field[everything].split(lengths) for field in fields), strict=True)
    tiles = []
    for part, (left, top) in zip(parts, corners, strict=True):
        shifted = lens - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        tiles.append(splat_specification.render(Splats(*part), Cameras(pose[None], shifted[None], TILE_PX, TILE_PX)))
    across = cameras.width_px // TILE_PX
    return _joined([_joined(tiles[k : k + across], axis=2) for k in range(0, len(tiles), across)], axis=1)


def _joined(parts: list[Rendering], *, axis: int) -> Rendering:
    planes = ("rgb", "alpha", "depth", "normals_world")
    return Rendering(**{plane: torch.cat([getattr(part, plane) for part in parts], dim=axis) for plane in planes})


def seconds(render: Callable[[Splats, Cameras], Rendering], splats: Splats, cameras: Cameras, *, repeats: int) -> float:
    """Best of some forward and backward passes: other programs only ever make it slower."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        drawn = render(splats, cameras)
        (drawn.rgb.sum() + drawn.normals_world.sum() + drawn.depth.sum() + drawn.alpha.sum()).backward()
        best = min(best, time.perf_counter() - started)
    return best


def measure(*, quick: bool) -> list[Figure]:
    """10 000 to 400 000 splats at 512 pixels; up to 50 000 when quick."""
    # One thread each: torch's small operations wait for each other at every step as soon as anything else runs.
    torch.set_num_threads(1)
    rasterizer = NumbaRasterizer(threads=1)
    cameras = orbit_cameras([20.0], [0.0], size_px=SIZE_PX)
    counts = (10_000, 50_000) if quick else (10_000, 50_000, 100_000, 200_000, 400_000)
    plain = {count: seconds(plain_render, ball(count), cameras, repeats=1) for count in counts[:2]}
    fast = {count: seconds(rasterizer.render, ball(count), cameras, repeats=5) for count in counts}
    rows = []
    for count in counts:
        torch_cells = [f"{1e3 * plain[count]:.0f}", f"{plain[count] / fast[count]:.0f}"] if count in plain else ["", ""]
        rows.append([f"{count}", f"{1e3 * fast[count]:.0f}", f"{1e6 * fast[count] / count:.2f}", *torch_cells])
    header = ["splats", "numba, ms", "us a splat", "plain torch, ms", "ratio"]
    print_table(header, rows, title=f"forward and backward, {SIZE_PX}x{SIZE_PX}, one thread")
    ratio = plain[50_000] / fast[50_000]
    growth = (fast[counts[-1]] / fast[counts[0]]) / (counts[-1] / counts[0])
    note = f"{counts[0]} to {counts[-1]} splats"
    return [
        Figure("rasteriser, times plain torch, 50k splats", ratio, 25.0, at_most=False, unit="x"),
        Figure("rasteriser, growth against linear", growth, 1.0, at_most=True, unit="x", note=note),
    ]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 50 000 splats only")
    print_figures(measure(quick=parser.parse_args().quick), title="rasteriser")


if __name__ == "__main__":
    main()
