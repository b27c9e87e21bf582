"""``spmr-doctor``: what this machine has, and what each missing part would need."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spinmeround.cli.arguments import Parser, add_talk
from spinmeround.cli.console import run

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch


class _Package(NamedTuple):
    module: str
    distribution: str
    serves: str
    required: bool


_PACKAGES = (
    _Package("torch", "torch", "splat fitting", True),
    _Package("numba", "numba", "rasterisers", True),
    _Package("scipy", "scipy", "head and surface fitting", True),
    _Package("cv2", "opencv-python-headless", "pictures", True),
    _Package("skimage", "scikit-image", "surfaces, the demo photo", True),
    _Package("ai_edge_litert", "ai-edge-litert", "face landmarks", True),
    _Package("xatlas", "xatlas", "texture layout of meshes", True),
    _Package("fast_simplification", "fast-simplification", "smaller meshes", True),
    _Package("imageio_ffmpeg", "imageio-ffmpeg", "--turntable", True),
    _Package("gsplat", "gsplat", "--device cuda", False),
    _Package("pillow_heif", "pillow-heif", "HEIC photos", False),
    _Package("onnxruntime", "onnxruntime", "the identity of a face, for the diffusion prior", False),
    _Package("pxr", "usd-core", ".usdz, .usdc and .usda files", False),
    _Package("trimesh", "trimesh", ".stl and .off files", False),
    _Package("lxml", "lxml", ".3mf files", False),
)
_MEMORY_GB = 4.0
_DISK_GB = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = parser().read(argv)

    def action(_: Watch) -> None:
        from spinmeround.errors import MissingDependencyError

        faults = [*_machine(), *_libraries(), *_models()]
        if faults:
            raise MissingDependencyError(f"not ready: {'; '.join(faults)}")
        sys.stdout.write("\nready: spmr-recon face.jpg --out head.ply\n")

    return run("spmr-doctor", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """What the command understands."""
    made = Parser(
        "spmr-doctor",
        does="What this machine has for spinmeround, and what each missing part would need.",
        examples=("spmr-doctor                                 exit status 5 if the main job cannot run",),
    )
    add_talk(made)
    return made


def _line(name: str, value: str) -> None:
    sys.stdout.write(f"  {name:26s} {value}\n")


def _machine() -> list[str]:
    import psutil
    import torch

    from spinmeround.runtime.memory import free_bytes

    sys.stdout.write("machine\n")
    memory, memory_free = psutil.virtual_memory().total, free_bytes()
    free = psutil.disk_usage(str(Path.cwd())).free
    _line("spinmeround", importlib.metadata.version("spinmeround"))
    _line("Python", f"{platform.python_version()} on {platform.platform()}")
    _line("processor cores", str(os.cpu_count()))
    _line("memory", f"{memory_free / 2**30:.1f} GB free of {memory / 2**30:.1f} (--quality standard: 4)")
    _line("disk, this folder", f"{free / 2**30:.1f} GB free")
    if torch.cuda.is_available():
        _line("GPU", f"{torch.cuda.get_device_name()} (--device cuda fits splats on it)")
    else:
        _line("GPU", "none that torch sees; none is needed")
    faults = []
    if memory_free < _MEMORY_GB * 2**30:
        _line("", "little memory: close other programs, or use --quality draft")
    if free < _DISK_GB * 2**30:
        faults.append("less than 1 GB of disk is free here")
    return faults


def _libraries() -> list[str]:
    sys.stdout.write("\nlibraries\n")
    faults = []
    for package in _PACKAGES:
        try:
            importlib.import_module(package.module)
        except (ImportError, OSError) as error:
            reason = "not installed" if isinstance(error, ModuleNotFoundError) else str(error).splitlines()[0]
            remedy = f"pip install {package.distribution}"
            _line(package.distribution, f"{reason}; for {package.serves}: {remedy}")
            if package.required:
                faults.append(f"{package.distribution} ({remedy})")
        else:
            _line(package.distribution, importlib.metadata.version(package.distribution))
    return faults


def _models() -> list[str]:
    from spinmeround import weights

    sys.stdout.write(f"\nmodel files in {weights.folder()}\n")
    faults = []
    for entry, state, sentence in weights.verify():
        if state == "absent":
            how = "spmr-weights fetch" if entry.needed_by_all else "only for the diffusion prior"
            _line(entry.name, f"absent; {how}")
        else:
            _line(entry.name, state if state != "wrong" else sentence)
        if state == "wrong" or (state == "absent" and entry.needed_by_all):
            faults.append(f"{entry.name} (spmr-weights fetch)")
    return faults
