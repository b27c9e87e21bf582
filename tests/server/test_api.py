"""The API as its contract has it: every endpoint, what it answers, and what it refuses."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES
from tests.server.serving import has_begun, jpeg, running_stage
from tests.server.stub_results import CAMERA, STAGES


def test_the_server_says_what_it_is_and_can(server):
    told = server.client.get("/api/server").json()
    assert told["name"] == "spinmeround"
    assert told["limits"] == {"upload_bytes": 2 * 2**20, "photos": 3, "pixels": 4_000_000, "queue": 3}
    assert tuple(told["expressions"]) == BLENDSHAPE_NAMES
    assert set(told["presets"]["happy"]) <= set(BLENDSHAPE_NAMES)
    kinds = {each["suffix"]: each["kind"] for each in told["formats"]}
    assert (kinds["ply"], kinds["glb"], kinds["obj"]) == ("splats", "avatar", "mesh")


def test_the_options_are_a_schema_with_words_for_people(server):
    schema = server.client.get("/api/options").json()
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["properties"]["formats"]["default"] == ["ply", "glb"]
    for name, option in schema["properties"].items():
        assert {"title", "description", "default"} <= set(option), name


def test_a_photo_becomes_a_head(server):
    posted = server.post(jpeg(), name="Ada\n<b>", seed=20, quality="draft")
    assert posted.status_code == 202
    head = posted.json()
    assert posted.headers["location"] == f"/api/heads/{head['id']}"
    assert re.fullmatch("[0-9a-f]{16}", head["id"])
    assert (head["state"], head["name"], head["photos"]) == ("queued", "Ada<b>", ["photo_0.jpg"])
    seen, fractions = [], []
    with server.events(f"/api/heads/{head['id']}/events") as events:
        for kind, head in events:
            assert kind == "head"
            seen.append(running_stage(head))
            fractions.append(head["fraction"])
    assert head["state"] == "done"
    assert [each["stage"] for each in head["stages"]] == list(STAGES)
    assert {each["state"] for each in head["stages"]} == {"done"}
    assert head["stages"][2]["title"] == "fitting the head"
    assert fractions[-1] == 1
    assert head["started"] <= head["ended"]
    files = {each["name"]: each for each in head["files"]}
    assert {name: each["kind"] for name, each in files.items()} == {
        "head.ply": "splats",
        "head.glb": "avatar",
        "preview.png": "picture",
        "report.json": "report",
    }
    assert files["head.glb"]["media_type"] == "model/gltf-binary"
    assert files["head.glb"]["bytes"] == len(server.file(head["id"], "head.glb"))
    assert head["quality"] == {
        "verdict": "fair",
        "sentence": "fair: the photo is blurred",
        "reasons": ["the photo is blurred"],
        "figures": {"size": 0.5, "matte": None},
    }
    assert head["photo_camera"] == CAMERA
    assert server.head(head["id"]) == head
    assert server.client.get("/api/heads").json()["heads"][0] == head


def test_files_are_sent_whole_in_part_and_to_keep(server, made):
    path = f"/api/heads/{made['id']}/files/head.glb"
    whole = server.client.get(path)
    assert whole.headers["content-type"] == "model/gltf-binary"
    assert "content-disposition" not in whole.headers
    part = server.client.get(path, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole.content[2:6])
    kept = server.client.get(path, params={"download": 1})
    assert kept.headers["content-disposition"].startswith("attachment")
    report = server.client.get(f"/api/heads/{made['id']}/files/report.json").json()
    assert sorted(report["files"]) == ["head.glb", "head.ply", "preview.png"], "names, not places of this machine"


def test_one_more_file_is_made_of_a_finished_head(server):
    head = server.make(seed=0)
    path = f"/api/heads/{head['id']}/files"
    posted = server.client.post(path, json={"name": "head.vrm"})
    assert (posted.status_code, posted.json()["making"]) == (202, ["head.vrm"])
    after = server.settled(head["id"])
    assert {each["name"] for each in after["files"]} == {each["name"] for each in head["files"]} | {"head.vrm"}
    assert server.file(head["id"], "head.vrm").startswith(b"head.vrm")
    again = server.client.post(path, json={"name": "head.vrm"})
    assert (again.status_code, again.json()["making"]) == (202, [])
    assert not (server.folder / head["id"] / "work").exists()


def test_what_cannot_be_made_of_a_head_is_refused(server, made):
    path = f"/api/heads/{made['id']}/files"
    for name in ("head.exe", "../head.vrm", "head", "hair.vrm", "report.json"):
        assert server.client.post(path, json={"name": name}).status_code == 422, name
    running = server.post(seed=300).json()
    early = server.client.post(f"/api/heads/{running['id']}/files", json={"name": "head.vrm"})
    assert early.status_code == 409
    assert server.client.delete(f"/api/heads/{running['id']}").status_code == 204


def test_a_photo_is_shown(server, made):
    photo = server.client.get(f"/api/heads/{made['id']}/photos/0")
    assert (photo.status_code, photo.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(photo.content)).size == (96, 64)
    for index in (1, -1, 10**30):
        assert server.client.get(f"/api/heads/{made['id']}/photos/{index}").status_code == 404


def test_faces_and_expressions_are_read(server):
    faces = server.client.post("/api/faces", files={"photo": ("a.jpg", jpeg())})
    assert faces.json() == {"width": 96, "height": 64, "faces": [{"face": 1, "box_px": [1, 2, 3, 4]}]}
    read = server.client.post("/api/expressions", content=jpeg(), headers={"content-type": "image/jpeg"})
    assert read.json() == {"face": True, "expressions": {"jawOpen": 0.5}, "head_rotation_deg": [1, 2, 3]}
    assert not list(server.folder.glob(".incoming-*")), "nothing of them is kept"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{", "expected JSON"),
        ("[" * 5000, "expected JSON"),
        ("7", "options"),
        ('{"sead": 1}', "sead"),
        ('{"seed": -1}', "seed"),
        ('{"height_m": NaN}', "height_m"),
        ('{"quality": "best"}', "quality"),
        ('{"formats": ["exe"]}', "exe"),
        ('{"formats": []}', "formats"),
        ('{"formats": ["usda", "usdc"]}', "hair"),
    ],
)
def test_wrong_options_are_said_in_a_sentence(server, options, words):
    answer = server.client.post("/api/heads", files={"photos": ("a.jpg", jpeg())}, data={"options": options})
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]


def test_errors_of_a_run_are_those_of_the_command_without_the_places_of_this_machine(server):
    failed = server.make(face=404)
    assert failed["state"] == "failed"
    assert failed["error"] == {"kind": "NoFaceError", "message": "photo_0.jpg: no face found"}
    defect = server.make(face=500)
    assert defect["error"]["kind"] == "Defect"
    crashed = server.make(face=999)
    assert crashed["error"]["kind"] == "Crashed"
    assert "signal 6" in crashed["error"]["message"]
    assert server.make(seed=0)["state"] == "done", "a crash costs one job"


def test_heads_wait_in_a_bounded_queue_and_go_in_turn(server):
    first = server.post(seed=200).json()
    server.until(first["id"], lambda head: head["state"] == "running")
    others = [server.post(seed=0).json() for _ in range(3)]
    assert [server.head(each["id"])["place_in_queue"] for each in others] == [1, 2, 3]
    refused = server.post()
    assert (refused.status_code, refused.json()["error"]["kind"]) == (429, "Busy")
    assert server.client.delete(f"/api/heads/{others[0]['id']}").status_code == 204
    assert [server.head(each["id"])["place_in_queue"] for each in others[1:]] == [1, 2]
    assert {server.settled(each["id"])["state"] for each in (first, *others[1:])} == {"done"}


@pytest.mark.parametrize("waits_for", ["at once", "photo", "splats", "preview"])
def test_nothing_remains_of_what_was_deleted(server, waits_for):
    with server.events("/api/events") as events:
        head = server.post(seed=300).json()
        while waits_for != "at once":
            _, each = next(events)
            if each["id"] == head["id"] and has_begun(each, waits_for):
                break
        path = f"/api/heads/{head['id']}"
        assert server.client.delete(path).status_code == 204
        assert server.client.delete(path).status_code == 404
        assert server.client.get(path).status_code == 404
        assert server.client.get(f"{path}/events").status_code == 404
        assert not [left for left in server.folder.rglob("*") if head["id"] in str(left)]
        assert not list(server.folder.glob(".leaving-*"))
        for kind, each in events:
            if kind == "deleted":
                assert each == {"id": head["id"]}
                break


def test_photos_of_several_and_of_other_kinds_are_stored_by_what_they_are(server):
    png, tiff = io.BytesIO(), io.BytesIO()
    picture = Image.fromarray(np.full((64, 64, 3), 100, np.uint8))
    picture.save(png, "PNG")
    picture.save(tiff, "TIFF")
    head = server.make(jpeg(), png.getvalue(), tiff.getvalue())
    assert head["photos"] == ["photo_0.jpg", "photo_1.png", "photo_2.png"]
    stored = sorted(path.name for path in (server.folder / head["id"] / "photos").iterdir())
    assert stored == head["photos"]
    assert server.post(*[jpeg()] * 4).status_code == 413


def test_the_contract_is_complete(server):
    contract = server.client.get("/openapi.json").json()
    paths = {path: set(methods) for path, methods in contract["paths"].items()}
    assert paths == {
        "/api/server": {"get"},
        "/api/options": {"get"},
        "/api/heads": {"get", "post"},
        "/api/heads/{head_id}": {"get", "delete"},
        "/api/heads/{head_id}/events": {"get"},
        "/api/events": {"get"},
        "/api/heads/{head_id}/files": {"post"},
        "/api/heads/{head_id}/files/{name}": {"get"},
        "/api/heads/{head_id}/photos/{index}": {"get"},
        "/api/faces": {"post"},
        "/api/expressions": {"post"},
    }
    text = json.dumps(contract)
    assert "HTTPValidationError" not in text, "errors have one form"
    assert "examples" in text


def test_there_is_a_page(server):
    page = server.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    missing = server.client.get("/nowhere")
    assert (missing.status_code, missing.json()["error"]["kind"]) == (404, "NotFound")
    assert server.client.put("/api/heads").status_code == 405
