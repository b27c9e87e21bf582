"""Build the binary chunk of a glTF file, and the container it goes into."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Shaped

ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
FLOAT, UBYTE, USHORT, UINT = 5126, 5121, 5123, 5125


class Buffer:
    """The bytes so far, and the JSON of their buffer views and accessors."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add_view(self, data: bytes, *, target: int | None = None) -> int:
        """Append bytes, aligned to four; return the index of their buffer view."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def add_vectors(self, values: Shaped[np.ndarray, "n k"], *, limits: bool = False) -> int:
        """Append float32 vectors, with their range if glTF demands it; return the index of their accessor."""
        values = np.ascontiguousarray(values, "<f4")
        view = self.add_view(values.tobytes(), target=ARRAY_BUFFER)
        kind = f"VEC{values.shape[1]}"
        accessor: dict[str, Any] = {"bufferView": view, "componentType": FLOAT, "count": len(values), "type": kind}
        if limits:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_numbers(self, values: Float[np.ndarray, "n"]) -> int:
        """Append a float32 number for each vertex; return the index of their accessor."""
        view = self.add_view(np.ascontiguousarray(values, "<f4").tobytes(), target=ARRAY_BUFFER)
        self.accessors.append({"bufferView": view, "componentType": FLOAT, "count": len(values), "type": "SCALAR"})
        return len(self.accessors) - 1

    def add_colours(self, rgba_linear: Float[np.ndarray, "n 4"]) -> int:
        """Append a colour for each vertex, in [0, 1], as 16 bits: 8 are too few for dark colours in linear light."""
        values = np.rint(np.asarray(rgba_linear) * np.iinfo(np.uint16).max).astype("<u2")
        view = self.add_view(values.tobytes(), target=ARRAY_BUFFER)
        self.accessors.append(
            {"bufferView": view, "componentType": USHORT, "normalized": True, "count": len(values), "type": "VEC4"}
        )
        return len(self.accessors) - 1

    def add_indices(self, faces: Shaped[np.ndarray, "f 3"], *, vertices: int) -> int:
        """Append the vertex indices of faces."""
        # The largest value of a type means "restart the strip" and is forbidden.
        component, kind = (USHORT, "<u2") if vertices < 65535 else (UINT, "<u4")
        view = self.add_view(np.ascontiguousarray(faces, kind).tobytes(), target=_ELEMENT_ARRAY_BUFFER)
        self.accessors.append({"bufferView": view, "componentType": component, "count": faces.size, "type": "SCALAR"})
        return len(self.accessors) - 1

    def add_joints(self, joints: Integer[np.ndarray, "n 4"]) -> int:
        """Append the indices of the joints that move each vertex."""
        view = self.add_view(np.ascontiguousarray(joints, "<u1").tobytes(), target=ARRAY_BUFFER)
        self.accessors.append({"bufferView": view, "componentType": UBYTE, "count": len(joints), "type": "VEC4"})
        return len(self.accessors) - 1

    def add_matrices(self, matrices: Float[np.ndarray, "n 4 4"]) -> int:
        """Append matrices, which glTF stores column by column."""
        view = self.add_view(np.ascontiguousarray(np.swapaxes(matrices, 1, 2), "<f4").tobytes())
        self.accessors.append({"bufferView": view, "componentType": FLOAT, "count": len(matrices), "type": "MAT4"})
        return len(self.accessors) - 1

    def add_samples(self, values: Float[np.ndarray, "n *k"], *, limits: bool = False) -> int:
        """Append the keys of an animation: numbers or quaternions, with their range if glTF demands it."""
        values = np.ascontiguousarray(values, "<f4")
        kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        accessor: dict[str, Any] = {"bufferView": self.add_view(values.tobytes()), "componentType": FLOAT}
        accessor |= {"count": len(values), "type": kind}
        if limits:
            accessor |= {"min": [float(values.min())], "max": [float(values.max())]}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_sparse_vectors(self, values: Float[np.ndarray, "n 3"]) -> int:
        """Append vectors as a sparse accessor: zeros take no space."""
        values = np.asarray(values, "<f4")
        rows = np.flatnonzero(values.any(axis=1))
        if len(rows) == 0:
            rows = np.zeros(1, np.int64)  # an empty list is not allowed
        component, kind = (USHORT, "<u2") if len(values) < 65535 else (UINT, "<u4")
        sparse = {
            "count": len(rows),
            "indices": {"bufferView": self.add_view(rows.astype(kind).tobytes()), "componentType": component},
            "values": {"bufferView": self.add_view(np.ascontiguousarray(values[rows]).tobytes())},
        }
        limits = {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append({"componentType": FLOAT, "count": len(values), "type": "VEC3", "sparse": sparse} | limits)
        return len(self.accessors) - 1


def container(document: dict[str, Any], binary: bytes) -> bytes:
    """Return the GLB container: a header, the JSON chunk and the binary chunk, each padded to four bytes."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    size = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, size),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(binary), b"BIN\x00"),
            binary,
        ]
    )
