"""Head bake: lips closed. MakeHuman's cage is closed at the lips, but its subdivision surface is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from bake_head_flatten import border_loops, triangulated
from bake_head_source import Source
from bake_head_subdivide import catmull_clark
from jaxtyping import Float, Int

OVERLAP = 0.0022
"""Head units by which the lips' borders overlap, so that no gap shows."""
REACH = 0.012
ROUNDS = 6


def with_closed_lips(source: Source) -> Source:
    """Move both lips toward their seam until the subdivided lips touch; the shift fades with the distance to it."""
    skin = np.concatenate([source.quads[name] for name in ("skin", "neck", "cap", "eye_socket", "mouth_cavity")])
    smoothed = _vertex_points(skin, len(source.mean))
    mouth = source.quads["mouth_cavity"]
    (rim,) = border_loops(triangulated(mouth))
    mean = source.mean.copy()
    moving = np.unique(np.concatenate([source.quads["skin"], source.quads["mouth_cavity"]]))
    for _ in range(ROUNDS):
        seam, gap = _seam((smoothed @ mean)[rim])
        gap = np.maximum(gap + OVERLAP, 0)
        distance = np.linalg.norm(mean[moving, None] - seam[None], axis=-1)
        nearest = distance.argmin(1)
        side = np.sign(mean[moving, 1] - seam[nearest, 1])
        fade = np.exp(-((distance.min(1) / REACH) ** 2))
        mean[moving, 1] -= side * fade * gap[nearest] / 2
    mean = (mean + mean[source.mirror] * [-1, 1, 1]) / 2
    return replace(source, mean=mean)


def _vertex_points(quads: Int[np.ndarray, "q 4"], count: int) -> sp.csr_matrix:
    """Return the matrix to the cage's vertices after two rounds of subdivision."""
    first = catmull_clark(quads, count)
    second = catmull_clark(first.quads, first.matrix.shape[0])
    return sp.csr_matrix((second.matrix @ first.matrix)[:count])


def _seam(rim: Float[np.ndarray, "r 3"]) -> tuple[Float[np.ndarray, "s 3"], Float[np.ndarray, "s"]]:
    """Return points midway between the two lips from corner to corner, and the gap there; ``rim`` is closed."""
    rim = np.roll(rim, -int(rim[:, 0].argmin()), axis=0)
    corner = int(rim[:, 0].argmax())
    x = np.linspace(rim[0, 0], rim[corner, 0], 61)[1:-1]
    sides = []
    for chain in (rim[: corner + 1], np.roll(rim, -corner, axis=0)[: len(rim) - corner + 1][::-1]):
        sides.append(np.stack([x, *(np.interp(x, chain[:, 0], chain[:, k]) for k in (1, 2))], axis=1))
    lower, upper = sorted(sides, key=lambda side: side[:, 1].mean())
    return (lower + upper) / 2, upper[:, 1] - lower[:, 1]
