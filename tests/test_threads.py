"""Kernels over ranges of work: every item once, whatever the number of threads."""

import numba
import numpy as np
import pytest
from numba.core import config

from spinmeround.threads import over_ranges


@numba.njit(nogil=True)
def _count(first, end, counts):
    for i in range(first, end):
        counts[i] += 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_each_item_is_visited_once(monkeypatch, threads, count):
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", threads)
    counts = np.zeros(count, np.int64)
    over_ranges(count, _count, counts)
    assert (counts == 1).all()


def test_errors_of_a_range_are_raised(monkeypatch):
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", 2)

    def refuse(first, end):
        if end == 8:
            raise ValueError("the last range")

    with pytest.raises(ValueError, match="the last range"):
        over_ranges(8, refuse)
