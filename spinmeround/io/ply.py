"""Read and write the PLY container (Turk 1994): elements as structured arrays, whatever their columns mean."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from spinmeround.errors import InputError

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float"}
_MAX_HEADER_BYTES = 1 << 16
_MAX_ASCII_BYTES = 1 << 28
_FORMATS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Lists:
    """A list property: the entries of all rows in one flat array, and how many belong to each row."""

    lengths: Shaped[np.ndarray, "n"]
    flat: Shaped[np.ndarray, "m"]


Columns = dict[str, Shaped[np.ndarray, "n"] | Lists]


@dataclass(frozen=True)
class Element:
    """Rows of one kind, such as ``vertex``: a column per scalar property, ``Lists`` per list property."""

    count: int
    columns: Columns

    def stacked(self, *names: str) -> Shaped[np.ndarray, "n k"]:
        """Stack scalar columns side by side, as float32 or, if any of them is wider, float64."""
        columns = [self.columns[name] for name in names]
        kind = np.result_type(np.float32, *[c for c in columns if isinstance(c, np.ndarray)])
        out = np.empty((self.count, len(columns)), kind)
        for i, column in enumerate(columns):
            out[:, i] = column
        return out


@dataclass
class _Declared:
    name: str
    count: int
    properties: list[tuple[str, str | None, str]]  # (name, type of a list's length, type of the value)


def write_ply(path: Path, elements: dict[str, Shaped[np.ndarray, "n"]], *, comments: tuple[str, ...] = ()) -> None:
    """Write structured arrays as little-endian binary elements.

    A field of shape (k,) becomes a list property of k entries whose length is a uchar.
    """
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {text}" for text in comments)]
    for name, rows in elements.items():
        lines.append(f"element {name} {len(rows)}")
        for field in rows.dtype.names or ():
            kind = rows.dtype[field]
            listed = "list uchar " if kind.shape else ""
            lines.append(f"property {listed}{_NAMES[kind.base.str[1:]]} {field}")
    with path.open("wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        for rows in elements.values():
            file.write(_packed(rows).view(np.uint8).data)  # tofile would not say that the disk is full


def _packed(rows: Shaped[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"]:
    """Convert rows to the layout of the file: little-endian, packed, the length before each list."""
    fields: list[tuple] = []
    for name in rows.dtype.names or ():
        kind = rows.dtype[name]
        if kind.shape:
            fields.append((f"{name} length", "u1"))
        fields.append((name, kind.base.newbyteorder("<"), kind.shape))
    packed = np.empty(len(rows), fields)
    for name in rows.dtype.names or ():
        packed[name] = rows[name]
        if rows.dtype[name].shape:
            packed[f"{name} length"] = rows.dtype[name].shape[0]
    return packed


def read_ply(path: Path) -> dict[str, Element]:
    """Read all elements of a PLY file, ASCII or binary.

    Memory is bounded by the size of the file: a count that the file cannot hold is refused before allocation.

    Raises:
        InputError: not a PLY file, an unknown kind of header, or fewer data than the header promises.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    header = re.match(rb"ply\r?\n.*?\nend_header\r?\n", data[:_MAX_HEADER_BYTES], re.DOTALL)
    if header is None:
        raise InputError(f"{path}: not a PLY file (no 'ply ... end_header' at its start)")
    encoding, declared = _parse_header(path, header[0].decode("latin-1"))
    body = memoryview(data)[header.end() :]
    if encoding == "ascii":
        return _read_ascii(path, body, declared)
    return _read_binary(path, body, declared, _FORMATS[encoding])


def _parse_header(path: Path, text: str) -> tuple[str, list[_Declared]]:
    encoding, declared = "", []
    for line in text.splitlines()[1:-1]:
        match line.split():
            case ["format", name, "1.0"] if name in _FORMATS:
                encoding = name
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 12:
                declared.append(_Declared(name, int(count), []))
            case ["property", "list", length, value, name] if (
                declared and _TYPES.get(length, "f")[0] in "iu" and value in _TYPES
            ):
                declared[-1].properties.append((name, _TYPES[length], _TYPES[value]))
            case ["property", value, name] if declared and value in _TYPES:
                declared[-1].properties.append((name, None, _TYPES[value]))
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise InputError(f"{path}: the PLY header has a line that is not valid: {line[:80]!r}")
    if not encoding:
        raise InputError(f"{path}: the PLY header names no format (ascii or binary, 1.0)")
    for element in declared:
        names = [name for name, _, _ in element.properties]
        if len(set(names)) < len(names):
            raise InputError(f"{path}: the PLY header names a property of {element.name!r} twice")
    return encoding, declared


def _read_binary(path: Path, body: memoryview, declared: list[_Declared], order: str) -> dict[str, Element]:
    elements, offset = {}, 0
    for element in declared:
        columns: Columns
        if any(length is not None for _, length, _ in element.properties):
            columns, offset = _read_lists(path, body, offset, element, order)
        else:
            row = np.dtype([(name, order + kind) for name, _, kind in element.properties])
            if element.count * row.itemsize > len(body) - offset:
                raise _cut_short(path, element)
            rows = np.frombuffer(body, row, element.count, offset) if row.itemsize else np.zeros(0, row)
            columns = {name: rows[name] for name in row.names or ()}
            offset += element.count * row.itemsize
        elements[element.name] = Element(element.count, columns)
    return elements


def _read_lists(path: Path, body: memoryview, offset: int, element: _Declared, order: str) -> tuple[Columns, int]:
    """Read rows with lists. Runs of rows of equal shape, the usual case, are read at once."""
    names = [name for name, _, _ in element.properties]
    pieces: list[np.ndarray] = []
    done = 0
    while done < element.count:
        row = _shape_of_row(path, body, offset, element, order)
        possible = min(element.count - done, (len(body) - offset) // row.itemsize)
        if possible == 0:
            raise _cut_short(path, element)
        # A short run first, so that rows of ever-changing shape take time linear in their number.
        for limit in (min(possible, 64), possible):
            rows = np.frombuffer(body, row, limit, offset)
            same = np.ones(limit, bool)
            for name, length, _ in element.properties:
                if length is not None:
                    same &= rows[f"{name} length"] == rows[f"{name} length"][0]
            if not same.all():
                rows = rows[: int(np.argmin(same))]
                break
        pieces.append(rows)
        done += len(rows)
        offset += len(rows) * row.itemsize
    columns: Columns = {}
    for name, (_, length, value) in zip(names, element.properties, strict=True):
        if length is None:
            columns[name] = np.concatenate([p[name] for p in pieces]) if pieces else np.zeros(0, value)
            continue
        lengths = [np.full(len(p), p.dtype[name].shape[0]) for p in pieces]
        columns[name] = Lists(
            np.concatenate(lengths) if pieces else np.zeros(0, np.int64),
            np.concatenate([p[name].reshape(-1) for p in pieces]) if pieces else np.zeros(0, value),
        )
    return columns, offset


def _shape_of_row(path: Path, body: memoryview, offset: int, element: _Declared, order: str) -> np.dtype:
    fields: list[tuple] = []
    for name, length, value in element.properties:
        if length is None:
            fields.append((name, order + value))
            offset += np.dtype(value).itemsize
            continue
        kind = np.dtype(order + length)
        if offset + kind.itemsize > len(body):
            raise _cut_short(path, element)
        entries = int(np.frombuffer(body, kind, 1, offset)[0])
        offset += kind.itemsize + entries * np.dtype(value).itemsize
        if entries < 0 or offset > len(body):
            raise _cut_short(path, element)
        fields += [(f"{name} length", kind), (name, order + value, (entries,))]
    return np.dtype(fields)


def _read_ascii(path: Path, body: memoryview, declared: list[_Declared]) -> dict[str, Element]:
    if len(body) > _MAX_ASCII_BYTES:
        raise InputError(f"{path}: a text PLY of {len(body) >> 20} MB; export it as binary PLY")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            numbers = np.fromstring(bytes(body).decode("latin-1"), np.float64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise InputError(f"{path}: something that is no number in a text PLY; export it again") from error
    elements, at = {}, 0
    for element in declared:
        columns: Columns
        if element.count * len(element.properties) > len(numbers) - at:
            raise _cut_short(path, element)
        if any(length is not None for _, length, _ in element.properties):
            columns, at = _read_ascii_lists(path, numbers, at, element)
        else:
            block = numbers[at : at + element.count * len(element.properties)]
            block = block.reshape(element.count, len(element.properties))
            at += block.size
            columns = {name: _cast(path, block[:, i], kind) for i, (name, _, kind) in enumerate(element.properties)}
        elements[element.name] = Element(element.count, columns)
    return elements


def _read_ascii_lists(path: Path, numbers: Shaped[np.ndarray, "m"], at: int, element: _Declared) -> tuple[Columns, int]:
    lengths: dict[str, list[int]] = {name: [] for name, _, _ in element.properties}
    values: dict[str, list[np.ndarray]] = {name: [] for name, _, _ in element.properties}
    for _ in range(element.count):
        for name, length, _ in element.properties:
            entries = 1
            if length is not None:
                entries = int(numbers[at]) if at < len(numbers) and 0 <= numbers[at] <= len(numbers) else len(numbers)
                at += 1
            if at + entries > len(numbers):
                raise _cut_short(path, element)
            lengths[name].append(entries)
            values[name].append(numbers[at : at + entries])
            at += entries
    columns: Columns = {}
    for name, length, kind in element.properties:
        flat = _cast(path, np.concatenate(values[name]) if values[name] else np.zeros(0), kind)
        columns[name] = flat if length is None else Lists(np.array(lengths[name], np.int64), flat)
    return columns, at


def _cast(path: Path, values: Shaped[np.ndarray, "n"], kind: str) -> Shaped[np.ndarray, "n"]:
    if kind[0] in "iu":
        limits = np.iinfo(kind)
        if not ((values >= limits.min) & (values <= limits.max) & (values == np.rint(values))).all():
            raise InputError(f"{path}: a number that does not fit its property's type; export the PLY again")
    return values.astype(kind)


def _cut_short(path: Path, element: _Declared) -> InputError:
    return InputError(
        f"{path}: cut short: the header promises {element.count} of {element.name!r} and the file holds fewer; "
        "copy or export it again"
    )
