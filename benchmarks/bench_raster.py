"""Speed and accuracy of the CPU splat rasterisers, forward and backward, compared with plain torch in one run.

    PYTHONPATH=. python benchmarks/bench_raster.py [--quick]

The splats resemble those of a fit: opaque discs on a head-sized ball that cover it a few times over, whatever their
number. They are rendered as 3D Gaussians and as surfels. The plain torch side is the tests' specification in float32,
sped up by rendering each 16 by 16 pixel tile as a picture of its own, with only the splats that reach it. Times are
processor time on one thread. Accuracy is measured on the tests' scenes, with splats huge and tiny, edge-on and behind
the camera, against the same specification in float64: values, and gradients of every field and of the pose.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from command_line import benchmark_parser, run
from tables import Figure, print_table

from spinmeround.geometry import project
from spinmeround.orbits import orbit_cameras
from spinmeround.protocols import Rasterizer
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.raster.surfels import NumbaSurfelRasterizer
from spinmeround.types import Cameras, Rendering, Splats
from tests.recon.raster import splat_specification, surfel_specification
from tests.recon.raster.raster_scenes import FIELDS, SCENES, leaves, pose_leaf

SIZE_PX = 512
TILE_PX = 16


@dataclass(frozen=True)
class Kind:
    """A kind of splats: its rasteriser, its specification, and the rendered planes that enter the loss."""

    name: str
    rasterizer: Rasterizer
    specify: Callable[..., Rendering]
    planes: tuple[str, ...]


def ball(count: int) -> Splats:
    """Return discs on a sphere of radius 0.27, seeded, as leaves that require gradients."""
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    width = 0.7 * 0.27 * (4 * torch.pi / count) ** 0.5
    x, y, z = normals.unbind(1)
    fields = [
        0.27 * normals,
        torch.tensor([width, width, 0.15 * width]).repeat(count, 1),
        torch.stack([1 + z, -y, x, torch.zeros(count)], dim=1),
        torch.full((count,), 0.9),
        torch.rand(count, 1, 3, generator=generator) - 0.5,
    ]
    return Splats(*(field.requires_grad_() for field in fields))


def plain_render(kind: Kind, splats: Splats, cameras: Cameras) -> Rendering:
    """Render one camera by the specification, tile by tile."""
    pose, intrinsics_px = cameras.camera_from_world[0], cameras.intrinsics_px[0]
    with torch.no_grad():
        x, y, z = torch.as_tensor(project(splats.means.double().numpy(), pose, intrinsics_px)).unbind(1)
        reach = 3.5 * splats.scales.max(dim=1).values * intrinsics_px[0, 0] / z + 2
    corners = [(x, y) for y in range(0, cameras.height_px, TILE_PX) for x in range(0, cameras.width_px, TILE_PX)]
    touching = [
        torch.nonzero(
            (abs(x - left - TILE_PX / 2) < reach + TILE_PX / 2) & (abs(y - top - TILE_PX / 2) < reach + TILE_PX / 2)
        )[:, 0]
        for left, top in corners
    ]
    # One gather for all tiles: with one gather per tile, each tile's gradient would be as large as all splats.
    everything, lengths = torch.cat(touching), [len(t) for t in touching]
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    parts = zip(*(field[everything].split(lengths) for field in fields), strict=True)
    tiles = []
    for part, (left, top) in zip(parts, corners, strict=True):
        shifted = intrinsics_px - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        tiles.append(kind.specify(Splats(*part), Cameras(pose[None], shifted[None], TILE_PX, TILE_PX)))
    across = cameras.width_px // TILE_PX
    rows = [_joined(kind, tiles[k : k + across], axis=2) for k in range(0, len(tiles), across)]
    return _joined(kind, rows, axis=1)


def _joined(kind: Kind, parts: list[Rendering], *, axis: int) -> Rendering:
    return Rendering(**{plane: torch.cat([getattr(part, plane) for part in parts], dim=axis) for plane in kind.planes})


def seconds(kind: Kind, splats: Splats, cameras: Cameras, *, plain: bool, repeats: int) -> float:
    """Return the least processor time of some forward and backward passes; other load only adds to it."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        drawn = plain_render(kind, splats, cameras) if plain else kind.rasterizer.render(splats, cameras)
        loss = torch.stack([getattr(drawn, plane).sum() for plane in kind.planes]).sum()
        loss.backward()
        best = min(best, time.process_time() - started)
    return best


def speed_figures(kind: Kind, *, quick: bool) -> list[Figure]:
    """Time 10 000 to 400 000 splats at 512 pixels; up to 50 000 if quick."""
    cameras = orbit_cameras([20.0], [0.0], size_px=SIZE_PX)
    counts = (10_000, 50_000) if quick else (10_000, 50_000, 100_000, 200_000, 400_000)
    plain = {count: seconds(kind, ball(count), cameras, plain=True, repeats=1) for count in counts[:2]}
    fast = {count: seconds(kind, ball(count), cameras, plain=False, repeats=7) for count in counts}
    rows = []
    for count in counts:
        torch_cells = [f"{1e3 * plain[count]:.0f}", f"{plain[count] / fast[count]:.0f}"] if count in plain else ["", ""]
        rows.append([f"{count}", f"{1e3 * fast[count]:.0f}", f"{1e6 * fast[count] / count:.2f}", *torch_cells])
    header = ["splats", "numba, ms", "us per splat", "plain torch, ms", "ratio"]
    print_table(header, rows, title=f"{kind.name}: forward and backward, {SIZE_PX}x{SIZE_PX}, one thread")
    growth = (fast[counts[-1]] / fast[counts[0]]) / (counts[-1] / counts[0])
    note = f"{counts[0]} to {counts[-1]} splats"
    return [
        Figure(f"{kind.name}, times plain torch, 50k", plain[50_000] / fast[50_000], 25.0, at_most=False, unit="x"),
        Figure(f"{kind.name}, growth against linear", growth, 1.0, at_most=True, unit="x", note=note),
    ]


def accuracy_figures(kind: Kind) -> list[Figure]:
    """Return the largest relative errors over all scenes: of values (over at least 1) and of gradients, by norm."""
    values = gradients = 0.0
    for scene, (splats, cameras) in SCENES.items():
        fast, plain = leaves(splats, torch.float32), leaves(splats, torch.float64)
        poses = pose_leaf(cameras), pose_leaf(cameras)
        drawn = kind.rasterizer.render(fast, cameras, camera_from_world=poses[0])
        expected = kind.specify(plain, cameras, camera_from_world=poses[1])
        generator = torch.Generator().manual_seed(1)
        for plane in kind.planes:
            ours, theirs = getattr(drawn, plane), getattr(expected, plane)
            off = (ours.double() - theirs).detach().abs().max() / theirs.detach().abs().max().clamp(min=1)
            values = max(values, float(off))
        weights = [torch.randn(getattr(drawn, plane).shape, generator=generator) for plane in kind.planes]
        for rendering in (drawn, expected):
            pairs = zip(weights, kind.planes, strict=True)
            torch.stack(
                [(weight * getattr(rendering, plane)).sum().double() for weight, plane in pairs]
            ).sum().backward()
        leaf_pairs = [*((getattr(fast, field), getattr(plain, field)) for field in FIELDS), poses]
        for ours, theirs in leaf_pairs:
            assert ours.grad is not None and theirs.grad is not None, scene
            off = (ours.grad.double() - theirs.grad).norm() / theirs.grad.norm().clamp(min=1e-30)
            gradients = max(gradients, float(off))
    note = f"{len(SCENES)} scenes"
    return [
        Figure(f"{kind.name}, values off the float64 specification", values, 1e-5, note=note),
        Figure(f"{kind.name}, gradients off it, relative", gradients, 1e-4, note=f"{note}; every field and the pose"),
    ]


def measure(*, quick: bool) -> list[Figure]:
    """Measure both kinds of splats."""
    # One thread each: with more, torch's small operations wait for each other whenever other programs run.
    torch.set_num_threads(1)
    planes = ("rgb", "alpha", "depth", "normals_world", "median_depth")
    kinds = [
        Kind("3D Gaussians", NumbaRasterizer(threads=1), splat_specification.render, planes),
        Kind("surfels", NumbaSurfelRasterizer(threads=1), surfel_specification.render, (*planes, "distortion")),
    ]
    return [figure for kind in kinds for figure in (*accuracy_figures(kind), *speed_figures(kind, quick=quick))]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="up to 50 000 splats only"), title="rasterisers")


if __name__ == "__main__":
    main()
