"""The compressed data of a JPEG: where each scan ends, to tell grey that is there from grey that is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_STANDALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a segment: TEM, restarts and the start of the image."""
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""Within a scan, 0xFF is followed by 0 (a value) or by a restart; all else ends it."""
_SURPLUS = bytes(range(1, 255)) * 16
"""Codes of all lengths, without a marker in them."""


def with_surplus_data(jpeg: bytes) -> bytes:
    """Return the file with some more compressed data at the end of each scan of its first picture.

    A decoder that has all its blocks by then skips them, and the picture stays the same. One that lacks blocks takes
    them from here, where it would have made them grey, and the picture changes.
    """
    ends = list(_scan_ends(jpeg))
    pieces = [jpeg[start:end] for start, end in zip([0, *ends], [*ends, len(jpeg)], strict=True)]
    return _SURPLUS.join(pieces)


def _scan_ends(jpeg: bytes) -> Iterator[int]:
    """Yield the offset of the marker behind each scan."""
    at = 2
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF or jpeg[at + 1] in (0xFF, *_STANDALONE):  # padding, or nothing to skip
            at += 1 if jpeg[at + 1] == 0xFF or jpeg[at] != 0xFF else 2
            continue
        kind = jpeg[at + 1]
        if kind == _END_OF_IMAGE:
            return
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if kind == _START_OF_SCAN:
            end = _SCAN_END.search(jpeg, at)
            if end is None:
                return
            at = end.start()
            yield at
