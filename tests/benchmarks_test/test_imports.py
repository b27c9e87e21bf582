"""Every module of benchmarks/ and tools/ imports: the names they take from the package exist. None is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMPORT_EACH = """
import importlib, sys, traceback
from pathlib import Path
failed = 0
for path in sorted(Path(sys.argv[1]).glob("*.py")):
    try:
        importlib.import_module(path.stem)
    except Exception:
        failed = 1
        print(path.name, traceback.format_exc())
sys.exit(failed)
"""


@pytest.mark.parametrize("folder", ["benchmarks", "tools"])
def test_modules_import(folder):
    """In a process of its own, where shapes are not checked: wrapping all of the package would take a minute."""
    # A script sees the modules beside it; some tools draw the synthetic people of benchmarks/.
    seen = dict.fromkeys([ROOT, ROOT / folder, ROOT / "benchmarks"])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, seen))}
    command = [sys.executable, "-c", IMPORT_EACH, str(ROOT / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
