"""Recorded runs: of the original code where they are at hand, and of the model stated once more, made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.diffusion import record
from tests.diffusion.golden import Golden


@pytest.fixture(scope="session")
def original(request) -> Golden:
    """``SPMR_GOLDEN``, else ``golden`` in the folder of test data; the test skips without either."""
    chosen = os.environ.get("SPMR_GOLDEN")
    folder = Path(chosen) if chosen else request.getfixturevalue("test_data") / "golden"
    if not (folder / "config.json").is_file():
        if chosen:
            pytest.fail(f"SPMR_GOLDEN points at {folder}, which has no config.json")
        pytest.skip(f"no recorded runs of the original code at {folder}; set SPMR_GOLDEN to their folder")
    return Golden(folder)


@pytest.fixture(scope="session")
def restated(tmp_path_factory) -> Golden:
    """Recordings of ``statement``, which need nothing but this folder."""
    folder = tmp_path_factory.mktemp("restated")
    record.record(folder)
    return Golden(folder, photo_guidance=record.photo_guidance())


@pytest.fixture(scope="session", params=["original", "restated"])
def golden(request) -> Golden:
    """Both, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def recorded(golden):
    """The pipeline of the recorded runs' own checkpoint."""
    return golden.pipeline()


@pytest.fixture(autouse=True)
def one_thread():
    """Test processes run side by side, and threads that wait for each other cost more than they gain.

    Set for each test: numba's kernels set torch's threads as well as their own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield
