"""The page, used as people use it."""

from __future__ import annotations

import base64
import io
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from spinmeround.io import read_splats
from spinmeround.io.recordings.live_link import read_live_link
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES

DIFFERENT = 12
"""Of 255: more than what the edges of a picture drawn twice differ by."""


def picture(data: str) -> np.ndarray:
    """Return a screenshot, uint8 RGB."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def changed(before: str, after: str) -> np.ndarray:
    """Return which pixels of two screenshots differ."""
    return np.abs(picture(before).astype(int) - picture(after)).max(axis=-1) > DIFFERENT


def head_pixels(shot: str) -> np.ndarray:
    """Return which pixels show skin: clearly redder than blue, which the background is not."""
    rgb = picture(shot).astype(int)
    return rgb[..., 0] - rgb[..., 2] > 25


def test_a_photo_becomes_a_head(made):
    for shot in (made["splats"], made["avatar"]):
        skin = head_pixels(shot)
        middle = skin[len(skin) // 4 : len(skin) // 2, skin.shape[1] * 2 // 5 : skin.shape[1] * 3 // 5]
        assert middle.mean() > 0.8
        assert 0.1 < skin.mean() < 0.6
    assert made["verdict"] == "Fair result"
    assert "me" in made["title"]


def test_a_slider_opens_the_jaw_and_nothing_else(act, made):
    found = act("moveJaw", head=made["head"])
    moved = changed(found["before"], found["after"])
    rows, columns = np.nonzero(head_pixels(found["before"]))
    face_height = np.ptp(rows)
    assert moved.sum() > 0.01 * len(rows)
    at = np.argwhere(moved)
    assert (at[:, 0] > rows.min() + 0.4 * face_height).mean() > 0.97
    assert abs(np.median(at[:, 1]) - np.median(columns)) < 0.1 * np.ptp(columns)
    assert changed(found["before"], found["reset"]).mean() < 0.001
    assert found["jaw"] == "0"


def test_expressions_show_on_the_avatar(act, made):
    found = act("express", head=made["head"])
    assert (found["before"], found["after"]) == ("splats", "avatar")
    assert found["jaw"] == pytest.approx(0.35)
    assert found["found"] == ["Mouth smile left"]
    assert found["all"] == 52


def test_whose_head_is_made_is_chosen_by_a_click(act, tmp_path):
    face = skimage.data.astronaut()[:256, 96:352]
    photo = np.full((400, 700, 3), 128, np.uint8)
    photo[:384, 300:684] = cv2.resize(face, (384, 384), interpolation=cv2.INTER_CUBIC)
    photo[100:356, 20:276] = face[:, ::-1]
    Image.fromarray(photo).save(tmp_path / "two.png")
    found = act("chooseFace", photo=tmp_path / "two.png")
    assert found == {"pressed": "2", "face": 2, "isLeft": True}


def test_two_jobs_wait_for_each_other_survive_a_reload_and_can_be_cancelled(act, app, astronaut):
    found = act("twoJobs", photos=[astronaut, astronaut])
    assert len(found["others"]) == 1
    assert "first in line" in found["others"][0]
    assert found["reloaded"]["head"] == found["first"]
    assert "%" in found["reloaded"]["sentence"]
    assert len(found["queue"]) == 2
    assert found["work"] == "2 in work"
    assert found["left"] == 1
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{app}api/heads/{found['first']}")


def test_bad_files_are_refused_in_one_sentence(act, tmp_path):
    text, broken, blank = tmp_path / "notes.txt", tmp_path / "broken.jpg", tmp_path / "wall.png"
    text.write_text("no photo")
    broken.write_bytes(b"\xff\xd8\xff\xe0 cut short")
    Image.new("RGB", (256, 256), "grey").save(blank)
    found = act("badFiles", text=text, broken=broken, blank=blank)
    assert found["refused"] == ["“notes.txt” is no photo; choose a JPEG, PNG, WebP or HEIC."]
    assert found["stays"]
    assert "damaged" in found["note"]
    assert len(found["sent"]) == 1
    assert "damaged" in found["sent"][0]
    assert found["noFace"].startswith("No face was found")
    assert "no face found" in found["failed"]
    assert "/" not in found["failed"]


def test_everything_can_be_done_by_keyboard(act, made, astronaut):
    found = act("keyboard", photo=astronaut, head=made["head"])
    assert found["first"] == "Skip to the content"
    assert found["skipped"] == "main"
    assert found["ring"] == "solid"
    assert found["ready"] == "Make the head"
    assert found["lastTab"] == "Files"
    assert all(found["inDialog"])
    assert found["after"] == "Delete this head"
    assert found["faceTab"] == "Face"
    assert found["jaw"] == pytest.approx(0.05)
    assert found["divider"] == "0"


def test_a_format_is_made_on_demand_and_views_change(act, made, tmp_path):
    found = act("filesAndViews", head=made["head"], out=tmp_path)
    assert found["name"] == "me head.spz"
    assert len(read_splats(tmp_path / "made.spz")) > 1000
    assert changed(found["plain"], found["laid"]).mean() > 0.2
    lit, dark = picture(found["lit"]), picture(found["dark"])
    skin = head_pixels(found["lit"])
    left, right = np.split(np.where(skin, dark.mean(-1) - lit.mean(-1), 0), [lit.shape[1] // 2], axis=1)
    assert left.sum() > right.sum()


def test_a_recording_plays_on_the_avatar(act, made, tmp_path):
    csv, text = tmp_path / "take.csv", tmp_path / "broken.csv"
    rows = [f"10:00:{k // 60:02d}:{k % 60:02d}.0,61,{k / 60:.4f},0,0,0" for k in range(61)]
    csv.write_text("\n".join(["Timecode,BlendshapeCount,JawOpen,HeadYaw,HeadPitch,HeadRoll", *rows]))
    text.write_text("a,b\n1,2\n")
    found = act("playRecording", head=made["head"], csv=csv, text=text)
    assert found["refused"] == ["“broken.csv” has no column Timecode; take the .csv of a take by Live Link Face."]
    assert found["mode"] == "avatar"
    assert found["length"].endswith("of 0:01.0")
    assert found["jaws"] == pytest.approx([0, 0.5, 1], abs=0.011)


def test_the_webcam_drives_the_head_and_its_recording_is_read_by_the_command(act, made, tmp_path):
    assert act("webcam", head=made["head"], out=tmp_path)["isOff"]
    clip = read_live_link(tmp_path / "take.csv", BLENDSHAPE_NAMES)
    assert 1.0 <= clip.times_s[-1] < 20.0
    assert set(clip.morphs) == set(BLENDSHAPE_NAMES)
    # The picture of the webcam stands still, and the face was calibrated on it.
    assert max(np.abs(values).max() for values in clip.morphs.values()) < 0.2


def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_window(act, made, astronaut):
    found = act("accessibility", head=made["head"], photo=astronaut)
    assert found["checked"] == 21
    assert found["faults"] == []
    assert found["wide"] == []
