"""Kernels have a place where nothing else can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spinmeround import kernel_cache

VARIABLE = "NUMBA_CACHE_DIR"


@pytest.fixture
def writable(monkeypatch):
    """Which folders ``os.access`` says can be written; the administrator may write anywhere."""
    places: set[Path] = set()
    for name in (VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) in places)
    registered: list = []
    monkeypatch.setattr(kernel_cache.atexit, "register", lambda *call, **options: registered.append((call, options)))
    yield places
    for (remove, *rest), options in registered:
        remove(*rest, **options)


def test_a_private_folder_where_there_is_no_other(writable, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/no/such/home"))
    kernel_cache.keep_kernels_somewhere()
    folder = Path(os.environ.pop(VARIABLE))
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("place", ["package", "home"])
def test_nothing_changes_where_numba_finds_a_place(writable, monkeypatch, tmp_path, place):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    writable.add(Path(kernel_cache.__file__).parent if place == "package" else tmp_path)
    kernel_cache.keep_kernels_somewhere()
    assert VARIABLE not in os.environ
