"""Every module of benchmarks/ and tools/ imports: what they take from the package exists. None is run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = [(folder, path.stem) for folder in ("benchmarks", "tools") for path in sorted((ROOT / folder).glob("*.py"))]


@pytest.mark.parametrize(("folder", "module"), MODULES)
def test_module_imports(folder, module, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / folder))  # as for a script, which sees the modules beside it
    importlib.import_module(module)
