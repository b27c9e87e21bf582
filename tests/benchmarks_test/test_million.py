"""The simulation of a large batch: what can be said of it without running it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from million import Cluster, Simulation, drawn

IDEAL = Cluster(cores=10, cores_a_node=5, cold_s=0, speed_deviation=0, submit_s=0, row_s=0, table_row_s=0, plan_s=0)
HEADS = np.full(200, 10.0)


def run(cluster: Cluster, heads: np.ndarray = HEADS, seed: int = 0):
    return Simulation(cluster, heads, seed=seed).run()


def test_cores_that_never_wait_take_the_sum_of_the_heads():
    made = run(IDEAL)
    assert made.seconds == pytest.approx(200)
    assert (made.busy_s, made.lost_s, made.failed) == (pytest.approx(2000), 0, 0)
    assert run(replace(IDEAL, cold_s=5.0)).seconds == pytest.approx(205)


def test_a_driver_that_is_slower_than_the_cores_sets_the_pace():
    assert run(replace(IDEAL, row_s=2.0)).seconds == pytest.approx(400, rel=0.05)
    assert run(replace(IDEAL, plan_s=1.0)).seconds == pytest.approx(400)


def test_a_node_that_dies_loses_what_ran_and_no_head():
    dying = replace(IDEAL, node_deaths_a_day=500.0, repair_s=20.0)
    made = run(dying)
    assert made.seconds > 200
    assert 0 < made.lost_s == pytest.approx(made.busy_s - 2000)
    assert made == run(dying) != run(dying, seed=1)


def test_a_head_that_ends_its_process_costs_all_its_attempts():
    made = run(replace(IDEAL, crashing=1.0, retries=3), HEADS[:20])
    assert (made.failed, made.lost_s) == (20, pytest.approx(4 * 200))
    assert run(replace(IDEAL, crashing=1.0, retries=1), HEADS[:20]).lost_s == pytest.approx(2 * 200)


def test_a_driver_that_is_killed_costs_what_ran():
    made = run(replace(IDEAL, driver_deaths=3))
    assert made.failed == 0
    assert 0 < made.lost_s <= 3 * 10 * 10


def test_heads_are_drawn_from_those_that_were_measured():
    heads = drawn(10_000, seed=0, measured=(10.0, 20.0))
    assert heads.mean() == pytest.approx(15, rel=0.02)
    assert np.array_equal(heads, drawn(10_000, seed=0, measured=(10.0, 20.0)))
