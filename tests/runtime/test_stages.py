"""The stages of a run: fractions done, time left, memory, cancelling."""

from __future__ import annotations

import time

import numpy as np
import psutil
import pytest

from spinmeround.configs import preset
from spinmeround.errors import CancelledError
from spinmeround.runtime import stages as stages_module
from spinmeround.runtime.memory import most_held_bytes
from spinmeround.runtime.stages import Stages


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(stages_module.time, "perf_counter", lambda: Clock.now)
    return Clock


def test_time_left_follows_the_pace_of_the_machine(clock):
    stages = Stages(["head", "surface", "splats"], expected_s={"head": 10, "surface": 20, "splats": 70})
    assert stages.seconds_left == pytest.approx(100)
    with stages("head"):
        clock.now = 22.0  # twice as slow as expected, the two seconds of doubt aside
    assert stages.fraction_done == pytest.approx(0.1)
    assert stages.seconds_left == pytest.approx(90 * 2)
    with stages("surface") as progress:
        progress(0.5, "half")
        assert stages.fraction_done == pytest.approx(0.2)
        clock.now = 10_000.0
        assert stages.fraction_done < 0.25, "time alone may not run far ahead of what the stage reports"
    assert [r.stage for r in stages.records] == ["head", "surface"]
    assert stages.records[0].seconds == 22.0


def test_a_stage_without_news_moves_with_time_and_never_claims_its_end(clock):
    stages = Stages(["head", "splats"], expected_s={"head": 10, "splats": 10})
    with stages("head"):
        shares = []
        for now in (0, 2, 5, 9, 20, 300):
            clock.now = float(now)
            shares.append(stages.fraction_done)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] < 0.5


def test_peak_memory_sees_what_a_stage_held():
    stages = Stages(["head", "surface"], expected_s={})
    with stages("head"):
        block = np.ones(30_000_000)  # 240 MB, touched
        time.sleep(0.5)  # longer than the time between two samples, on a busy machine too
        del block
    with stages("surface"):
        pass
    held, after = (record.peak_memory_mb for record in stages.records)
    assert held - after > 150


def test_a_peak_between_samples_is_the_systems_record():
    record = most_held_bytes()
    room = record - psutil.Process().memory_info().rss
    block = np.ones((room + 200 * 2**20) // 8)
    assert most_held_bytes() > record + 100 * 2**20
    del block


def test_a_stage_that_breaks_the_record_reports_it(monkeypatch):
    records = iter([2**30, 5 * 2**40, 5 * 2**40, 5 * 2**40])
    monkeypatch.setattr("spinmeround.runtime.stages.most_held_bytes", lambda: next(records))
    stages = Stages(["head", "surface"], expected_s={})
    with stages("head"):
        pass
    with stages("surface"):
        pass
    held, after = (record.peak_memory_mb for record in stages.records)
    assert held == 5 * 2**20
    assert after < 2**20


def test_every_stage_has_its_seconds_in_every_preset():
    for quality in ("draft", "standard", "high"):
        # Splats that are only polished are the stage "splats", in less time.
        assert set(stages_module.SENTENCES) == set(preset(quality).seconds) - {"polish"}


def test_a_stage_that_is_not_needed_leaves_the_plan(clock):
    stages = Stages(["head", "surface", "files"], expected_s={"head": 10, "surface": 80, "files": 10})
    with stages("head"):
        clock.now = 10.0
    assert stages.fraction_done == pytest.approx(0.1)
    stages.leave_out("surface")
    stages.leave_out("texture")
    assert stages.planned == ("head", "files") and stages.fraction_done == pytest.approx(0.5)


def test_a_stage_nobody_planned_is_counted_and_goes_by_its_own_name(clock, caplog):
    stages = Stages(["head"], expected_s={"head": 10})
    with caplog.at_level("INFO"), stages("polish"):
        clock.now = 1.0
    assert stages.planned == ("head", "polish")
    assert "[1/2] polish" in caplog.text


@pytest.mark.parametrize("asked_before", [1, 2, 3])
def test_a_cancelled_run_ends_between_steps(asked_before):
    asked, reached = [], []

    def cancel() -> bool:
        asked.append(True)
        return len(asked) >= asked_before

    stages = Stages(["head", "surface"], expected_s={}, cancel=cancel)
    with pytest.raises(CancelledError):
        with stages("head") as progress:
            reached.append("head")
            progress(0.5, "half")
            reached.append("half")
        with stages("surface"):
            reached.append("surface")
    assert reached == ["head", "half"][: asked_before - 1]
