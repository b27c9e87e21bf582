"""Compiled kernels: from the cache while nothing changed, anew when any of their files did."""

from __future__ import annotations

import types
from pathlib import Path

import numba

from spinmeround.recon.raster import compilation

SOURCE = "def kernel(x):\n    return shared(x)\n"


def compile_with(shared, path: Path):
    """As if ``kernel`` stood in the file at ``path`` and ``shared`` had been imported from another."""
    module = types.ModuleType("kernels")
    module.__dict__.update(shared=shared, __file__=str(path))
    exec(compile(SOURCE, str(path), "exec"), module.__dict__)
    return compilation.compiled("int64(int64)")(module.__dict__["kernel"])


@numba.njit
def double(x):
    return 2 * x


@numba.njit
def treble(x):
    return 3 * x


def test_a_kernel_follows_functions_of_other_files(monkeypatch, tmp_path):
    path = tmp_path / "kernels.py"
    path.write_text(SOURCE)
    monkeypatch.setattr(compilation, "_SOURCES_HASH", "before")
    assert compile_with(double, path)(7) == 14
    again = compile_with(double, path)
    assert again(7) == 14 and sum(again.stats.cache_hits.values()) == 1
    monkeypatch.setattr(compilation, "_SOURCES_HASH", "after")
    assert compile_with(treble, path)(7) == 21


def test_every_file_of_the_kernels_counts():
    names = {source.name for source in compilation._SOURCES}
    assert {"rigid.py", "spherical_harmonics.py", "tiles.py", "layout.py", "compilation.py", "types.py"} <= names
