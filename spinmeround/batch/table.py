"""The table of a batch as text, line by line, and as Parquet: what a row is in either."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinmeround.batch.head import COLUMNS, Row

if TYPE_CHECKING:
    import pyarrow

HEADER = ",".join(COLUMNS) + "\n"
_LISTS = ("photos", "sha256", "reasons", "files")
_WHOLE_NUMBERS = ("peak_memory_mb", "bytes")
_ROWS_AT_ONCE = 10_000


def to_line(row: Row) -> str:
    """Return a row as one line of CSV: lists are JSON, so that no field holds a line break."""
    values = [
        json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value for value in row.flat().values()
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def from_line(line: str) -> Row:
    """Return the row of one line.

    Raises:
        ValueError, csv.Error: not a line that ``to_line`` wrote.
    """
    (fields,) = csv.reader([line])
    return Row.from_flat({name: _typed(name, text) for name, text in zip(COLUMNS, fields, strict=True)})


def write_parquet(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as they come; memory holds some thousands of them."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, _parquet_type(name)) for name in COLUMNS])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in _parts(row.flat() for row in rows):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))


def _typed(name: str, text: str) -> Any:
    if name in _LISTS:
        return json.loads(text)
    if name in _WHOLE_NUMBERS:
        return int(text)
    if name == "quality":
        return float(text) if text else None
    return float(text) if name.startswith("seconds") else text


def _parquet_type(name: str) -> pyarrow.DataType:
    import pyarrow

    if name in _LISTS:
        return pyarrow.list_(pyarrow.string())
    if name in _WHOLE_NUMBERS:
        return pyarrow.int64()
    return pyarrow.float64() if name == "quality" or name.startswith("seconds") else pyarrow.string()


def _parts(values: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for each in values:
        part.append(each)
        if len(part) == _ROWS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part
