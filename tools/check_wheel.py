"""Build the wheel and check its contents: one import package, its data files, the licences, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = (
    "batch/sheet.html",
    "configs/weights.toml",
    "configs/presets.toml",
    "configs/spinmeround.toml",
    "portrait/hair_network.npz",
    "portrait/NOTICE.md",
    "server/static/NOTICE.md",
    "server/static/NOTICE-parts.md",
    "server/static/app.css",
    "server/static/app.js",
    "server/static/icon.svg",
    "server/static/index.html",
    "server/static/viewer.css",
    "server/static/viewer.html",
    "server/static/viewer.js",
    "template/head.npz",
    "template/NOTICE.md",
    "viewer/export.html",
)
LARGEST_BYTES = 8_000_000
"""A pip install stays small; larger files belong in the weights registry."""


def main() -> int:
    """Print what is wrong; return 0 if nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        problems = find_problems(wheel)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel into a folder, without a network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"]
    command += ["--no-build-isolation", "--quiet", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


def find_problems(wheel: Path) -> list[str]:
    """Return a sentence for each file that is missing from ``wheel`` or should not be in it."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata_name,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
    problems = []
    tops = {n.split("/")[0] for n in names if not n.split("/")[0].endswith(".dist-info")}
    if tops != {"spinmeround"}:
        problems.append(f"installs {sorted(tops)}, expected the one package spinmeround")
    missing = [f"spinmeround/{d}" for d in DATA if f"spinmeround/{d}" not in names]
    sources = {f"spinmeround/{p.relative_to(ROOT / 'spinmeround').as_posix()}" for p in _modules()}
    problems += [f"{n} is not in the wheel" for n in [*missing, *sorted(sources - names)]]
    stray = [n for n in names if "/tests/" in n or n.endswith((".pyc", ".nbi", ".nbc", ".task", ".tflite"))]
    problems += [f"{n} should not be in the wheel" for n in sorted(stray)]
    if wheel.stat().st_size > LARGEST_BYTES:
        problems.append(f"{wheel.stat().st_size} bytes, at most {LARGEST_BYTES} expected")
    notices = {"LICENSE", *(f"spinmeround/{name}" for name in DATA if "/NOTICE" in name)}
    if not notices <= set(metadata.get_all("License-File", ())):
        problems.append("the licence files are not declared")
    return problems


def _modules() -> list[Path]:
    return [p for p in (ROOT / "spinmeround").rglob("*.py") if "__pycache__" not in p.parts]


if __name__ == "__main__":
    sys.exit(main())
