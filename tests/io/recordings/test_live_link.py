"""Recordings by Live Link Face: values, times, angles, and what is refused or left out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from spinmeround.errors import InputError
from spinmeround.io.recordings import live_link
from spinmeround.io.recordings.expressions import expression_weights
from spinmeround.io.recordings.live_link import read_live_link
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES

PASCAL = [name[0].upper() + name[1:] for name in BLENDSHAPE_NAMES]
ANGLES = [f"{who}{angle}" for who in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")]


def timecode(frame: float, rate: int = 60, start_s: int = 0) -> str:
    second = start_s + int(frame // rate)
    return f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}:{frame % rate:06.3f}"


def take(count: int = 90, *, rate: int = 60, start_s: int = 0, **columns: np.ndarray) -> list[list[str]]:
    """The rows of a recording, its header first; columns that are not given are 0."""
    names = [*PASCAL, *ANGLES]
    values = {name: np.zeros(count) for name in names} | columns
    header = ["Timecode", "BlendshapeCount", *values]
    rows = [[timecode(k, rate, start_s), "61", *(f"{values[name][k]:.8f}" for name in values)] for k in range(count)]
    return [header, *rows]


@pytest.fixture
def read(tmp_path: Path):
    """Writes rows or text as a file and reads that."""

    def write_and_read(content: list[list[str]] | str | bytes):
        path = tmp_path / "take.csv"
        if not isinstance(content, (str, bytes)):
            content = "\n".join(",".join(row) for row in content) + "\n"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_live_link(path, BLENDSHAPE_NAMES)

    return write_and_read


def rotated(wxyz: np.ndarray, point: tuple[float, float, float]) -> np.ndarray:
    """A point turned by a quaternion, written out as q p q*."""
    w, axis, point = wxyz[0], wxyz[1:], np.array(point)
    return point + 2 * np.cross(axis, np.cross(axis, point) + w * point)


def test_weights_and_times_are_those_of_the_file(read):
    opened = np.linspace(0, 1, 90)
    clip = read(take(JawOpen=opened))
    np.testing.assert_allclose(clip.times_s, np.arange(90) / 60, atol=1e-4)
    assert set(clip.morphs) == set(BLENDSHAPE_NAMES)
    np.testing.assert_allclose(clip.morphs["jawOpen"], opened, atol=1e-7)
    assert not clip.morphs["jawLeft"].any()
    assert clip.turns_wxyz == {}  # nobody turned


@pytest.mark.parametrize("rate", [24, 30, 60])
def test_the_rate_is_read_from_the_timecode(read, rate):
    clip = read(take(3 * rate, rate=rate))
    np.testing.assert_allclose(np.diff(clip.times_s), 1 / rate, atol=2e-3 / rate)


def test_a_clip_within_one_second_is_taken_for_the_usual_rate(read):
    np.testing.assert_allclose(read(take(10)).times_s, np.arange(10) / 60, atol=1e-4)


def test_midnight_passes(read):
    clip = read(take(120, start_s=86_399))
    np.testing.assert_allclose(clip.times_s, np.arange(120) / 60, atol=1e-4)


def test_angles_turn_to_the_left_down_and_over(read):
    ramp = np.linspace(0, 0.5, 90)
    clip = read(take(HeadYaw=ramp))
    np.testing.assert_allclose(rotated(clip.turns_wxyz["head"][-1], (0, 0, 1)), [np.sin(0.5), 0, np.cos(0.5)])
    clip = read(take(LeftEyePitch=ramp, HeadRoll=ramp))
    np.testing.assert_allclose(rotated(clip.turns_wxyz["leftEye"][-1], (0, 0, 1)), [0, -np.sin(0.5), np.cos(0.5)])
    np.testing.assert_allclose(rotated(clip.turns_wxyz["head"][-1], (1, 0, 0)), [np.cos(0.5), np.sin(0.5), 0])
    assert set(clip.turns_wxyz) == {"head", "leftEye"}
    np.testing.assert_allclose(np.linalg.norm(clip.turns_wxyz["head"], axis=1), 1)


def test_degrees_are_understood(read, caplog):
    with caplog.at_level(logging.INFO, "spinmeround"):
        clip = read(take(HeadYaw=np.linspace(0, 30, 90)))
    np.testing.assert_allclose(2 * np.arccos(clip.turns_wxyz["head"][-1, 0]), np.radians(30), atol=1e-6)
    assert "in degrees" in caplog.text


@pytest.mark.parametrize("start", [0.0, 0.38], ids=["wandering", "steady"])
@pytest.mark.parametrize("sign", [1, -1])
def test_gaze_decides_which_way_angles_count(read, sign, start):
    """The eyes look left by the names of their weights; the file's yaw has whichever sign its program gives it."""
    ramp = np.linspace(start, 0.4, 90)
    clip = read(
        take(
            EyeLookOutLeft=ramp,
            EyeLookInRight=ramp,
            LeftEyeYaw=sign * ramp,
            RightEyeYaw=sign * ramp,
            HeadYaw=sign * ramp,
        )
    )
    for joint in ("leftEye", "rightEye", "head"):
        assert rotated(clip.turns_wxyz[joint][-1], (0, 0, 1))[0] == pytest.approx(np.sin(0.4), abs=1e-6)


def test_unknown_and_missing_columns_are_told(read, caplog):
    rows = take()
    at = rows[0].index("TongueOut")
    rows[0][at] = "TongOut"
    clip = read(rows)
    assert [r.getMessage().split(": ", 1)[1] for r in caplog.records if r.levelno == logging.WARNING] == [
        "missing, so at rest: column TongueOut",
        "unknown and left out: column TongOut (perhaps TongueOut?)",
    ]
    assert "tongueOut" not in clip.morphs
    caplog.clear()
    few = read([["Timecode", "jawOpen", "HeadYaw"], [timecode(0), "0", "0.1"], [timecode(1), "1", "0.2"]])
    assert list(few.morphs) == ["jawOpen"] and list(few.turns_wxyz) == ["head"]
    assert "BrowDownLeft, BrowDownRight, BrowInnerUp, BrowOuterUpLeft, BrowOuterUpRight and 54 more" in caplog.text


def test_rows_without_a_face_are_bridged(read, caplog):
    rows = take(JawOpen=np.linspace(0, 1, 90))
    rows[10][1] = "0"  # no face
    rows[20][5] = "nan"
    rows[30][5] = ""
    rows[40] = rows[40][:-3]
    clip = read(rows)
    assert len(clip) == 86
    assert np.diff(clip.times_s).max() == pytest.approx(2 / 60, abs=1e-4)
    assert "3 of 90 rows hold no numbers and are bridged" in caplog.text


def test_frames_at_the_same_time_are_left_out(read, caplog):
    rows = take(JawOpen=np.linspace(0, 1, 90))
    rows[11][0] = rows[10][0]
    clip = read(rows)
    assert len(clip) == 89 and np.diff(clip.times_s).min() > 0.01
    assert "1 of 90 frames repeat a time and are left out" in caplog.text
    with pytest.raises(InputError, match="all frames at one time"):
        read([rows[0], rows[10], rows[11]])


def test_quaternions_take_no_detour(read):
    clip = read(take(HeadYaw=np.linspace(-3.1, 3.1, 90)))
    assert (clip.turns_wxyz["head"][1:] * clip.turns_wxyz["head"][:-1]).sum(1).min() > 0.99


def edited(row: int, column: int, text: str) -> list[list[str]]:
    rows = take()
    rows[row][column] = text
    return rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; give the .csv of a take by Live Link Face"),
        ("\n\n", "empty"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "not a CSV in UTF-8"),
        ("a;b\n1;2\n", "no column Timecode"),
        ("Timecode,frame\n00:00:00:00,1\n", "none of ARKit's blendshapes is among its 2 columns"),
        ([*take(0)], "0 of 0 rows show a face"),
        (take(1), "1 of 1 rows show a face; a clip needs two or more"),
        (edited(0, 3, "BrowDownLeft"), "the column 'BrowDownLeft' is there twice"),
        (edited(7, 0, "0.1167"), "line 8: timecode '0.1167'; expected hours:minutes:seconds:frames"),
        (edited(7, 0, "00:00:00:02.000"), "line 8: timecode 00:00:00:02.000 is earlier than the one before"),
        (edited(7, 0, "00:00:00:166.667"), "frame 166 within one second; recordings have at most 120"),
        (edited(7, 9, "87.5"), "CheekSquintRight runs from 0 to 87.5; weights run from 0 to 1, so divide them"),
        (edited(90, 0, "02:00:00:00.000"), "7200 s long, more than ten minutes"),
    ],
)
def test_bad_recordings_are_refused(read, content, message):
    with pytest.raises(InputError) as caught:
        read(content)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_recording_that_never_ends_is_refused(read, monkeypatch):
    monkeypatch.setattr(live_link, "MAX_FRAMES", 50)
    with pytest.raises(InputError, match="more than 50 frames"):
        read(take())
    monkeypatch.setattr(live_link, "_MAX_BYTES", 1000)
    with pytest.raises(InputError, match="cut the recording"):
        read(take())
    with pytest.raises(InputError, match="cannot be read: no such file"):
        read_live_link("nowhere.csv", BLENDSHAPE_NAMES)


def test_noise_of_any_kind_is_one_line(read):
    whole = "\n".join(",".join(row) for row in take(20)).encode()
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = np.frombuffer(whole, np.uint8).copy()
        broken[rng.integers(0, len(broken), 4)] = rng.integers(0, 256, 4)
        try:
            clip = read(broken.tobytes())
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(np.concatenate([clip.times_s, *clip.morphs.values()])).all()


def test_expressions_go_by_many_names():
    known = BLENDSHAPE_NAMES
    assert expression_weights({"jawOpen": 0.6}, known) == {"jawOpen": 0.6}
    assert expression_weights({"JawOpen": 0.6, "neutral": 1}, known) == {"jawOpen": 0.6}
    assert expression_weights({"aa": 0.5, "jawOpen": 1.0}, known) == {"jawOpen": 1.0}
    assert expression_weights({"blink": 0.5}, known) == {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jawopen": 0.5}, r"no expression is called 'jawopen' \(perhaps jawOpen\?\)"),
        ({"smileLeft": 0.5}, r"perhaps mouthSmileLeft\?"),
        ({"qqqq": 0.5}, "no expression is called 'qqqq'; known are"),
        ({"": 0.5}, "no expression is called ''"),
        ({"jawOpen": 1.5}, "expression jawOpen=1.5: expected a number from 0 to 1"),
        ({"jawOpen": float("nan")}, "jawOpen=nan: expected"),
        ({"jawOpen": -0.1}, "jawOpen=-0.1: expected"),
    ],
)
def test_bad_expressions_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        expression_weights(given, BLENDSHAPE_NAMES)
