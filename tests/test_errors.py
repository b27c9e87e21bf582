"""What means that memory or room ran out, whoever says it."""

from __future__ import annotations

import errno

import pytest

from spinmeround.errors import is_out_of_memory, is_out_of_room


def _without_reason() -> OSError:
    try:
        try:
            raise OSError("libllvmlite.so: failed to map segment from shared object")
        except OSError:
            raise OSError("could not find the library")  # noqa: B904 - as llvmlite does
    except OSError as error:
        return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOENT, "No such file", "failed to map segment"), False),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (ImportError("libtorch_cpu.so: cannot open shared object file"), False),
        (ModuleNotFoundError("No module named 'torch'"), False),
        (_without_reason(), True),
        (OSError("could not find the library"), False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("a defect"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_means_that_memory_ran_out(error, expected):
    assert is_out_of_memory(error) is expected


def test_what_means_that_room_ran_out():
    assert is_out_of_room(OSError(errno.ENOSPC, "No space left on device"))
    assert is_out_of_room(OSError(errno.EFBIG, "File too large"))
    assert not is_out_of_room(OSError(errno.EACCES, "Permission denied"))
    assert not is_out_of_room(ValueError("No space left on device"))
