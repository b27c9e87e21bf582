"""How well a head shows views that took no part in its fit."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from skimage.metrics import structural_similarity

from spinmeround.geometry import select
from spinmeround.images import composite
from spinmeround.inspection.drawing import Draw
from spinmeround.types import Progress, Views

log = logging.getLogger(__name__)

Picture = Float[np.ndarray, "h w 3"]

_LPIPS_BACKBONE = "alexnet-owt-7be5be79.pth"
_DIGITS = {"psnr": 2, "psnr_head": 2, "ssim": 4, "flip": 4, "lpips": 4}
_SSIM_WINDOW_PX = 11


def measure(draw: Draw, held_out: Views, progress: Progress) -> dict[str, Any]:
    """Compare pictures over white, view by view.

    Returns:
        ``views``, how many; then means over them. ``psnr`` is that of the whole picture and ``psnr_head`` that of the
        pixels where either picture shows the head, decibel; ``ssim`` is Wang's of 2004 with its Gaussian window of
        11 pixels; ``flip`` is LDR-FLIP's mean error (Andersson 2020; less is better); ``lpips`` that with AlexNet
        (Zhang 2018; less is better). What could not be measured is left out, and ``not_measured`` says why.
    """
    metrics: dict[str, Callable[[Picture, Picture], float]] = {"psnr": psnr, "ssim": _ssim}
    missing = {}
    for name, load in (("flip", _flip), ("lpips", _lpips)):
        found = load()
        if isinstance(found, str):
            missing[name] = found
        else:
            metrics[name] = found
    if min(held_out.cameras.width_px, held_out.cameras.height_px) < _SSIM_WINDOW_PX:
        del metrics["ssim"]
        missing["ssim"] = f"needs pictures of at least {_SSIM_WINDOW_PX} pixels"
    rows = []
    for index in range(len(held_out)):
        progress(index / len(held_out), f"held-out view {index + 1} of {len(held_out)}")
        drawn = draw(select(held_out.cameras, [index]))
        ours, alpha = composite(drawn.rgb, drawn.alpha)[0].astype(np.float32), held_out.alpha[index]
        truth = composite(held_out.rgb[index], alpha).astype(np.float32)
        row = {name: metric(truth, ours) for name, metric in metrics.items()}
        head = (alpha > 0.5) | (drawn.alpha[0] > 0.5)
        rows.append(row | {"psnr_head": psnr(truth, ours, head) if head.any() else row["psnr"]})
    means = {name: float(np.mean([row[name] for row in rows])) for name in _DIGITS if name in rows[0]}
    report: dict[str, Any] = {"views": len(held_out)} | {n: round(value, _DIGITS[n]) for n, value in means.items()}
    return report | ({"not_measured": missing} if missing else {})


def sentence(measured: dict[str, Any]) -> str:
    """What ``measure`` found, in one line."""
    units = {"psnr": " dB", "psnr_head": " dB on the head"}
    names = [name for name in _DIGITS if name in measured]
    values = ", ".join(f"{name.split('_')[0].upper()} {measured[name]:g}{units.get(name, '')}" for name in names)
    absent = "; ".join(f"no {name.upper()}: {why}" for name, why in measured.get("not_measured", {}).items())
    return f"{measured['views']} held-out views: {values}" + (f" ({absent})" if absent else "")


def psnr(truth: Picture, ours: Picture, where: Bool[np.ndarray, "h w"] | slice = slice(None)) -> float:
    """Peak signal to noise, decibel; at most 120."""
    squared = float(((truth[where] - ours[where]).astype(np.float64) ** 2).mean())
    return -10 * math.log10(max(squared, 1e-12))


def _ssim(truth: Picture, ours: Picture) -> float:
    similarity: Any = structural_similarity(
        truth, ours, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(similarity)


def _flip() -> Callable[[Picture, Picture], float] | str:
    """The metric, or why there is none."""
    try:
        evaluator = importlib.import_module("flip_evaluator")
    except ImportError:
        return "pip install flip-evaluator"
    return lambda truth, ours: float(evaluator.evaluate(truth, np.clip(ours, 0, 1), "LDR", applyMagma=False)[1])


def _lpips() -> Callable[[Picture, Picture], float] | str:
    """The metric, or why there is none. Its backbone is never fetched."""
    try:
        package = importlib.import_module("lpips")
    except ImportError:
        return "pip install lpips, and its AlexNet weights"
    import torch

    backbone = Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_BACKBONE
    if not backbone.is_file():
        return f"its AlexNet weights are not at {backbone}"
    network = package.LPIPS(net="alex", verbose=False).eval()

    def distance(truth: Picture, ours: Picture) -> float:
        tensors = [torch.from_numpy(np.clip(p, 0, 1)).permute(2, 0, 1)[None] for p in (truth, ours)]
        with torch.no_grad():
            return float(network(*tensors, normalize=True))

    return distance
