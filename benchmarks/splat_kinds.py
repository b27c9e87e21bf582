"""3D Gaussians compared with surfels: the same fit with either, on a textured body of known depth and normals.

    PYTHONPATH=. python benchmarks/splat_kinds.py [--quick]

Sixteen views are fitted, four held out. Splats are rendered as the kind they were fitted as, and also as 3D Gaussians,
which is what viewers do. The rows without a fit show how either kind renders opaque discs on the true surface.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
import trimesh
from command_line import benchmark_parser, run
from jaxtyping import Bool, Float
from measures import MILLIMETRES_PER_UNIT, angles_deg, psnr_db
from tables import Figure, print_table

from spinmeround import mesh_raster
from spinmeround.geometry import resized, vertex_normals
from spinmeround.images import composite, resize
from spinmeround.orbits import orbit_cameras
from spinmeround.protocols import Rasterizer
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.raster.surfels import NumbaSurfelRasterizer
from spinmeround.recon.splats.fitter import GaussianFitter, SplatSettings
from spinmeround.types import SH_C0, Mesh, Splats, Views
from tests.recon import scenes

SIZE_PX = 192
SETTINGS = SplatSettings(count=10_000, iterations=200)
RAYS_A_SIDE = 3
FITTED = tuple((22.5 * k, (10, -20, 5, -10, 15, 0, 40, -40)[k % 8]) for k in range(16))
HELD_OUT = ((11, 0), (100, 12), (190, -12), (281, 5))


@dataclass(frozen=True)
class HeldOut:
    """Held-out views with true depth and the mask of pixels the body covers fully."""

    views: Views
    depth: Float[np.ndarray, "v h w"]
    inside: Bool[np.ndarray, "v h w"]


def body(subdivisions: int = 6) -> tuple[Mesh, Float[np.ndarray, "n 3"]]:
    """Return an ellipsoid of a head's size with waves 5 mm deep, and its normals."""
    egg = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices, faces = np.array(egg.vertices) * [0.17, 0.27, 0.21], np.array(egg.faces)
    waves = np.sin(60 * vertices[:, :1]) * np.sin(50 * vertices[:, 1:2] + 1)
    vertices = vertices + 0.006 * waves * vertex_normals(vertices, faces)
    return Mesh(vertices, faces), vertex_normals(vertices, faces)


def paint(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return colours between 0.15 and 0.85 that change within a few pixels."""
    return 0.5 + 0.35 * np.sin(points * [40.0, 31.0, 23.0])


def photograph(directions: tuple[tuple[float, float], ...]) -> Views:
    """Render antialiased views with nine rays a pixel."""
    cameras = orbit_cameras(*zip(*directions, strict=True), size_px=SIZE_PX)
    fine = scenes.draw(body(), resized(cameras, RAYS_A_SIDE * SIZE_PX, RAYS_A_SIDE * SIZE_PX), paint)
    hit = fine.alpha[..., None]
    planes = np.concatenate([fine.rgb * hit, fine.normals_world * hit, hit], axis=-1)
    coarse = np.stack([resize(plane, SIZE_PX, SIZE_PX) for plane in planes])
    alpha = coarse[..., 6:]
    normals = coarse[..., 3:6] / np.maximum(np.linalg.norm(coarse[..., 3:6], axis=-1, keepdims=True), 1e-9)
    return Views(
        cameras, coarse[..., :3] / np.maximum(alpha, 1e-6), np.where(alpha > 0.5, normals, 0).astype(np.float32),
        alpha[..., 0], np.ones_like(alpha[..., 0]), fine.names,
    )  # fmt: skip


def discs_on_the_surface() -> Splats:
    """Return about as many opaque discs as the fits have, on the true surface."""
    mesh, normals = body(5)
    edge = np.linalg.norm(np.diff(mesh.vertices[mesh.faces[:, :2]], axis=1), axis=-1).mean()
    x, y, z = torch.from_numpy(normals).unbind(1)
    half = torch.sqrt((1 + z.clamp_min(-0.999999)) / 2)
    count = len(mesh.vertices)
    return Splats(
        means=torch.from_numpy(mesh.vertices).float(),
        scales=torch.tensor([edge, edge, 0.15 * edge]).float().mul(0.7).repeat(count, 1),
        quats_wxyz=torch.stack([half, -y / (2 * half), x / (2 * half), 0 * x], dim=1).float(),
        opacities=torch.full((count,), 0.99),
        sh=torch.from_numpy((paint(mesh.vertices) - 0.5) / SH_C0)[:, None].float(),
    )


def held_out() -> HeldOut:
    """Return views between those of the fit, with depth."""
    views, mesh = photograph(HELD_OUT), body()[0]
    depth = [mesh_raster.rasterize(mesh.vertices, mesh.faces, views.cameras, i).depth for i in range(len(views))]
    return HeldOut(views, np.stack(depth), views.alpha > 0.99)


@torch.no_grad()
def quality(splats: Splats, rasterizer: Rasterizer, truth: HeldOut) -> tuple[float, float, float]:
    """Return the PSNR on the head, dB, and the median errors of median depth, mm, and of normals, degrees."""
    drawn = rasterizer.render(splats, truth.views.cameras)
    assert drawn.median_depth is not None
    ours = drawn.rgb.numpy() + 1 - drawn.alpha.numpy()[..., None]
    error = (ours - composite(truth.views.rgb, truth.views.alpha))[truth.views.alpha > 0]
    normals = torch.nn.functional.normalize(drawn.normals_world, dim=-1).numpy()
    cosine = (normals * truth.views.normals_world).sum(axis=-1)[truth.inside]
    depth_mm = MILLIMETRES_PER_UNIT * abs(drawn.median_depth.numpy() - truth.depth)[truth.inside]
    return psnr_db(error), float(np.median(depth_mm)), float(np.median(angles_deg(cosine)))


def measure(*, quick: bool) -> list[Figure]:
    """Measure discs without a fit and fits with normals; unless quick, fits without normals too."""
    views, mesh, truth = photograph(FITTED), body()[0], held_out()
    kinds = {"3D Gaussians": NumbaRasterizer(), "surfels": NumbaSurfelRasterizer()}
    sources = {"with normals": views}
    if not quick:
        sources["colour alone"] = replace(views, normals_world=np.zeros_like(views.normals_world))
    rows, found = [], {}
    for source, given in {"no fit": None, **sources}.items():
        for kind, rasterizer in kinds.items():
            started = time.process_time()
            splats = discs_on_the_surface() if given is None else _fitted(rasterizer, given, mesh)
            seconds = time.process_time() - started
            found[source, kind] = quality(splats, rasterizer, truth)
            in_viewers = quality(splats, kinds["3D Gaussians"], truth)[0]
            cells = [f"{value:.2f}" for value in (*found[source, kind], in_viewers)]
            rows.append([source, kind, *cells, f"{seconds:.0f}"])
    header = ["views", "fitted and drawn as", "dB", "depth, mm", "normals, deg", "dB in viewers", "CPU s"]
    print_table(header, rows, title=f"held out, {SETTINGS.count} splats, {SIZE_PX}x{SIZE_PX}")
    figures = []
    for source in sources:
        gain = found[source, "surfels"][0] - found[source, "3D Gaussians"][0]
        figures.append(Figure(f"fit of surfels against 3D Gaussians, {source}", gain, unit=" dB"))
    return figures


def _fitted(rasterizer: Rasterizer, views: Views, mesh: Mesh) -> Splats:
    return GaussianFitter(rasterizer, SETTINGS).fit(views, mesh, seed=0)


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="views with normals only"), title="kinds of splats")


if __name__ == "__main__":
    main()
