"""Is the surface right? A laser scan is photographed, fitted, and held against itself from cameras not fitted to.

    python benchmarks/bench_surface.py [--quick]

`scans/igea.ply` of the shared data, scaled to a head of 0.23 m, 16 or 8 views of 512 pixels in three rings with exact
normals; then 16 views with smooth 8 degree noise on the normals, outlines moved by 2 pixels, and every camera turned
about the head by half a degree (standard deviations); the same in grey; and exact views without normals. The neural
surface is held against the mesh on the exact and the noisy views. Depths are compared in the world as it is,
unaligned. A solid pattern on the scan is what the texture is held to.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import cv2
import datasets
import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from tables import Figure, print_figures

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.mesh_raster import FaceBuffer, interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.hull import silhouettes
from spinmeround.recon.neural_surface import NEURAL_PRESETS, NeuralSettings, NeuralSurfaceFitter
from spinmeround.recon.surface import SURFACE_PRESETS, NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.texture import bake_texture
from spinmeround.types import Cameras, Mesh, TexturedMesh, Views

_RINGS_DEG = (0.0, 25.0, -20.0)
_HELD_OUT_RINGS_DEG = (12.0, -10.0, 22.0)
_HEAD_UNITS = 0.56
_MM = METRES_PER_UNIT * 1000


@dataclass(frozen=True)
class Accuracy:
    """Medians over all pixels of held-out views that both surfaces cover.

    Attributes:
        depth_mm: absolute difference of depth.
        normal_deg: angle between the normals.
        overlap: intersection over union of the outlines, mean over the views.
    """

    depth_mm: float
    normal_deg: float
    overlap: float


def scan() -> Mesh:
    """The scan, centred, 0.56 head units along its longest side."""
    raw = trimesh.load(datasets.data_folder() / "scans" / "igea.ply", force="mesh", process=False)
    low, high = raw.bounds
    return Mesh((raw.vertices - (low + high) / 2) * (_HEAD_UNITS / (high - low).max()), np.array(raw.faces))


def ring_cameras(count: int, *, held_out: bool = False, size_px: int = 512) -> Cameras:
    """``count`` cameras around the head in three rings; held-out ones lie between."""
    azimuths = 360 * (np.arange(count) + (0.37 if held_out else 0)) / count
    rings = _HELD_OUT_RINGS_DEG if held_out else _RINGS_DEG if count > 8 else (10.0, -15.0)
    elevations = [rings[i % len(rings)] for i in range(count)]
    return orbit_cameras(azimuths.tolist(), elevations, size_px=size_px)


def paint(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """A solid pattern with waves of 15 cm down to 4 mm."""
    waves = sum(
        np.sin(points[:, [1, 2, 0]] * k + np.sin(points[:, [2, 0, 1]] * k * 0.7 + [0, 2, 4])) / k**0.5
        for k in (17, 43, 110, 280)
    )
    return np.clip(0.5 + 0.5 * waves, 0, 1)


def photograph(mesh: Mesh, cameras: Cameras) -> Views:
    """Exact pictures, normals and masks."""
    attributes = np.concatenate([vertex_normals(mesh.vertices, mesh.faces), paint(mesh.vertices)], axis=1)
    buffers = [rasterize(mesh.vertices, mesh.faces, cameras, index) for index in range(len(cameras))]
    seen = np.stack([interpolate(attributes, mesh.faces, buffer) for buffer in buffers])
    normals = seen[..., :3] / np.maximum(np.linalg.norm(seen[..., :3], axis=-1, keepdims=True), 1e-9)
    alpha = np.stack([(buffer.face >= 0).astype(np.float32) for buffer in buffers])
    return Views(cameras, seen[..., 3:], normals, alpha, np.ones_like(alpha))


def disturbed(views: Views, rng: np.random.Generator) -> Views:
    """Views of the noisy bar."""
    count, height, width = views.alpha.shape

    def smooth(channels: int) -> Float[np.ndarray, "h w c"]:
        coarse = rng.normal(size=(12, 12, channels)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return (fine / fine.std()).reshape(height, width, channels)

    distance_px = silhouettes(views.alpha).distance_px
    alpha = np.stack([(d + 2 * smooth(1)[..., 0] > 0).astype(np.float32) for d in distance_px])
    tilt = np.sin(np.radians(8)) / np.sqrt(2)
    noisy = views.normals_world + tilt * np.stack([smooth(3) for _ in range(count)])
    noisy *= (alpha * views.alpha)[..., None] / np.linalg.norm(noisy, axis=-1, keepdims=True)
    poses = views.cameras.camera_from_world.copy()
    poses[:, :3, :3] @= Rotation.from_rotvec(rng.normal(size=(count, 3)) * np.radians(0.5) / np.sqrt(3)).as_matrix()
    return replace(views, normals_world=noisy, alpha=alpha, cameras=replace(views.cameras, camera_from_world=poses))


def accuracy(mesh: Mesh, truth: Mesh, cameras: Cameras) -> Accuracy:
    """A fitted mesh against the scan, pixel by pixel."""
    depth, angle, overlap = [], [], []
    for index in range(len(cameras)):
        ours, theirs = (rasterize(m.vertices, m.faces, cameras, index) for m in (mesh, truth))
        both = (ours.face >= 0) & (theirs.face >= 0)
        overlap.append(both.sum() / ((ours.face >= 0) | (theirs.face >= 0)).sum())
        depth.append(np.abs(ours.depth[both] - theirs.depth[both]))
        cosine = (_normals(mesh, ours) * _normals(truth, theirs)).sum(-1)[both]
        angle.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return Accuracy(
        float(np.median(np.concatenate(depth))) * _MM, float(np.median(np.concatenate(angle))), float(np.mean(overlap))
    )


def _normals(mesh: Mesh, buffer: FaceBuffer) -> Float[np.ndarray, "h w 3"]:
    normals = interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, buffer)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)


def texture_psnr(mesh: TexturedMesh, truth: Views) -> float:
    """Peak signal to noise of the textured mesh where it and the truth both lie, dB."""
    size, squares = mesh.albedo.shape[0], []
    for index in range(len(truth)):
        buffer = rasterize(mesh.vertices, mesh.faces, truth.cameras, index)
        uv = interpolate(mesh.uv.astype(np.float32), mesh.uv_faces, buffer)
        rgb = cv2.remap(mesh.albedo, uv[..., 0] * size - 0.5, (1 - uv[..., 1]) * size - 0.5, cv2.INTER_LINEAR)
        both = (buffer.face >= 0) & (truth.alpha[index] > 0.5)
        squares.append(((rgb - truth.rgb[index])[both] ** 2).ravel())
    return float(-10 * np.log10(np.concatenate(squares).mean()))


def _fit(views: Views, settings: SurfaceSettings) -> tuple[Mesh, float]:
    started = time.perf_counter()
    mesh = NormalSurfaceFitter(settings).fit(views, seed=0)
    return mesh, time.perf_counter() - started


def _neural(cases: dict[str, tuple[Views, Accuracy, float]], truth: Mesh, held_out: Cameras) -> list[Figure]:
    """The neural surface against what the mesh reached on the same views, times a factor."""
    tiny = NeuralSettings(SurfaceSettings(16, (1,)), (1,))
    NeuralSurfaceFitter(tiny).fit(photograph(truth, ring_cameras(4, size_px=64)), seed=0)  # compiles
    figures = []
    for name, (given, mesh, factor) in cases.items():
        started = time.perf_counter()
        surface = NeuralSurfaceFitter(NEURAL_PRESETS["standard"]).fit(given, seed=0)
        seconds = time.perf_counter() - started
        got = accuracy(surface, truth, held_out)
        note = f"{len(surface.vertices)} vertices, outline overlap {got.overlap:.4f}"
        figures += [
            Figure(f"neural, {name}: median depth error", got.depth_mm, factor * mesh.depth_mm, unit=" mm", note=note),
            Figure(f"neural, {name}: median normal error", got.normal_deg, factor * mesh.normal_deg, unit=" deg"),
            Figure(f"neural, {name}: time", seconds, 240.0, unit=" s"),
        ]
    return figures


def measure(*, quick: bool) -> list[Figure]:
    """Clean, sparse and noisy views with the standard preset, or the clean ones alone with the draft preset."""
    truth, held_out = scan(), ring_cameras(6, held_out=True)
    settings = SURFACE_PRESETS["draft" if quick else "standard"]
    views = photograph(truth, ring_cameras(16))
    _fit(photograph(truth, ring_cameras(4, size_px=64)), SurfaceSettings(16, (1,)))  # compiles
    cases = {"16 views": (views, 0.15, 1.5)}
    if not quick:
        cases["8 views"] = (photograph(truth, ring_cameras(8)), 0.22, 2.2)
        noisy = disturbed(views, np.random.default_rng(0))
        cases["16 noisy views"] = (noisy, 0.35, 4.0)
        cases["noisy, grey"] = (replace(noisy, rgb=np.full_like(noisy.rgb, 0.5)), None, None)
        cases["colours alone"] = (replace(views, normals_world=np.zeros_like(views.normals_world)), None, None)
    figures, meshes, reached = [], {}, {}
    for name, (given, depth_bar, normal_bar) in cases.items():
        meshes[name], seconds = _fit(given, settings)
        got = reached[name] = accuracy(meshes[name], truth, held_out)
        note = f"{len(meshes[name].vertices)} vertices, outline overlap {got.overlap:.4f}"
        figures += [
            Figure(f"surface, {name}: median depth error", got.depth_mm, depth_bar, unit=" mm", note=note),
            Figure(f"surface, {name}: median normal error", got.normal_deg, normal_bar, unit=" deg"),
            Figure(f"surface, {name}: time", seconds, 25.0, unit=" s"),
        ]
    if not quick:
        factors = {"16 views": 1.5, "16 noisy views": 1.0}
        held = {name: (cases[name][0], reached[name], factor) for name, factor in factors.items()}
        figures += _neural(held, truth, held_out)
    started = time.perf_counter()
    textured = bake_texture(views, meshes["16 views"], size_px=2048)
    seconds = time.perf_counter() - started
    value = texture_psnr(textured, photograph(truth, held_out))
    return [
        *figures,
        Figure("texture, held-out views", value, 31.0, at_most=False, unit=" dB", note=f"{len(textured.faces)} faces"),
        Figure("texture: time", seconds, 8.0, unit=" s"),
    ]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the draft preset on clean views")
    print_figures(measure(quick=parser.parse_args().quick), title="surface and texture")


if __name__ == "__main__":
    main()
