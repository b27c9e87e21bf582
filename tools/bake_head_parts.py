"""Head bake: parts that MakeHuman lacks: whole eyeballs and a cap that closes the neck."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bake_head_source import Source
from jaxtyping import Float, Int

EYE_RINGS = 14
EYE_SEGMENTS = 24
"""An eyeball is a sphere of latitude rings whose poles are its front and back; rings are denser at the front."""

CAP_HOLLOW = 0.4
"""Weight of the border's centroid in the vertices of the cap."""

GAZE_DEG = {"eyeLookUp": 20.0, "eyeLookDown": 25.0, "eyeLookIn": 32.0, "eyeLookOut": 32.0}

LIDS_FOLLOW = {"eyeLookDown": ("eyeBlink", 0.15), "eyeLookUp": ("eyeWide", 0.5)}
"""Action added to each gaze, and its weight: people's upper lids stay near the upper edge of the iris, but MakeHuman's
gaze moves them less than half as far."""


def with_following_lids(source: Source) -> Source:
    """Make the upper lids follow a gaze up or down."""
    actions = source.expression_basis.copy()
    at = source.expression_names.index
    for gaze, (other, weight) in LIDS_FOLLOW.items():
        for side in ("Left", "Right"):
            actions[at(gaze + side)] += weight * source.expression_basis[at(other + side)]
    return replace(source, expression_basis=actions)


def with_cap(source: Source) -> Source:
    """Close the neck by quads between its two sides.

    New vertices lie in the plane of symmetry midway between mirrored vertices, pulled toward the border's centroid so
    that the cap stays inside the concavities of spine and throat. The border is one symmetric loop that crosses the
    plane at two vertices.
    """
    quads = np.concatenate([source.quads[name] for name in ("skin", "neck", "eye_socket", "mouth_cavity")])
    loop = _border_loop(quads)
    middle = np.flatnonzero(source.mirror[loop] == loop)
    if len(middle) != 2:
        raise AssertionError(f"the collar's rim crosses the middle {len(middle)} times, expected 2")
    loop = np.roll(loop, -middle[0])
    half = (middle[1] - middle[0]) % len(loop)
    side = loop[1:half]
    twins = source.mirror[side]
    between = len(source.mean) + np.arange(len(side))
    strips = [(a, between[i], between[i + 1], side[i + 1]) for i, a in enumerate(side[:-1])]
    strips += [(between[i], a, twins[i + 1], between[i + 1]) for i, a in enumerate(twins[:-1])]
    ends = [(loop[0], twins[0], between[0], side[0]), (loop[half], side[-1], between[-1], twins[-1])]
    weights = np.zeros((len(side), len(source.mean)))
    weights[:, loop] = CAP_HOLLOW / len(loop)
    weights[np.arange(len(side)), side] += (1 - CAP_HOLLOW) / 2
    weights[np.arange(len(side)), twins] += (1 - CAP_HOLLOW) / 2
    source = _with_vertices(source, weights, between)
    return replace(source, quads={**source.quads, "cap": np.array(strips + ends)[:, ::-1]})


def _border_loop(quads: Int[np.ndarray, "q 4"]) -> Int[np.ndarray, "l"]:
    """Return the one open border, against the direction of its faces, so that new faces have the same winding."""
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    present = {(a, b) for a, b in edges.tolist()}
    following = {b: a for a, b in present if (b, a) not in present}
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    if len(loop) != len(following):
        raise AssertionError("the skin has more than one open border")
    return np.array(loop)


def _with_vertices(source: Source, weights: Float[np.ndarray, "e n"], index: Int[np.ndarray, "e"]) -> Source:
    """Append vertices that are weighted means of others; they are their own mirror images."""

    def extend(field: np.ndarray) -> np.ndarray:
        return np.concatenate([field, weights @ field], axis=-2)

    return replace(
        source,
        mean=extend(source.mean),
        mirror=np.concatenate([source.mirror, index]),
        shape_plus=extend(source.shape_plus),
        shape_minus=extend(source.shape_minus),
        expression_basis=extend(source.expression_basis),
        painted={k: np.concatenate([v, np.zeros(len(index))]) for k, v in source.painted.items()},
    )


def with_eyeballs(source: Source) -> Source:
    """Replace both eyeballs by whole spheres; the right one mirrors the left.

    A shape parameter moves and scales a sphere as it moved MakeHuman's eyeball (least squares); the four gaze actions
    rotate it about its centre. The faces of these two parts are triangles: see ``globe_triangles``.
    """
    old_left = np.unique(source.quads["eye_left"])
    centre, radius = _fit_sphere(source.mean[old_left])
    globe = globe_directions()
    count = len(globe)
    first = len(source.mean)

    def follow(field: Float[np.ndarray, "k n 3"]) -> Float[np.ndarray, "k n 3"]:
        """Return the globe's displacement under each field: translation and scaling of the old eyeball."""
        moved = field[:, old_left]
        arm = source.mean[old_left] - source.mean[old_left].mean(0)
        shift = moved.mean(1)
        growth = (moved * arm).sum((1, 2)) / (arm**2).sum()
        at_centre = shift + growth[:, None] * (centre - source.mean[old_left].mean(0))
        return at_centre[:, None] + growth[:, None, None] * radius * globe

    mirrored_globe = np.array([-1.0, 1.0, 1.0])

    def extend_shape(field: np.ndarray) -> np.ndarray:
        left = follow(field)
        right = left[source.shape_mirror] * mirrored_globe
        return np.concatenate([field, left, right], axis=1)

    gaze = np.zeros((len(source.expression_names), 2 * count, 3))
    for row, name in enumerate(source.expression_names):
        stem, side = name.removesuffix("Left").removesuffix("Right"), 0 if name.endswith("Left") else 1
        if stem in GAZE_DEG:
            turned = _turned(globe, stem) - globe
            gaze[row, side * count : (side + 1) * count] = radius * turned * (mirrored_globe if side else 1)
    sphere = centre + radius * globe
    extended = replace(
        source,
        mean=np.concatenate([source.mean, sphere, sphere * mirrored_globe]),
        mirror=np.concatenate([source.mirror, first + count + np.arange(count), first + np.arange(count)]),
        shape_plus=extend_shape(source.shape_plus),
        shape_minus=extend_shape(source.shape_minus),
        expression_basis=np.concatenate([source.expression_basis, gaze], axis=1),
        painted={k: np.concatenate([v, np.zeros(2 * count)]) for k, v in source.painted.items()},
    )
    triangles = globe_triangles()
    quads = {k: v for k, v in source.quads.items() if k not in ("eye_left", "eye_right")}
    quads["eye_left"] = first + triangles
    quads["eye_right"] = first + count + triangles[:, ::-1]
    return replace(extended, quads=quads)


def _fit_sphere(points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Fit an algebraic sphere to MakeHuman's eyeball without its front, where the cornea bulges."""
    depth = points[:, 2]
    back = points[depth < depth.min() + 0.8 * np.ptp(depth)]
    system = np.concatenate([2 * back, np.ones((len(back), 1))], axis=1)
    solution = np.linalg.lstsq(system, (back**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def ring_angles() -> Float[np.ndarray, "r"]:
    """Return the rings' angles from the front pole, denser near the iris."""
    even = np.arange(1, EYE_RINGS + 1) / (EYE_RINGS + 1)
    return np.pi * (0.55 * even + 0.45 * even**2)


def globe_directions() -> Float[np.ndarray, "g 3"]:
    """Return unit vectors of a globe's vertices: front pole (+Z), rings from front to back, back pole."""
    turn = 2 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS
    rings = [
        np.stack([np.sin(a) * np.cos(turn), np.sin(a) * np.sin(turn), np.full(EYE_SEGMENTS, np.cos(a))], axis=1)
        for a in ring_angles()
    ]
    return np.concatenate([[[0, 0, 1.0]], *rings, [[0, 0, -1.0]]])


def globe_triangles() -> Int[np.ndarray, "f 3"]:
    """Return triangles of ``globe_directions``, counter-clockwise from outside."""
    around = np.arange(EYE_SEGMENTS)
    following = (around + 1) % EYE_SEGMENTS
    faces = [np.stack([np.zeros_like(around), 1 + around, 1 + following], axis=1)]
    for ring in range(EYE_RINGS - 1):
        a, b = 1 + ring * EYE_SEGMENTS + around, 1 + ring * EYE_SEGMENTS + following
        faces += [np.stack([a, a + EYE_SEGMENTS, b], axis=1), np.stack([b, a + EYE_SEGMENTS, b + EYE_SEGMENTS], axis=1)]
    last = 1 + (EYE_RINGS - 1) * EYE_SEGMENTS
    back = np.full_like(around, 1 + EYE_RINGS * EYE_SEGMENTS)
    faces.append(np.stack([last + around, back, last + following], axis=1))
    return np.concatenate(faces)


def _turned(globe: Float[np.ndarray, "g 3"], action: str) -> Float[np.ndarray, "g 3"]:
    """Return the subject's left globe after a gaze action; out is toward +X."""
    angle = np.radians(GAZE_DEG[action])
    x, y, z = globe.T
    if action in ("eyeLookUp", "eyeLookDown"):
        angle = angle if action == "eyeLookUp" else -angle
        return np.stack([x, np.cos(angle) * y + np.sin(angle) * z, np.cos(angle) * z - np.sin(angle) * y], axis=1)
    angle = angle if action == "eyeLookOut" else -angle
    return np.stack([np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x], axis=1)
