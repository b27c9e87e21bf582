"""Heads on a real Ray: two nodes, one taken away, processes killed; none is lost and none is made twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from spinmeround.batch.ray_executor import _check_address, _check_nodes, _own_sigterm
from spinmeround.errors import InputError, ResourceError

pytest.importorskip("pyarrow")
pytest.importorskip("ray")

ROOT = Path(__file__).resolve().parents[2]


def run_script(code: str, folder: Path, *, timeout: float = 240) -> dict:
    """Run code in a process of its own, since Ray is one a process; return the JSON it prints last."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    script = f"import json, sys\nfrom pathlib import Path\nfolder = Path({str(folder)!r})\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def write_photos(folder: Path, texts: list[str]) -> None:
    (folder / "photos").mkdir()
    for index, text in enumerate(texts):
        (folder / "photos" / f"{index:02d}.jpg").write_text(text)


COMMON = """
from spinmeround.batch.head import Recipe
from spinmeround.batch.ray_executor import RayExecutor, RayOptions
from spinmeround.batch.run import run_batch
from tests.batch.stand_ins import fake_head

def make(**options):
    executor = RayExecutor(RayOptions(memory_mb=50, **options), work=fake_head)
    return run_batch([str(folder / "photos")], Recipe(str(folder / "out")), executor)
"""


def test_a_crash_costs_one_head(tmp_path):
    write_photos(tmp_path, ["a", "crash", "once", "no face", "b", "c"])
    result = run_script(COMMON + "print(json.dumps(make(retries=1).failures))", tmp_path)
    assert result == {"Crashed": 1, "NoFaceError": 1}
    assert sorted(path.name for path in (tmp_path / "out" / "heads").iterdir()) == ["00", "02", "04", "05"]
    lines = (tmp_path / "out" / "batch.csv").read_text().splitlines()
    assert len(lines) == 7
    assert not list((tmp_path / "out").glob(".unfinished/*/*/*")), "a half head is left"


@pytest.mark.slow
def test_a_node_goes_and_workers_are_killed(tmp_path):
    write_photos(tmp_path, [f"slow {index}" for index in range(16)])
    result = run_script(
        COMMON
        + """
import signal
import threading
import time
import psutil
import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)
rows, killed = [], []

def is_at_work(process):
    try:
        return "".join(process.cmdline()[:1]).startswith("ray::head")
    except psutil.Error:  # it has just ended
        return False

def kill_three():
    while len(killed) < 3:
        time.sleep(0.1)
        workers = [each for each in psutil.Process().children(recursive=True) if is_at_work(each)]
        for each in workers[: len(rows) > 3 * len(killed)]:
            each.send_signal(signal.SIGKILL)
            killed.append(each.pid)

def watched(heads, recipe):
    for row in RayExecutor(RayOptions(memory_mb=50), work=fake_head)(heads, recipe):
        rows.append(row)
        if len(rows) == 8:
            cluster.remove_node(second, allow_graceful=False)
        yield row

threading.Thread(target=kill_three, daemon=True).start()
result = run_batch([str(folder / "photos")], Recipe(str(folder / "out")), watched)
ray.shutdown()
cluster.shutdown()
print(json.dumps([result.done, result.failures, len(killed), len(rows)]))
""",
        tmp_path,
    )
    done, failures, killed, rows = result
    assert (done, failures, rows) == (16, {}, 16)
    assert killed == 3
    assert len(list((tmp_path / "out" / "heads").glob("*/head.json"))) == 16
    assert not list((tmp_path / "out").glob(".unfinished/*/*/*"))


class Nodes:
    """A Ray with one node."""

    def nodes(self) -> list[dict]:
        return [{"Alive": True, "Resources": {"CPU": 4.0, "memory": 2.0 * 2**30}}, {"Alive": False, "Resources": {}}]


def test_a_head_that_fits_no_node_is_refused():
    _check_nodes(Nodes(), {"num_cpus": 4, "memory": 2**30})
    for needs in ({"num_cpus": 5, "memory": 1}, {"num_cpus": 1, "memory": 3 * 2**30}, {"num_gpus": 1, "num_cpus": 1}):
        with pytest.raises(ResourceError, match=r"no node has that \(4 cores and 2.0 GB\)"):
            _check_nodes(Nodes(), {"memory": 1, **needs})


def test_an_address_where_nobody_answers_is_one_line():
    with pytest.raises(InputError, match=r"no Ray cluster at 127.0.0.1:1: "):
        _check_address("127.0.0.1:1")


def test_a_handler_of_sigterm_outlives_the_start_of_ray():
    def ours(number, frame): ...

    def rays(number, frame): ...

    before = signal.getsignal(signal.SIGTERM)
    try:
        for handler, after in ((ours, ours), (signal.SIG_IGN, signal.SIG_IGN), (signal.SIG_DFL, rays)):
            signal.signal(signal.SIGTERM, handler)
            with _own_sigterm():
                signal.signal(signal.SIGTERM, rays)
            assert signal.getsignal(signal.SIGTERM) == after
    finally:
        signal.signal(signal.SIGTERM, before)
