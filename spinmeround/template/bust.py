"""Where the head ends: a flat cut through the neck, closed, so that every camera of the rig sees the whole of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

HEIGHT = -0.4
"""Height of the cut in head units: below the chin, within the pictures of the whole-head rig."""


def cut(
    vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "w 3"], Integer[np.ndarray, "g 3"], Integer[np.ndarray, "g 3"]]:
    """Leaves what lies above ``HEIGHT`` and closes the opening with a flat fan.

    Corners of faces that cross the plane are lifted onto it, so the rim is as fine as the mesh.

    Returns:
        vertices with the middle of the opening appended; faces; and for each corner of a face the corner of the input
        it takes its texture from, as an index into ``faces.ravel()``.
    """
    corners = np.arange(faces.size).reshape(faces.shape)
    below = vertices[:, 1] < HEIGHT
    keep = ~below[faces].all(1)
    faces, corners = faces[keep], corners[keep]
    if not below[faces].any():
        return vertices, faces, corners
    lifted = vertices.copy()
    lifted[below, 1] = HEIGHT
    start, end, source = faces.ravel(), np.roll(faces, -1, axis=1).ravel(), corners.ravel()
    on_rim = below[start] & below[end]
    shared = set(zip(end[on_rim], start[on_rim], strict=True))
    rim = [k for k in np.nonzero(on_rim)[0] if (start[k], end[k]) not in shared]
    if not rim:
        return lifted, faces, corners
    middle = len(lifted)
    lifted = np.concatenate([lifted, lifted[start[rim]].mean(0, keepdims=True)])
    fan = np.stack([end[rim], start[rim], np.full(len(rim), middle)], axis=1)
    fan_corners = np.repeat(source[rim][:, None], 3, axis=1)
    return lifted, np.concatenate([faces, fan]), np.concatenate([corners, fan_corners])
