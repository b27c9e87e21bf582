"""What Blender's importer does not tell of a head's .glb: the weights of the photo's expression."""
# SPDX-License-Identifier: GPL-3.0-or-later

import json
import struct
from pathlib import Path
from typing import Any

_CLIP = "photo"
_FLOAT = 5126


def photo_expression(glb: Path) -> dict[str, float]:
    """Return the weights, by shape key, of the expression in the photo; empty where the file has none.

    Raises:
        ValueError: the file is no .glb.
    """
    document, binary = _chunks(glb)
    clip = next((clip for clip in document.get("animations", ()) if clip.get("name") == _CLIP), None)
    weights: dict[str, float] = {}
    for channel in clip["channels"] if clip else ():
        if channel["target"]["path"] != "weights":
            continue
        mesh = document["meshes"][document["nodes"][channel["target"]["node"]]["mesh"]]
        names = mesh["extras"]["targetNames"]
        values = _floats(document, binary, clip["samplers"][channel["sampler"]]["output"])
        weights |= zip(names, values[: len(names)], strict=True)
    return weights


def _chunks(glb: Path) -> tuple[dict[str, Any], bytes]:
    data = glb.read_bytes()
    if data[:4] != b"glTF" or len(data) < 28:
        raise ValueError(f"{glb.name} is no .glb")
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def _floats(document: dict[str, Any], binary: bytes, index: int) -> list[float]:
    accessor = document["accessors"][index]
    if accessor["componentType"] != _FLOAT or accessor["type"] != "SCALAR":
        raise ValueError("the weights of the photo's expression are no numbers of 32 bits")
    view = document["bufferViews"][accessor["bufferView"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    return list(struct.unpack_from(f"<{accessor['count']}f", binary, start))
