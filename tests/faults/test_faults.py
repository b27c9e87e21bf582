"""Kills, full disks, refused memory, odd clocks, read-only places, two runs at once, closed pipes: nothing is lost.

A few of each with stand-ins for the parts; benchmarks/faults.py has many, and the real parts.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

if os.name == "nt":
    pytest.skip("processes are forked, and end by POSIX signals", allow_module_level=True)

import fault_injection as faults
from fault_injection import JOBS, Ended, Job, Server

ROOT = Path(__file__).resolve().parents[2]
SMALL = [job for name, job in JOBS.items() if name != "convert"]
"""The checkpoint that is converted has fifty megabytes."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        path = [str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        yield Server()


@pytest.fixture(scope="module")
def undisturbed(server, tmp_path_factory) -> dict[str, tuple[dict[str, str], int]]:
    """What each job makes, and how often it writes."""
    found = {}
    for job in SMALL:
        folder = tmp_path_factory.mktemp(job.name)
        faults.prepare(job, folder)
        count = faults.write_counts(server, job, folder)
        found[job.name] = faults.contents(folder / "out"), count
    return found


@pytest.fixture
def folder(tmp_path, request) -> Path:
    job = request.getfixturevalue("job") if "job" in request.fixturenames else JOBS["recon"]
    faults.prepare(job, tmp_path)
    return tmp_path


def clear(ended: Ended) -> Ended:
    assert ended.is_clear, ended.said
    return ended


@pytest.mark.parametrize("job", SMALL, ids=lambda job: job.name)
def test_the_same_command_recovers_from_kills(job, folder, server, undisturbed):
    rng, seconds = random.Random(job.name), 0.02 if job.name == "weights" else 0.4
    hit = [faults.kill_at_random(server, job, folder, seconds=seconds, rng=rng) for _ in range(3)]
    assert any(hit), "a kill that comes after the end is none"
    assert clear(server.run(job, folder)).status == 0
    assert faults.contents(folder / "out") == undisturbed[job.name][0]


@pytest.mark.parametrize("job", SMALL, ids=lambda job: job.name)
def test_a_disk_that_is_full_from_some_write_on_is_one_line(job, folder, server, undisturbed):
    wanted, count = undisturbed[job.name]
    for at in {1, count // 2, count}:
        ended = clear(server.run(job, folder, faults.FullDisk(at)))
        left = faults.contents(folder / "out")
        assert ended.status != 0 or left == wanted or job.name == "recon", "only results that wait may be left out"
        assert not [name for name in faults.hidden(folder / "out") if name.endswith(".part") and job.name != "weights"]
    assert clear(server.run(job, folder)).status == 0
    assert faults.contents(folder / "out") == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no notice of this limit")
@pytest.mark.parametrize("megabytes", [200, 1200])
def test_memory_that_is_refused_is_one_line(tmp_path, megabytes):
    """The smaller is too little for the libraries to load."""
    (tmp_path / "photo.jpg").touch()
    code = "import sys; from spinmeround.cli.recon import main; sys.exit(main())"
    command = f'ulimit -v {megabytes * 1000}; "{sys.executable}" -c "{code}" photo.jpg --out a.ply --quiet'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1].startswith("spmr-recon: ") and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_file_may_be_too_large_for_the_system(folder, server):
    ended = clear(server.run(JOBS["recon"], folder, faults.Limit("RLIMIT_FSIZE", 20_000)))
    assert ended.status == 6
    assert not [name for name in faults.hidden(folder / "out") if name.endswith(".part")]


@pytest.mark.parametrize("job", [JOBS["fit"], JOBS["batch"]], ids=lambda job: job.name)
def test_a_clock_that_was_set_back_changes_nothing(job, folder, server, undisturbed):
    faults.kill_at_random(server, job, folder, seconds=1.0, rng=random.Random(1))
    faults.into_future(folder, 3e7)
    for _ in range(2):
        assert clear(server.run(job, folder, faults.ClockSetBack(3e7))).status == 0
        assert faults.contents(folder / "out") == undisturbed[job.name][0]


@pytest.mark.parametrize("job", SMALL, ids=lambda job: job.name)
def test_two_runs_at_once_do_not_disturb_each_other(job, folder, server, undisturbed):
    both = [server.start(job, folder) for _ in range(2)]
    statuses = sorted(clear(server.wait(each, folder)).status or 0 for each in both)
    assert statuses in ([0, 0], [0, job.refused])
    assert faults.contents(folder / "out") == undisturbed[job.name][0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("job", SMALL, ids=lambda job: job.name)
def test_places_that_cannot_be_written_are_one_line(job: Job, server):
    library = Path(os.__file__).resolve()
    if not all(parent.stat().st_mode & 0o001 for parent in library.parents):
        pytest.skip(f"others may not read {library.parent}")
    with tempfile.TemporaryDirectory() as name:  # others may not look into pytest's own
        folder = Path(name)
        folder.chmod(0o755)
        faults.prepare(job, folder)
        ended = clear(server.run(job, folder, faults.Nobody()))
        assert ended.status in (3, 4)
        assert not list((folder / "out").iterdir())


@pytest.mark.parametrize("redirection", [">&- 2>&-", "2>&1 | head -n 0"])
def test_nobody_listens_and_the_head_is_made(folder, redirection, undisturbed):
    job = JOBS["recon"]
    code = f"import sys, fault_injection as f; f.install_stand_ins('recon'); from {job.module} import main; "
    code += f"sys.exit(main({list(job.arguments)!r}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)])}
    command = f'"{sys.executable}" -c "{code}" {redirection}'
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert faults.contents(folder / "out") == undisturbed["recon"][0]
