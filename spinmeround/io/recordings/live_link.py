"""Read the CSV of Live Link Face (Epic Games): weights of ARKit's blendshapes and angles of head and eyes over time.

The file has a row for each frame: ``Timecode`` (hours:minutes:seconds:frames.part), ``BlendshapeCount`` (0 where the
face was lost), 52 weights under ARKit's names with a capital first letter, then yaw, pitch and roll of the head and
both eyes. The angles turn about the axes of the face that ARKit knows: yaw about +Y, pitch about +X, roll about +Z, so
that a positive yaw looks to the subject's left and a positive pitch down.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from spinmeround.errors import InputError
from spinmeround.io.recordings.expressions import suggestion
from spinmeround.types import FaceClip

log = logging.getLogger(__name__)

MAX_FRAMES = 36_000
"""Ten minutes at 60 frames a second."""
_MAX_BYTES = 64 * 2**20
_FRAME_RATES_HZ = (24, 25, 30, 48, 50, 60, 120)
_USUAL_RATE_HZ = 60
_SECONDS_PER_DAY = 86_400
_LEAST_ANGLE = 1e-6
"""Joints whose angles all stay below this are at rest; the file's unit, radians or degrees."""
_WEIGHT_RANGE = (-0.5, 2.0)
"""Weights run from 0 to 1. What lies a little outside is clipped; beyond this range it is another unit, as percent."""
_GAZE_STD, _EYE_ANGLE_STD_RAD = 0.02, 0.01
"""Least standard deviations, or rms values, of the ``EyeLook`` weights and eye angles for comparing their signs."""
_OPPOSITE_CORRELATION = -0.5
"""Below this, an angle counts the other way round than the ``EyeLook`` weights say."""
_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})[:;](\d{1,3}(?:\.\d*)?)")
_JOINTS = {"head": "Head", "leftEye": "LeftEye", "rightEye": "RightEye"}
_ANGLES = ("Yaw", "Pitch", "Roll")


def read_live_link(path: Path | str, morph_names: Sequence[str]) -> FaceClip:
    """Read a recording as a clip that begins at 0.

    Unknown columns are ignored and missing ones count as 0, each with a warning; rows in which the face was lost or
    that hold no numbers are skipped. The frame rate is the lowest usual one above the frame numbers of the timecode.
    Angles are in radians, or in degrees if some exceed pi. If the angles of the eyes contradict the weights of
    ``EyeLook``, the angles of eyes and head change sign.

    Args:
        morph_names: ARKit's names.

    Raises:
        InputError: no such file, no such columns, nothing in it, times that run backwards, weights far outside
            [0, 1], or more than ``MAX_FRAMES`` rows.
    """
    path = Path(path)
    table = _read_table(path)
    columns = _columns(path, table, morph_names)
    frames = _frames_with_face(path, table, columns)
    times = _times_s(path, frames.timecodes, frames.lines)
    later = np.diff(times, prepend=-1) > 0
    if not later.all():
        log.warning("%s: %d of %d frames repeat a time and are left out", path, (~later).sum(), len(later))
    times, values = times[later], frames.values[later]
    _check_length(path, times)
    morphs = {
        name: _clip_weights(path, column, values[:, k]) for k, (column, name) in enumerate(columns.morphs.items())
    }
    angles = values[:, len(morphs) :].reshape(len(values), -1, 3)
    angles_by_joint = {
        joint: angles[:, k] for k, joint in enumerate(columns.joints) if np.abs(angles[:, k]).max() > _LEAST_ANGLE
    }
    angles_by_joint = _with_signs_of_gaze(path, _in_radians(path, angles_by_joint), morphs)
    rotations = {joint: _quaternions(yaw_pitch_roll) for joint, yaw_pitch_roll in angles_by_joint.items()}
    return FaceClip(times, morphs, rotations)


def _check_length(path: Path, times: Float[np.ndarray, "n"]) -> None:
    if len(times) < 2:
        raise InputError(f"{path}: all frames at one time; a clip needs two times or more, record it again")
    if times[-1] > MAX_FRAMES / _USUAL_RATE_HZ:
        raise InputError(f"{path}: {times[-1]:.0f} s long, more than ten minutes; cut the recording")


@dataclass(frozen=True)
class _Table:
    header: list[str]
    rows: list[list[str]]
    lines: list[int]


@dataclass(frozen=True)
class _Columns:
    """The columns in use.

    Attributes:
        morphs: ARKit's names by the file's.
        joints: those of which the file has some angle.
        numbers: places of the morphs' weights, then of three angles per joint; -1 where there is no such column.
    """

    timecode: int
    count: int | None
    morphs: dict[str, str]
    joints: list[str]
    numbers: list[int]


@dataclass(frozen=True)
class _Frames:
    timecodes: list[str]
    lines: list[int]
    values: Float[np.ndarray, "n k"]


def _read_table(path: Path) -> _Table:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"{path}: {size / 2**20:.0f} MB, more than {_MAX_BYTES // 2**20}; cut the recording")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_rows(path, csv.reader(file))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8; give the .csv of a take by Live Link Face") from error


def _read_rows(path: Path, reader: Iterator[list[str]]) -> _Table:
    header: list[str] = []
    table = _Table(header, [], [])
    for line, row in enumerate(reader, 1):
        if not any(cell.strip() for cell in row):
            continue
        if not header:
            header += [cell.strip() for cell in row]
            continue
        table.rows.append(row)
        table.lines.append(line)
        if len(table.rows) > MAX_FRAMES:
            raise InputError(f"{path}: more than {MAX_FRAMES} frames, ten minutes; cut the recording")
    if not header:
        raise InputError(f"{path}: empty; give the .csv of a take by Live Link Face")
    return table


def _columns(path: Path, table: _Table, morph_names: Sequence[str]) -> _Columns:
    at = {name.lower(): index for index, name in enumerate(table.header)}
    if len(at) < len(table.header):
        counts = Counter(name.lower() for name in table.header)
        twice = sorted({name for name in table.header if counts[name.lower()] > 1})
        raise InputError(f"{path}: the column {twice[0]!r} is there twice; leave one out")
    if "timecode" not in at:
        raise InputError(f"{path}: no column Timecode; give the .csv of a take by Live Link Face, with commas")
    morphs = {table.header[at[name.lower()]]: name for name in morph_names if name.lower() in at}
    if not morphs:
        raise InputError(
            f"{path}: none of ARKit's blendshapes is among its {len(table.header)} columns; give the .csv of a take by "
            "Live Link Face"
        )
    angles = {joint: [f"{prefix}{angle}" for angle in _ANGLES] for joint, prefix in _JOINTS.items()}
    joints = [joint for joint, names in angles.items() if any(name.lower() in at for name in names)]
    used = [*morphs, *(name for joint in joints for name in angles[joint])]
    wanted = [_pascal(name) for name in morph_names] + [name for names in angles.values() for name in names]
    _warn_of_columns(path, table.header, wanted)
    numbers = [at.get(name.lower(), -1) for name in used]
    return _Columns(at["timecode"], at.get("blendshapecount"), morphs, joints, numbers)


def _pascal(name: str) -> str:
    return name[0].upper() + name[1:]


def _warn_of_columns(path: Path, header: Sequence[str], wanted: Sequence[str]) -> None:
    present = {name.lower() for name in header}
    missing = [name for name in wanted if name.lower() not in present]
    if missing:
        log.warning("%s: missing, so at rest: %s", path, _column_list(missing))
    expected = {"timecode", "blendshapecount", *(name.lower() for name in wanted)}
    unknown = [name for name in header if name.lower() not in expected]
    if unknown:
        log.warning(
            "%s: unknown and left out: %s",
            path,
            _column_list([f"{name}{suggestion(name, missing)}" for name in unknown]),
        )


def _column_list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return ("column " if len(names) == 1 else "columns ") + shown


def _frames_with_face(path: Path, table: _Table, columns: _Columns) -> _Frames:
    """Parse the rows that hold a face; skip the others."""
    frames = _Frames([], [], np.zeros((0, 0)))
    values, lost, broken = [], 0, 0
    for line, row in zip(table.lines, table.rows, strict=True):
        if len(row) == len(table.header) and columns.count is not None and row[columns.count].strip() == "0":
            lost += 1
            continue
        numbers = _numbers(row, columns.numbers) if len(row) == len(table.header) else None
        if numbers is None:
            broken += 1
            continue
        frames.timecodes.append(row[columns.timecode].strip())
        frames.lines.append(line)
        values.append(numbers)
    if len(values) < 2:
        raise InputError(
            f"{path}: {len(values)} of {len(table.rows)} rows show a face; a clip needs two or more, record it again"
        )
    if lost:
        log.info("%s: the face was lost in %d of %d frames; they are bridged", path, lost, len(table.rows))
    if broken:
        log.warning("%s: %d of %d rows hold no numbers and are bridged", path, broken, len(table.rows))
    return _Frames(frames.timecodes, frames.lines, np.stack(values))


def _numbers(row: Sequence[str], at: Sequence[int]) -> Float[np.ndarray, "k"] | None:
    try:
        values = np.array([float(row[k]) if k >= 0 else 0.0 for k in at])
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _clip_weights(path: Path, column: str, values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    low, high = float(values.min()), float(values.max())
    if low < _WEIGHT_RANGE[0] or high > _WEIGHT_RANGE[1]:
        raise InputError(f"{path}: {column} runs from {low:g} to {high:g}; weights run from 0 to 1, so divide them")
    return np.clip(values, 0, 1)


def _times_s(path: Path, timecodes: Sequence[str], lines: Sequence[int]) -> Float[np.ndarray, "n"]:
    clock, frame = np.zeros(len(timecodes)), np.zeros(len(timecodes))
    for index, (timecode, line) in enumerate(zip(timecodes, lines, strict=True)):
        found = _TIMECODE.fullmatch(timecode)
        if found is None:
            raise InputError(f"{path}: line {line}: timecode {timecode!r}; expected hours:minutes:seconds:frames")
        hours, minutes, seconds = (int(part) for part in found.groups()[:3])
        clock[index], frame[index] = 3600 * hours + 60 * minutes + seconds, float(found[4])
    highest = int(frame.max())
    rate = next((rate for rate in _FRAME_RATES_HZ if rate > highest), None)
    if rate is None:
        raise InputError(
            f"{path}: frame {highest} within one second; recordings have at most {_FRAME_RATES_HZ[-1]} a second"
        )
    if np.ptp(clock) == 0:
        rate = max(rate, _USUAL_RATE_HZ)  # no second is over: the frames never ran up to their last number
    times = clock + frame / rate
    times += _SECONDS_PER_DAY * np.cumsum(np.diff(times, prepend=times[0]) < -_SECONDS_PER_DAY / 2)  # past midnight
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        first = back[0] + 1
        raise InputError(
            f"{path}: line {lines[first]}: timecode {timecodes[first]} is earlier than the one "
            "before; sort the rows by time"
        )
    log.info("%s: %d frames, %.1f s at %d a second", path, len(times), times[-1] - times[0], rate)
    return times - times[0]


def _in_radians(path: Path, angles: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if all(np.abs(values).max() <= np.pi for values in angles.values()):
        return angles
    log.info("%s: its angles are in degrees", path)
    return {joint: np.radians(values) for joint, values in angles.items()}


def _with_signs_of_gaze(
    path: Path, angles: dict[str, np.ndarray], morphs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Flip yaw or pitch of all joints if the eyes' angles contradict the ``EyeLook`` weights.

    Programs differ in the signs of the angles. The weights are named, so that their signs are certain.
    """
    eyes = [values for joint, values in angles.items() if joint != "head"]
    rest = np.zeros(1)
    look = {name: morphs.get(f"eyeLook{name}", rest) for name in ("OutLeft", "InRight", "InLeft", "OutRight",
            "DownLeft", "DownRight", "UpLeft", "UpRight")}  # fmt: skip
    left = look["OutLeft"] + look["InRight"] - look["InLeft"] - look["OutRight"]
    down = look["DownLeft"] + look["DownRight"] - look["UpLeft"] - look["UpRight"]
    signs = np.ones(3)
    for axis, named in enumerate((left, down)):
        measured = np.sum([values[:, axis] for values in eyes], axis=0) if eyes else rest
        if _opposite(named, measured):
            signs[axis] = -1
            log.info("%s: its %s counts the other way and is flipped", path, _ANGLES[axis].lower())
    return {joint: values * signs for joint, values in angles.items()}


def _opposite(gaze: Float[np.ndarray, "n"], angle_rad: Float[np.ndarray, "m"]) -> bool:
    """Check that two signals clearly have opposite signs.

    Their changes are compared; in a short clip that changes little, their distances from the gaze straight ahead.
    """
    for origin in (np.mean, lambda signal: 0.0):
        named, measured = gaze - origin(gaze), angle_rad - origin(angle_rad)
        rms = np.sqrt(np.mean(named**2)), np.sqrt(np.mean(measured**2))
        if rms[0] > _GAZE_STD and rms[1] > _EYE_ANGLE_STD_RAD:
            return bool(np.mean(named * measured) < _OPPOSITE_CORRELATION * rms[0] * rms[1])
    return False


def _quaternions(yaw_pitch_roll: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Return wxyz of roll first, then pitch, then yaw (radians); neighbours have the same sign, so that keys blend."""
    wxyz = Rotation.from_euler("YXZ", yaw_pitch_roll).as_quat()[:, [3, 0, 1, 2]]
    flips = np.cumprod(np.where((wxyz[1:] * wxyz[:-1]).sum(1) < 0, -1.0, 1.0))
    wxyz[1:] *= flips[:, None]
    return wxyz
