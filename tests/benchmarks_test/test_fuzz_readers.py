"""Readers of damaged files raise nothing but our own errors; the benchmark that says so notices when they do."""

from __future__ import annotations

import signal

import pytest

if not hasattr(signal, "setitimer"):
    pytest.skip("inputs are timed by POSIX alarms", allow_module_level=True)

import fuzz_readers


@pytest.mark.parametrize("name", fuzz_readers.TARGETS)
def test_damaged_files_are_read_or_refused(name):
    found = fuzz_readers.faults_of(name, 0, 40)
    assert found.total() == 40
    assert found["refused"] > 5
    assert set(found) <= {"read", "refused"}


def test_other_errors_are_faults(monkeypatch):
    def raise_odd(path):
        raise UnicodeError("no error of ours")

    write = fuzz_readers.TARGETS["identity"].write
    monkeypatch.setitem(fuzz_readers.TARGETS, "odd", fuzz_readers.Target(write, raise_odd))
    (kind,) = fuzz_readers.faults_of("odd", 0, 3)
    assert kind.startswith("UnicodeError in ")


def test_the_same_seed_gives_the_same_inputs(tmp_path):
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append([path.read_bytes() for path in fuzz_readers.inputs_of("splats", 3, 20, tmp_path / name)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 15
