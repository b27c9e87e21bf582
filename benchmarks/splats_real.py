"""Splats of published turntable videos, with approximate cameras and no normals, compared with plain 3DGS.

    python benchmarks/splats_real.py [--quick] [--size PX]

Even frames of each video are fitted, odd ones held out, all with the nominal level camera (docs/CAMERA.md has the
calibrated one). Our fit registers the cameras first; cameras of held-out frames get the corrections of their fitted
neighbours and are never fitted themselves. Plain 3D Gaussian Splatting gets the nominal cameras, the same number of
splats at random places inside all masks, and the same time; it is implemented for this comparison only.
"""

from __future__ import annotations

import time
from dataclasses import replace

import datasets
import numpy as np
import torch
from command_line import benchmark_parser, run
from scipy.spatial import cKDTree
from tables import Figure

from spinmeround.geometry import select
from spinmeround.images import resize
from spinmeround.inspection.drawing import splats_drawer
from spinmeround.inspection.held_out import measure as measure_held_out
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.cameras.motion import interpolate_camera_motion
from spinmeround.recon.cameras.photometric import refine_cameras
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats.fitter import SPLAT_PRESETS, GaussianFitter, SplatSettings
from spinmeround.recon.splats.initialisation import outside_silhouettes
from spinmeround.recon.splats.losses import structural_dissimilarity, weighted_l1
from spinmeround.types import Mesh, Splats, Views, no_progress

NOMINAL_FOCAL_WIDTHS, NOMINAL_CENTRE_DOWN, NOMINAL_DISTANCE = 3.877, 0.45, 2.7
NO_SURFACE = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
LEARNING_RATES = {"means": 1e-3, "log_scales": 2e-2, "quats": 1e-2, "logits": 5e-2, "sh": 2e-2}


def turn_views(video: str, size_px: int) -> tuple[Views, Views]:
    """Return views of the even and of the odd frames, with the nominal camera."""
    frames = datasets.turn_frames(video)
    azimuths = datasets.DEGREES_PER_FRAME * np.arange(len(frames))
    cameras = orbit_cameras(
        azimuths, np.zeros(len(frames)), size_px=size_px, radius=NOMINAL_DISTANCE, focal_widths=NOMINAL_FOCAL_WIDTHS
    )
    cameras.intrinsics_px[:, 1, 2] = NOMINAL_CENTRE_DOWN * size_px
    rgb = np.stack([resize(frame.astype(np.float32) / 255, size_px, size_px) for frame in frames])
    masks = [datasets.near_white_mask(frame).astype(np.float32) for frame in frames]
    alpha = np.stack([resize(mask, size_px, size_px) for mask in masks])
    views = Views(cameras, rgb, np.zeros_like(rgb), alpha, np.ones_like(alpha))
    return tuple(
        replace(
            views, cameras=select(cameras, slice(first, None, 2)),
            **{name: getattr(views, name)[first::2] for name in ("rgb", "normals_world", "alpha", "weight")},
        )
        for first in (0, 1)
    )  # type: ignore[return-value]  # fmt: skip


def random_start(views: Views, count: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Return the parameters of round grey splats at random places inside all masks."""
    points = np.zeros((0, 3))
    while len(points) < count:
        drawn = rng.uniform(-0.6, 0.6, (4 * count, 3))
        points = np.concatenate([points, drawn[~outside_silhouettes(drawn, views)]])
    points = points[:count]
    width = cKDTree(points).query(points, k=4)[0][:, 1:].mean(axis=1, keepdims=True)
    return {
        "means": torch.tensor(points, dtype=torch.float32),
        "log_scales": torch.tensor(np.log(0.6 * width), dtype=torch.float32).repeat(1, 3),
        "quats": torch.tensor(rng.normal(size=(count, 4)), dtype=torch.float32),
        "logits": torch.zeros(count),
        "sh": torch.zeros(count, 1, 3),
    }


def splats_of(parameters: dict[str, torch.Tensor]) -> Splats:
    """Return the splats of optimiser parameters (logarithms of scales, logits of opacities)."""
    quats = torch.nn.functional.normalize(parameters["quats"], dim=1)
    return Splats(
        parameters["means"], parameters["log_scales"].exp(), quats, parameters["logits"].sigmoid(), parameters["sh"]
    )


def plain_gaussian_splatting(views: Views, count: int, seconds: float) -> Splats:
    """Minimise 0.8 L1 + 0.2 (1 - SSIM) over white by Adam until the time is up."""
    rng, started = np.random.default_rng(0), time.perf_counter()
    parameters = random_start(views, count, rng)
    groups = [{"params": [p.requires_grad_()], "start": LEARNING_RATES[name]} for name, p in parameters.items()]
    adam, rasterizer, order = torch.optim.Adam(groups, lr=0.0, eps=1e-15), NumbaRasterizer(), []
    while (progress := (time.perf_counter() - started) / seconds) < 1:
        order = order or rng.permutation(len(views)).tolist()
        index = order.pop()
        drawn = rasterizer.render(splats_of(parameters), select(views.cameras, [index]))
        ours = drawn.rgb[0] + 1 - drawn.alpha[0][..., None]
        alpha = views.alpha[index][..., None]
        truth = torch.from_numpy((views.rgb[index] * alpha + 1 - alpha).astype(np.float32))
        everywhere = torch.ones(truth.shape[:2])
        loss = 0.8 * weighted_l1(ours, truth, everywhere) + 0.2 * structural_dissimilarity(ours, truth, everywhere)
        adam.zero_grad()
        loss.backward()
        for group in adam.param_groups:
            group["lr"] = group["start"] * 0.05**progress
        adam.step()
    return Splats(
        *(getattr(splats_of(parameters), n).detach() for n in ("means", "scales", "quats_wxyz", "opacities", "sh"))
    )


def measure(*, quick: bool, size_px: int | None = None) -> list[Figure]:
    """Measure three videos at 512 pixels, or one at 128 if quick."""
    size = size_px or (128 if quick else 512)
    settings = SplatSettings(8_000, 100) if quick else SPLAT_PRESETS["standard"]
    results = []
    for video in datasets.TURNS[:1] if quick else datasets.TURNS:
        views, held_out = turn_views(video, size)
        started = time.perf_counter()
        found = refine_cameras(views, NumbaRasterizer(), seed=0, progress=no_progress)
        registered = found.apply(views)
        splats = GaussianFitter(NumbaRasterizer(), settings).fit(registered, NO_SURFACE, seed=0)
        seconds = time.perf_counter() - started
        moved = interpolate_camera_motion(held_out, views.cameras, registered.cameras)
        ours = measure_held_out(splats_drawer(splats), moved, no_progress)
        plain_splats = plain_gaussian_splatting(views, len(splats), seconds)
        plain = measure_held_out(splats_drawer(plain_splats), held_out, no_progress)
        results.append((video, ours, plain, seconds))
    bars = not quick and size_px is None
    out = []
    for video, ours, plain, seconds in results:
        note = f"{size} px; {ours['psnr_head']:.2f} dB against {plain['psnr_head']:.2f} dB"
        gain = ours["psnr_head"] - plain["psnr_head"]
        out += [
            Figure(f"splats, {video}, seconds", seconds, 150 if bars else None, unit=" s"),
            Figure(
                f"splats, {video}, over plain 3DGS", gain, 1.0 if bars else None, at_most=False, unit=" dB", note=note
            ),
        ]
        if "flip" in ours:
            note = f"{ours['flip']:.4f} against {plain['flip']:.4f}"
            less = plain["flip"] - ours["flip"]
            out.append(
                Figure(
                    f"splats, {video}, FLIP less than plain 3DGS", less, 0 if bars else None, at_most=False, note=note
                )
            )
    mean = float(np.mean([ours["psnr_head"] for _, ours, _, _ in results]))
    return [
        *out,
        Figure(
            "splats, published videos, head",
            mean,
            24.0 if bars else None,
            at_most=False,
            unit=" dB",
            note="mean of held-out frames",
        ),
    ]


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(__doc__, quick="one turn at 128 pixels, no bar")
    parser.add_argument("--size", dest="size_px", type=int, metavar="PX", help="pixels of the pictures; no bar")
    run(measure, parser, title="splats, published videos")


if __name__ == "__main__":
    main()
