"""Imports point one way, and the light parts stay light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "numpy",
    "numba",
    "scipy",
    "cv2",
    "trimesh",
    "skimage",
    "ai_edge_litert",
    "rich",
)


def test_imports_point_one_way():
    """In a process of its own: the linter's logging set-up would silence every logger of this one."""
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    command = [sys.executable, "-c", program, "--no-cache", "--config", ROOT / "pyproject.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def modules_after(code: str) -> set[str]:
    report = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import spinmeround",
        "import spinmeround; dir(spinmeround); spinmeround.__version__",
        "import spinmeround.errors, spinmeround.configs, spinmeround.weights",
        "import spinmeround.io.atomic, spinmeround.io.formats",
        "import spinmeround.cli.recon, spinmeround.cli.views, spinmeround.cli.fit, spinmeround.cli.convert",
    ],
)
def test_light_imports_stay_light(code):
    assert not modules_after(code) & set(HEAVY)


def test_the_main_job_imports_no_extra():
    """Extras and development tools are not needed by the default path."""
    loaded = modules_after(
        "import spinmeround.pipelines.reconstruct, spinmeround.portrait, spinmeround.template.generator\n"
        "import spinmeround.recon.mesh_surface.fitter, spinmeround.recon.splats.fitter, spinmeround.recon.texture.bake"
    )
    extras = {"gsplat", "anny", "dlib", "pillow_heif", "diffusers", "transformers", "requests", "beartype", "warp"}
    assert not loaded & extras
