"""Linear algebra in one thread: how long that holds, and that a head does not depend on the threads that were there."""

from __future__ import annotations

import threading

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

from spinmeround.runtime.blas import one_blas_thread
from spinmeround.runtime.stages import Stages


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_the_limit_lasts_until_the_last_run_of_a_process_ends():
    with threadpool_limits(2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        assert threads() == {1}
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == {2}


def test_what_a_stage_computes_does_not_depend_on_the_threads():
    rng = np.random.default_rng(0)
    rows, right = rng.normal(size=(3000, 400)), rng.normal(size=400)
    made = []
    for count in (1, 2, 3):
        with threadpool_limits(count, user_api="blas"), Stages(["head"], expected_s={})("head"):
            matrix = rows.T @ rows
            made.append((matrix, np.linalg.solve(matrix, right), scipy.linalg.cho_factor(matrix)[0]))
    for other in made[1:]:
        for one, same in zip(made[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


def test_threads_may_enter_and_leave_at_once():
    """Whichever thread set a limit before, here this one."""
    seen: list[set[int]] = []

    def work() -> None:
        for _ in range(20):
            with one_blas_thread():
                seen.append(threads())

    with threadpool_limits(2, user_api="blas"), one_blas_thread():
        pass
    before = threads()
    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert seen == [{1}] * 80
    assert threads() == before
