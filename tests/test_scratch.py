"""Arrays larger than memory: the same numbers from a file that leaves nothing behind."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from spinmeround import scratch
from spinmeround.errors import ResourceError
from spinmeround.io import read_views, write_views
from spinmeround.recon.mesh_surface.fitter import NormalSurfaceFitter, SurfaceSettings
from spinmeround.recon.texture.bake import bake_texture
from tests.recon import scenes


@pytest.fixture
def little_memory(monkeypatch, tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(scratch.tempfile, "tempdir", None)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    return folder


def test_small_arrays_stay_in_memory():
    first, second = scratch.planes((2, 3), (4,))
    assert first.shape == (2, 3) and second.shape == (4,) and first.base is None and not first.any()


def test_large_arrays_are_files_that_vanish(little_memory, caplog):
    with caplog.at_level("INFO"):
        (large,) = scratch.planes((100, 30))
    large[:] = np.arange(30)
    assert type(large) is np.ndarray and isinstance(large.base, np.memmap)
    assert large.sum() == 100 * 435 and not list(little_memory.iterdir())
    assert "are kept in temporary files" in caplog.text


def test_neither_memory_nor_disk(little_memory, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(ResourceError, match="fit fewer or smaller pictures, or name another disk: TMPDIR="):
        scratch.planes((100, 30))


def test_a_fit_out_of_memory_gives_the_same_head(tmp_path, request):
    write_views(tmp_path / "views", scenes.draw(scenes.sphere(), scenes.cameras(size_px=96)))

    def head():
        views, _ = read_views(tmp_path / "views")
        surface = NormalSurfaceFitter(SurfaceSettings(24, (3, 2))).fit(views, seed=0).mesh
        return bake_texture(views, surface, size_px=128, faces=1000)

    inside = head()
    request.getfixturevalue("little_memory")
    outside = head()
    np.testing.assert_array_equal(outside.vertices, inside.vertices)
    np.testing.assert_array_equal(outside.albedo, inside.albedo)
