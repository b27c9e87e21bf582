"""What report.json holds: the choices and why, what each stage took, how well it fits, and whose work it stands on."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinmeround import weights
from spinmeround.io.atomic import atomic_file
from spinmeround.pipelines.backends import LoadedPortrait
from spinmeround.pipelines.choices import Choice
from spinmeround.runtime.stages import StageRecord
from spinmeround.types import Licence, PriorResult

if TYPE_CHECKING:
    from spinmeround.inspection.quality import Quality

log = logging.getLogger(__name__)

_PACKAGES = (
    "torch", "numpy", "scipy", "numba", "scikit-image", "opencv-python-headless", "xatlas",
    "fast-simplification", "ai-edge-litert", "pillow", "pymatting", "diffusers", "transformers",
)  # fmt: skip
_FACE_MODELS = ("face_landmarker.task", "face_detection_full_range_sparse.tflite")


def common(choices: Mapping[str, Choice], *, seed: int, records: Sequence[StageRecord]) -> dict[str, Any]:
    """Return the part every command reports."""
    return {
        "spinmeround": importlib.metadata.version("spinmeround"),
        "seed": seed,
        "choices": {name: choice.described() for name, choice in choices.items()},
        "stages": [
            {"stage": r.stage, "seconds": round(r.seconds, 2), "peak_memory_mb": round(r.peak_memory_mb)}
            for r in records
        ],
        "seconds": round(sum(r.seconds for r in records), 2),
        "peak_memory_mb": round(max((r.peak_memory_mb for r in records), default=0)),
        "versions": _versions(),
    }


def judge(loaded: Sequence[LoadedPortrait], made: PriorResult) -> Quality:
    """Judge photos and head before anything is made of the views: whoever asked for strictness need not wait.

    Of a head that the template was not fitted for, only the photos are known.
    """
    from spinmeround.inspection.quality import assess, measure_head
    from spinmeround.template.generator import TemplateHead

    head = None
    if isinstance(made.head, TemplateHead):
        head = measure_head(made.head, [each.portrait for each in loaded])
    return assess([each.measures for each in loaded], head)


def announce(quality: Quality) -> None:
    """Say in one line what to think of the result."""
    log.log(logging.WARNING if quality.verdict == "poor" else logging.INFO, "%s", quality.sentence)


def licences(stage_one: Sequence[Licence] | None) -> list[dict[str, str]]:
    """Return licences of every model, data file and library that took part.

    What comes with the package stands before what was fetched.

    Args:
        stage_one: models and data of the prior, the matte model and the hair model; None if only stage two ran.
    """
    used = [Licence("code", "spinmeround", "Apache-2.0")]
    if stage_one is not None:
        fetched = {entry.name for entry in weights.entries()}
        faces = [Licence("model", name, weights.entry(name).licence) for name in _FACE_MODELS]
        models = list(dict.fromkeys([*faces, *stage_one]))
        used += [each for each in models if each.name not in fetched]
        used += [each for each in models if each.name in fetched]
    for name in _PACKAGES:
        if (licence := _package_licence(name)) is not None:
            used.append(Licence("library", name, licence))
    return [asdict(each) for each in used]


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write JSON with a fixed order of keys.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    with atomic_file(path) as unfinished:
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        # A file name may hold bytes that are no UTF-8; Python's escape for them is JSON's as well.
        unfinished.write_bytes(text.encode("utf-8", "backslashreplace"))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # xatlas has no wheel for every machine
    return versions


def _package_licence(name: str) -> str | None:
    """Return what the installed package declares, in one line."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    expression = " ".join(metadata.get_all("License-Expression", [])) or " ".join(classifiers)
    return expression or "see the licence file of the package"
