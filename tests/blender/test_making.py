"""The work on orders: results, progress, failures, and stopping."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

CAMERA = {"width_px": 1, "height_px": 1, "intrinsics_px": [], "camera_from_world": []}


@pytest.fixture
def make(services, server, monkeypatch):
    """Start the work on orders; looks follow each other at once."""
    module = services("making")
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.01)
    started = []

    def make(*orders, connect=None):
        client = services("client").Client(server.address)
        started.append(module.Making(connect or (lambda cancelled: client), orders))
        return started[-1]

    yield make
    for making in started:
        making.close()


@pytest.fixture
def order(services):
    return services("making").Order


def results(making) -> list:
    until = time.monotonic() + 20
    while not making.done and time.monotonic() < until:
        time.sleep(0.005)
    assert making.done
    found = []
    while (result := making.take()) is not None:
        found.append(result)
    return found


def test_a_head_comes_with_its_files(make, order, server, photo):
    server.states = [
        {"state": "queued", "place_in_queue": 2},
        {"state": "running", "fraction": 0.5, "stages": [{"title": "fitting", "state": "running"}]},
        {"state": "done", "photo_camera": CAMERA},
    ]
    making = make(order((photo,), "Zoë", {"quality": "draft", "unheard_of": 1}, strands=True))
    (made,) = results(making)
    assert made.avatar.read_bytes()[:4] == b"glTF" and made.strands.read_bytes() == b"strands"
    assert made.photo.read_bytes() == b"a photo" and made.photo.suffix == ".png" and made.expression == {}
    body = next(body for method, path, _, body in server.requests if (method, path) == ("POST", "/api/heads"))
    assert json.dumps({"quality": "draft", "formats": ["glb", "usdc"]}).encode() in body
    folder = made.avatar.parent
    making.close()
    assert not folder.exists()


def test_progress_counts_all_orders(make, order, server, photo):
    stages = [{"title": "fitting", "state": "running"}, {"title": "rigging", "state": "waiting"}]
    server.states = [{"state": "running", "fraction": 0.5, "seconds_left": 3.0, "stages": stages}]
    making = make(order((photo,), "Ada"), order((photo,), "Bob"))
    until = time.monotonic() + 10
    while making.progress.fraction == 0 and time.monotonic() < until:
        time.sleep(0.005)
    assert (making.progress.title, making.progress.fraction) == ("Ada (1 of 2): Fitting", 0.25)
    assert making.progress.seconds_left == 3.0


def test_one_failure_costs_one_head(make, order, server, photo, tmp_path):
    failed, made = results(make(order((tmp_path / "gone.jpg",), "gone"), order((photo,), "Zoë")))
    assert "gone.jpg cannot be read" in failed.why and made.order.name == "Zoë" and made.photo is None


def test_what_the_server_says_of_a_failure_is_handed_on(make, order, server, photo):
    server.states = [{"state": "failed", "error": {"kind": "InputError", "message": "no face found"}}]
    (failed,) = results(make(order((photo,), "Zoë")))
    assert failed.why == "no face found"


def test_answers_that_are_not_understood_are_a_failure(make, order, server, photo):
    server.answers["POST", "/api/heads"] = (202, {}, b'{"number": 1}')
    (failed,) = results(make(order((photo,), "Zoë")))
    assert "was not understood (KeyError('id'))" in failed.why


def test_a_broken_file_is_a_failure(make, order, server, photo):
    server.answers["GET", f"/api/heads/{'0' * 16}/files/head.glb"] = (200, {}, b"<html>")
    (failed,) = results(make(order((photo,), "Zoë")))
    assert failed.why == "head.glb is no .glb"


def test_answers_that_are_late_are_waited_for(make, order, server, photo):
    server.dropped = 3
    (made,) = results(make(order((photo,), "Zoë")))
    assert made.avatar.exists()


def test_a_server_that_is_gone_is_a_failure(make, order, server, photo):
    server.dropped = 100
    (failed,) = results(make(order((photo,), "Zoë")))
    assert "Nothing answers at" in failed.why


def test_strands_that_the_server_cannot_write_are_a_failure(make, order, server, photo):
    server.options = {"formats": {"items": {"enum": ["glb"]}}}
    (failed,) = results(make(order((photo,), "Zoë", strands=True)))
    assert "pip install" in failed.why and not any(path == "/api/heads" for _, path, _, _ in server.requests)


def test_stopping_removes_the_head_from_the_server(make, order, server, photo):
    server.states = [{"state": "running"}]
    making = make(order((photo,), "Ada"), order((photo,), "Bob"))
    until = time.monotonic() + 10
    while not server.looks and time.monotonic() < until:
        time.sleep(0.005)
    making.cancel()
    assert results(making) == []
    assert [path for method, path, _, _ in server.requests if method == "DELETE"] == [f"/api/heads/{'0' * 16}"]
    assert sum(path == "/api/heads" for _, path, _, _ in server.requests) == 1


def test_where_there_is_no_server_every_order_fails(make, order, services):
    def connect(cancelled):
        raise services("client").ServerError("no server")

    found = results(make(order((Path("a"),), "a"), order((Path("b"),), "b"), connect=connect))
    assert [(failed.order.name, failed.why) for failed in found] == [("a", "no server"), ("b", "no server")]
