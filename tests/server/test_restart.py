"""A server that is killed in any stage goes on when it is started again, and the head is the same to the last byte."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from tests.server.serving import has_begun, jpeg

FILES = ("head.ply", "head.glb", "preview.png")


@pytest.mark.parametrize("stage", ["photo", "views", "preview"])
def test_a_killed_server_goes_on_where_it_was(stage, heads, server):
    mine = heads()
    other = server.post(jpeg(), seed=400)
    undisturbed = other.json()["id"]
    killed, waiting = mine.post(jpeg(), seed=400).json(), mine.post(jpeg(seed=2), seed=0).json()
    mine.until(killed["id"], lambda head: has_begun(head, stage))
    workers = [each.pid for each in psutil.Process(mine.process.pid).children()]
    mine.kill()
    deadline = time.monotonic() + 10
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if psutil.pid_exists(pid)], "no process outlives the server"
    mine.start()
    head = mine.settled(killed["id"])
    assert head["state"] == "done"
    assert mine.settled(waiting["id"])["state"] == "done"
    server.settled(undisturbed)
    for name in FILES:
        assert mine.file(killed["id"], name) == server.file(undisturbed, name), name
    report = mine.client.get(f"/api/heads/{killed['id']}/files/report.json").json()
    assert report["resumed"] is (stage != "photo")
    left = {path.relative_to(mine.folder / killed["id"]).as_posix() for path in (mine.folder / killed["id"]).rglob("*")}
    assert {name for name in left if "work/" in name or "left-by" in name or ".unfinished" in name} == set()


def test_a_stopped_server_keeps_finished_heads_and_files_being_made(heads):
    mine = heads()
    done = mine.make(seed=0)
    mine.client.post(f"/api/heads/{done['id']}/files", json={"name": "head.vrm"})
    mine.stop()
    # One that cannot be read, one that is a link, and what an upload left do not keep it from starting.
    for name, content in (("0" * 16, "no JSON"), ("1" * 16, '{"id": "x"}')):
        (mine.folder / name).mkdir()
        (mine.folder / name / "head.json").write_text(content)
    (mine.folder / ("2" * 16)).symlink_to(mine.folder / done["id"])
    (mine.folder / ".incoming-1").mkdir()
    mine.start()
    after = mine.settled(done["id"])
    assert {"head.vrm", "head.ply"} <= {each["name"] for each in after["files"]}
    assert [each["id"] for each in mine.client.get("/api/heads").json()["heads"]] == [done["id"]]
    assert not (mine.folder / ".incoming-1").exists()


def test_a_worker_that_is_killed_costs_one_job(heads):
    mine = heads()
    head = mine.post(seed=400).json()
    mine.until(head["id"], lambda head: has_begun(head, "head"))
    for each in psutil.Process(mine.process.pid).children():
        if "stub_worker" in " ".join(each.cmdline()):
            assert os.getpgid(each.pid) == each.pid, "it has a group of its own"
            each.kill()
    failed = mine.settled(head["id"])
    assert (failed["state"], failed["error"]["kind"]) == ("failed", "Crashed")
    assert mine.make(seed=0)["state"] == "done"


def test_one_folder_has_one_server(server):
    from spinmeround.errors import OutputError
    from spinmeround.server.store import HeadStore

    with pytest.raises(OutputError, match="in use by another server"):
        HeadStore(server.folder)
