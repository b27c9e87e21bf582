"""Our surface compared with screened Poisson and TSDF fusion, for one scan in one run.

    pip install "spinmeround[open3d]"    # on Debian and Ubuntu also: apt install libusb-1.0-0
    python benchmarks/surface_fusion.py [--quick] [--sheet OUT.png]

The scan, its 16 exact views and the cameras between them are those of `bench_surface.py`. Ours is the standard preset.
The other two fuse depths of splats: surfels (2D Gaussian Splatting, Huang et al. 2024) are initialised on the visual
hull, not on our surface, and fitted to colours, silhouettes and normals; each view's median depth is then rendered.
Screened Poisson (Kazhdan and Hoppe 2013) takes the pixels at those depths with the views' own normals, TSDF fusion
(Curless and Levoy 1996) the depths with the views' colours, as 2DGS makes its meshes. Both are open3d's, with cells as
wide as a pixel. Their seconds are those of hull, splats and fusion. Both are measured on exact depths too.

Our fit initialises splats a pixel's width below the surface (`recon/splats/initialisation.py`), for the silhouettes'
sake. They stay about as deep, even when initialised on the scan itself: that part of the two depth errors comes from
the splats, not from the fusion.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch
from bench_surface import accuracy, photograph, ring_cameras, scan
from command_line import Pictures, benchmark_parser, run_with_pictures
from jaxtyping import Float, UInt8
from tables import Figure

from spinmeround.geometry import camera_centres, pixel_rays_world, vertex_normals
from spinmeround.images import to_uint8
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.recon.hull import silhouettes, visual_hull
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.raster.surfels import NumbaSurfelRasterizer
from spinmeround.recon.splats.fitter import GaussianFitter, SplatSettings
from spinmeround.recon.splats.initialisation import pixel_width
from spinmeround.types import Cameras, Mesh, Views

_SETTINGS, _QUICK = SplatSettings(50_000, 300), SplatSettings(12_000, 100)
_TRUNCATED_CELLS = 5.0
"""Truncation distance of the signed distances, cells, as in 2DGS."""
_BLOCK_CELLS, _BLOCKS = 16, 20_000
"""Side of a block, and blocks allocated at first; the volume grows if they do not suffice."""
_POISSON_MARGIN = 1.1
"""Size of open3d's box relative to the points' bounding box."""
_TILES = (0, 1, 3, 4)


def open3d() -> Any:
    """Return the package open3d.

    Raises:
        ModuleNotFoundError: it, or a library of the system that it loads, is missing.
    """
    try:
        import open3d
    except (ImportError, OSError) as missing:
        raise ModuleNotFoundError(
            f'Poisson and TSDF need open3d, which cannot be imported ({missing}): pip install "spinmeround[open3d]", '
            "and on Debian and Ubuntu apt install libusb-1.0-0"
        ) from missing
    return open3d


@torch.no_grad()
def median_depths(views: Views, settings: SplatSettings) -> Float[np.ndarray, "v h w"]:
    """Fit surfels from the visual hull; return their median depths along each camera's +Z, head units, 0 outside."""
    hull = visual_hull(views.cameras, silhouettes(views.alpha)).mesh
    with torch.enable_grad():
        splats = GaussianFitter(NumbaSurfelRasterizer(), settings).fit(views, hull, seed=0)
    drawn = NumbaSurfelRasterizer().render(splats, views.cameras)
    assert drawn.median_depth is not None
    return np.where((drawn.alpha.numpy() > 0.5) & (views.alpha > 0.5), drawn.median_depth.numpy(), 0.0)


def poisson(views: Views, depths: Float[np.ndarray, "v h w"]) -> Mesh:
    """Reconstruct by screened Poisson from all pixels, each with its view's normal."""
    library, cameras, inside = open3d(), views.cameras, depths > 0
    points = [
        centre + pixel_rays_world(pose, intrinsics, cameras.width_px, cameras.height_px)[seen] * depth[seen, None]
        for centre, pose, intrinsics, depth, seen in zip(
            camera_centres(cameras), cameras.camera_from_world, cameras.intrinsics_px, depths, inside, strict=True
        )
    ]
    cloud = library.geometry.PointCloud(library.utility.Vector3dVector(np.concatenate(points)))
    cloud.normals = library.utility.Vector3dVector(views.normals_world[inside].astype(np.float64))
    box = _POISSON_MARGIN * np.ptp(np.concatenate(points), axis=0).max()
    levels = int(np.ceil(np.log2(box / pixel_width(views, np.concatenate(points)))))
    return _mesh(library.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=levels)[0])


def tsdf(views: Views, depths: Float[np.ndarray, "v h w"]) -> Mesh:
    """Average the truncated signed distances of all views; return the largest component of their surface."""
    library, cameras = open3d(), views.cameras
    tensor, image = library.core.Tensor, library.t.geometry.Image
    volume = library.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"),
        (library.core.float32,) * 3,
        ((1,), (1,), (3,)),
        voxel_size=pixel_width(views, np.zeros((1, 3))),
        block_resolution=_BLOCK_CELLS,
        block_count=_BLOCKS,
    )
    for index, (depth, rgb) in enumerate(zip(depths, views.rgb, strict=True)):
        intrinsics = tensor(cameras.intrinsics_px[index].astype(np.float64))
        pose = tensor(np.ascontiguousarray(cameras.camera_from_world[index], np.float64))
        seen = image(tensor(np.ascontiguousarray(depth, np.float32)))
        scale_and_range = (1.0, float(depths.max()) + 1.0, _TRUNCATED_CELLS)
        blocks = volume.compute_unique_block_coordinates(seen, intrinsics, pose, *scale_and_range)
        colour = image(tensor(np.ascontiguousarray(rgb, np.float32)))
        volume.integrate(blocks, seen, colour, intrinsics, pose, *scale_and_range)
    surface = volume.extract_triangle_mesh(weight_threshold=1.0).to_legacy()
    piece, faces, _ = surface.cluster_connected_triangles()
    surface.remove_triangles_by_mask(np.asarray(piece) != np.argmax(faces))
    surface.remove_unreferenced_vertices()
    return _mesh(surface)


def _mesh(surface: Any) -> Mesh:
    return Mesh(np.array(surface.vertices), np.array(surface.triangles).astype(np.int64))


def shaded(mesh: Mesh, cameras: Cameras) -> UInt8[np.ndarray, "h w 3"]:
    """Return a row of pictures of a mesh's normals."""
    normals, row = vertex_normals(mesh.vertices, mesh.faces), []
    for index in _TILES:
        seen = interpolate(normals, mesh.faces, rasterize(mesh.vertices, mesh.faces, cameras, index))
        row.append(to_uint8(0.5 + 0.5 * seen / np.maximum(np.linalg.norm(seen, axis=-1, keepdims=True), 1e-9)))
    return np.hstack(row)


def measure_with_pictures(*, quick: bool) -> tuple[list[Figure], Pictures]:
    """Measure three surfaces of one scan; the pictures show normals of the scan and of each surface."""
    open3d()  # fail before minutes of fitting
    size_px, settings = (128, _QUICK) if quick else (512, _SETTINGS)
    truth, held_out = scan(), ring_cameras(6, held_out=True)
    views = photograph(truth, ring_cameras(16, size_px=size_px))
    NormalSurfaceFitter(SurfaceSettings(16, (1,))).fit(photograph(truth, ring_cameras(4, size_px=64)), seed=0)
    started = time.perf_counter()
    ours = NormalSurfaceFitter(SURFACE_PRESETS["standard"]).fit(views, seed=0).mesh
    surfaces = [("ours", ours, time.perf_counter() - started, "")]
    started = time.perf_counter()
    shown = median_depths(views, settings)
    splats_s = time.perf_counter() - started
    exact = np.stack([rasterize(truth.vertices, truth.faces, views.cameras, i).depth for i in range(len(views))])
    exact = np.where(views.alpha > 0.5, exact, 0.0)
    for source, depths, before_s in (("splats' depths", shown, splats_s), ("exact depths", exact, 0.0)):
        for name, fused in (("Poisson", poisson), ("TSDF", tsdf)):
            started = time.perf_counter()
            mesh = fused(views, depths)
            fused_s = time.perf_counter() - started
            surfaces.append((f"{name}, {source}", mesh, before_s + fused_s, f"{fused_s:.1f} s after the depths"))
    figures = []
    for name, mesh, seconds, of_which in surfaces:
        got = accuracy(mesh, truth, held_out)
        note = f"{len(mesh.faces)} faces, silhouette IoU {got.iou:.4f}"
        figures.append(Figure(f"{name}: median depth error", got.depth_mm, unit=" mm", note=note))
        figures.append(Figure(f"{name}: median normal error", got.normal_deg, unit=" deg"))
        figures.append(Figure(f"{name}: time", seconds, unit=" s", note=of_which))
    return figures, [shaded(mesh, held_out) for mesh in (truth, *(surface[1] for surface in surfaces[:3]))]


def measure(*, quick: bool) -> list[Figure]:
    """Measure on views of 512 pixels, or of 128 with fewer splats if quick."""
    return measure_with_pictures(quick=quick)[0]


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(
        __doc__, quick="views of 128 pixels and fewer splats", sheet="normals of the scan, ours, Poisson, TSDF"
    )
    try:
        run_with_pictures(measure_with_pictures, parser, title="surfaces from exact views")
    except ModuleNotFoundError as missing:
        sys.exit(str(missing))


if __name__ == "__main__":
    main()
