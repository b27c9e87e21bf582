"""Shared by all tests: run-time checks of shapes and types, drawn samples, the folder of the optional test data."""

from __future__ import annotations

import os
from pathlib import Path

import jaxtyping._import_hook as import_hook
import pytest
from hypothesis import Phase, settings

# The same samples in every run, and no time limit on one of them: other tests may load the machine. Failing samples are
# reported as drawn, since shrinking arrays takes minutes.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=20,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("repeatable")

_is_marked_unchecked = import_hook._is_no_type_check


def _is_unchecked(decorator) -> bool:
    """Compiled functions cannot be wrapped: numba needs the plain function."""
    target = decorator.func if hasattr(decorator, "func") else decorator
    name = getattr(target, "attr", getattr(target, "id", ""))
    return name in {"njit", "jit", "vectorize", "guvectorize", "overload", "compiled"} or _is_marked_unchecked(
        decorator
    )


import_hook._is_no_type_check = _is_unchecked
import_hook.install_import_hook(
    "spinmeround", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True, violation_type=TypeError))"
)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of evaluation data that is no part of the project; the test skips without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SPMR_TEST_DATA") or beside)
    if not (folder / "faces").is_dir():
        pytest.skip(f"no evaluation data at {folder}; set SPMR_TEST_DATA to their folder")
    return folder
