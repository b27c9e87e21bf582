"""Accuracy of surface and texture: fits to rendered views of a laser scan, compared with the scan.

    python benchmarks/bench_surface.py [--quick]

`scans/igea.ply` of the shared data is scaled to a head of 0.23 m and rendered into 16 or 8 views of 512 pixels in three
rings, with exact normals. Further cases: 16 views with smooth noise (standard deviations: normals 8 degrees,
silhouettes 2 pixels, cameras rotated about the head by half a degree), for three seeds; the same in grey; cameras
rotated about their own centres; exact views without normals; a synthetic person with that noise, and without normals.
The neural surface is compared with the mesh on the exact and the noisy views. Depths are compared without alignment.
The texture is compared with a solid pattern on the scan.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib.util import find_spec

import cv2
import datasets
import numpy as np
import trimesh
from command_line import benchmark_parser, run
from jaxtyping import Float
from measures import MILLIMETRES_PER_UNIT, angles_deg, mask_iou
from scipy.spatial.transform import Rotation
from tables import Figure

from spinmeround.geometry import vertex_normals
from spinmeround.mesh_raster import FaceBuffer, interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.protocols import SurfaceFitter
from spinmeround.recon.hull import silhouettes
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.sdf.fitter import SdfSettings, SdfSurfaceFitter
from spinmeround.recon.texture.bake import bake_texture
from spinmeround.types import Cameras, Mesh, TexturedMesh, Views

_RINGS_DEG = (0.0, 25.0, -20.0)
_HELD_OUT_RINGS_DEG = (12.0, -10.0, 22.0)
_HEAD_UNITS = 0.56
_NOISE_SEEDS = 3


@dataclass(frozen=True)
class Accuracy:
    """Errors over all pixels of held-out views that both surfaces cover.

    Attributes:
        depth_mm: median absolute difference of depth.
        normal_deg: median angle between the normals.
        iou: intersection over union of the silhouettes, mean over the views.
    """

    depth_mm: float
    normal_deg: float
    iou: float


def scan() -> Mesh:
    """Return the scan, centred, 0.56 head units along its longest side."""
    raw = trimesh.load(datasets.data_folder() / "scans" / "igea.ply", force="mesh", process=False)
    low, high = raw.bounds
    return Mesh((raw.vertices - (low + high) / 2) * (_HEAD_UNITS / (high - low).max()), np.array(raw.faces))


def ring_cameras(count: int, *, held_out: bool = False, size_px: int = 512) -> Cameras:
    """Return ``count`` cameras around the head in rings of elevation; held-out ones lie between."""
    azimuths = 360 * (np.arange(count) + (0.37 if held_out else 0)) / count
    rings = _HELD_OUT_RINGS_DEG if held_out else _RINGS_DEG if count > 8 else (10.0, -15.0)
    elevations = [rings[i % len(rings)] for i in range(count)]
    return orbit_cameras(azimuths.tolist(), elevations, size_px=size_px)


def paint(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return colours of a solid pattern with wavelengths from 15 cm down to 4 mm."""
    waves = sum(
        np.sin(points[:, [1, 2, 0]] * k + np.sin(points[:, [2, 0, 1]] * k * 0.7 + [0, 2, 4])) / k**0.5
        for k in (17, 43, 110, 280)
    )
    return np.clip(0.5 + 0.5 * waves, 0, 1)


def photograph(mesh: Mesh, cameras: Cameras) -> Views:
    """Render exact pictures, normals and masks."""
    attributes = np.concatenate([vertex_normals(mesh.vertices, mesh.faces), paint(mesh.vertices)], axis=1)
    buffers = [rasterize(mesh.vertices, mesh.faces, cameras, index) for index in range(len(cameras))]
    seen = np.stack([interpolate(attributes, mesh.faces, buffer) for buffer in buffers])
    normals = seen[..., :3] / np.maximum(np.linalg.norm(seen[..., :3], axis=-1, keepdims=True), 1e-9)
    alpha = np.stack([(buffer.face >= 0).astype(np.float32) for buffer in buffers])
    return Views(cameras, seen[..., 3:], normals, alpha, np.ones_like(alpha))


def with_noise(views: Views, rng: np.random.Generator) -> Views:
    """Return views with smooth noise on normals, silhouettes and poses; the module's docstring has its sizes."""
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


def with_rotated_cameras(views: Views, rng: np.random.Generator) -> Views:
    """Return views whose cameras are rotated about their own centres by half a degree (standard deviation)."""
    turns = Rotation.from_rotvec(rng.normal(size=(len(views), 3)) * np.radians(0.5) / np.sqrt(3)).as_matrix()
    poses = views.cameras.camera_from_world.copy()
    poses[:, :3] = turns @ poses[:, :3]
    return replace(views, cameras=replace(views.cameras, camera_from_world=poses))


def accuracy(mesh: Mesh, truth: Mesh, cameras: Cameras) -> Accuracy:
    """Compare a fitted mesh with the true one, pixel by pixel."""
    depth, angle, iou = [], [], []
    for index in range(len(cameras)):
        ours, theirs = (rasterize(m.vertices, m.faces, cameras, index) for m in (mesh, truth))
        both = (ours.face >= 0) & (theirs.face >= 0)
        iou.append(mask_iou(ours.face >= 0, theirs.face >= 0))
        depth.append(np.abs(ours.depth[both] - theirs.depth[both]))
        cosine = (_normals(mesh, ours) * _normals(truth, theirs)).sum(-1)[both]
        angle.append(angles_deg(cosine))
    return Accuracy(
        float(np.median(np.concatenate(depth))) * MILLIMETRES_PER_UNIT,
        float(np.median(np.concatenate(angle))),
        float(np.mean(iou)),
    )


def _normals(mesh: Mesh, buffer: FaceBuffer) -> Float[np.ndarray, "h w 3"]:
    normals = interpolate(vertex_normals(mesh.vertices, mesh.faces), mesh.faces, buffer)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)


def texture_psnr(mesh: TexturedMesh, truth: Views) -> float:
    """Return the PSNR of the textured mesh where it and the truth overlap, dB."""
    size, squares = mesh.albedo.shape[0], []
    for index in range(len(truth)):
        buffer = rasterize(mesh.vertices, mesh.faces, truth.cameras, index)
        uv = interpolate(mesh.uv.astype(np.float32), mesh.uv_faces, buffer)
        rgb = cv2.remap(mesh.albedo, uv[..., 0] * size - 0.5, (1 - uv[..., 1]) * size - 0.5, cv2.INTER_LINEAR)
        both = (buffer.face >= 0) & (truth.alpha[index] > 0.5)
        squares.append(((rgb - truth.rgb[index])[both] ** 2).ravel())
    return float(-10 * np.log10(np.concatenate(squares).mean()))


@dataclass(frozen=True)
class Case:
    """Views of an object, and the bars of the surface fitted to them.

    Attributes:
        held_out: cameras from which the surface is compared with the truth.
        bars: of the mesh's median errors, mm and degrees; None without a bar.
        neural_factor: largest ratio of the neural surface's errors to the mesh's; None: it is not fitted.
    """

    name: str
    truth: Mesh
    views: Views
    held_out: Cameras
    bars: tuple[float | None, float | None] = (None, None)
    neural_factor: float | None = None


def _cases(*, quick: bool) -> list[Case]:
    truth, held_out = scan(), ring_cameras(6, held_out=True)
    views = photograph(truth, ring_cameras(16))
    cases = [Case("16 views", truth, views, held_out, (0.15, 1.5), None if quick else 1.5)]
    if quick:
        return cases
    cases.append(Case("8 views", truth, photograph(truth, ring_cameras(8)), held_out, (0.22, 2.2)))
    for seed in range(_NOISE_SEEDS):
        noisy = with_noise(views, np.random.default_rng(seed))
        cases.append(Case(f"16 noisy views, noise {seed}", truth, noisy, held_out, (0.35, 4.0), 1.0))
        if seed == 0:
            grey = replace(noisy, rgb=np.full_like(noisy.rgb, 0.5))
            cases.append(Case("noisy, grey", truth, grey, held_out))
    # The pose of such a rig as a whole is not observable: no bar for depth.
    rotated = with_rotated_cameras(views, np.random.default_rng(0))
    cases.append(Case("cameras rotated about themselves", truth, rotated, held_out, (None, 4.0)))
    cases.append(Case("colours alone", truth, _without_normals(views), held_out))
    return [*cases, *_person()]


def _person() -> list[Case]:
    """Return the cases of a synthetic person: noisy, and without normals; none if anny is not installed."""
    if not find_spec("anny"):
        return []
    import synthetic_views

    person = synthetic_views.virtual_person(0)
    views, held_out = person.views(ring_cameras(16)), ring_cameras(6, held_out=True)
    noisy = with_noise(views, np.random.default_rng(0))
    return [
        Case("16 noisy views, a person", person.mesh, noisy, held_out, (None, None), 1.0),
        Case("colours alone, a person", person.mesh, _without_normals(views), held_out),
    ]


def _without_normals(views: Views) -> Views:
    return replace(views, normals_world=np.zeros_like(views.normals_world))


def _fitted(
    what: str, fitter: SurfaceFitter, case: Case, bars: tuple[float | None, float | None], most_s: float
) -> tuple[Mesh, Accuracy, list[Figure]]:
    started = time.perf_counter()
    mesh = fitter.fit(case.views, seed=0).mesh
    seconds = time.perf_counter() - started
    got = accuracy(mesh, case.truth, case.held_out)
    note = f"{len(mesh.vertices)} vertices, silhouette IoU {got.iou:.4f}"
    return mesh, got, [
        Figure(f"{what}, {case.name}: median depth error", got.depth_mm, bars[0], unit=" mm", note=note),
        Figure(f"{what}, {case.name}: median normal error", got.normal_deg, bars[1], unit=" deg"),
        Figure(f"{what}, {case.name}: time", seconds, most_s, unit=" s"),
    ]  # fmt: skip


def _compile(truth: Mesh, *, neural: bool) -> None:
    tiny = SurfaceSettings(16, (1,))
    fitter = SdfSurfaceFitter(SdfSettings(tiny, (1,))) if neural else NormalSurfaceFitter(tiny)
    fitter.fit(photograph(truth, ring_cameras(4, size_px=64)), seed=0)


def measure(*, quick: bool) -> list[Figure]:
    """Measure all cases with the standard preset, or the clean views alone with the draft preset if quick."""
    cases = _cases(quick=quick)
    _compile(cases[0].truth, neural=not quick)
    mesh_fitter = NormalSurfaceFitter(SURFACE_PRESETS["draft" if quick else "standard"])
    figures, meshes, compared = [], [], []
    for case in cases:
        mesh, got, case_figures = _fitted("surface", mesh_fitter, case, case.bars, 25.0)
        meshes.append(mesh)
        figures += case_figures
        if case.neural_factor is not None:
            compared.append((case, (case.neural_factor * got.depth_mm, case.neural_factor * got.normal_deg)))
    for case, bars in compared:
        figures += _fitted("neural", SdfSurfaceFitter(), case, bars, 240.0)[2]
    clean = cases[0]
    started = time.perf_counter()
    textured = bake_texture(clean.views, meshes[0], size_px=2048)
    seconds = time.perf_counter() - started
    value = texture_psnr(textured, photograph(clean.truth, clean.held_out))
    return [
        *figures,
        Figure("texture, held-out views", value, 31.0, at_most=False, unit=" dB", note=f"{len(textured.faces)} faces"),
        Figure("texture: time", seconds, 8.0, unit=" s"),
    ]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="the draft preset on clean views"), title="surface and texture")


if __name__ == "__main__":
    main()
