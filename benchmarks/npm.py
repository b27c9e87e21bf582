"""Install packages from npm for a benchmark, into a temporary folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def install(folder: Path, *packages: str) -> Path:
    """Install packages and return their folder, ``node_modules``.

    Raises:
        FileNotFoundError: node or npm is not there, or npm has neither a cache nor a network.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise FileNotFoundError("node and npm are needed")
    (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    command = [npm, "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
        raise FileNotFoundError(f"npm cannot install {' '.join(packages)}")
    return folder / "node_modules"
