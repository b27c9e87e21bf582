"""Expressions transferred from the mean head to a person: deformation transfer, then eyes and lids made exact."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Float32
from scipy.sparse.linalg import splu

from spinmeround.geometry import MILLIMETRE
from spinmeround.portrait.landmarks import LEFT_IRIS, RIGHT_IRIS
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points

EYES = ("eye_left", "eye_right")
IRISES = {"eye_left": LEFT_IRIS, "eye_right": RIGHT_IRIS}
"""Landmark in the centre of each iris, by the part of the head."""

_REGULARISER = 1e-3
"""Weight of the mean head's own displacement: determines teeth and tongue, which are joined to nothing that is held."""
_LID_OVERLAP = 0.2 * MILLIMETRE
"""How far the upper lid lies below the lower one when the eye is shut, head units."""
_EYEBALL_CLEARANCE = 0.4 * MILLIMETRE
"""Distance that moved lids keep from the eyeball, head units: on coarse meshes an edge dips below its ends."""
_NEGLIGIBLE = 0.01 * MILLIMETRE
"""Displacements below this are set to 0, head units."""
_BLINK_FACTORS = (0.4, 1.6)
"""Bounds on the factor that makes a person's lids meet."""
_BEFORE_EYEBALL = 0.96
"""Skin nearer to the eyeball's centre than this, in radii, lies inside it and is not a lid."""
_SCALP = 0.5
"""Value of the scalp's soft mask from which a vertex belongs to it."""

LIDS = {
    "Left": ((384, 385, 386, 387, 388), (381, 380, 374, 373, 390)),
    "Right": ((157, 158, 159, 160, 161), (154, 153, 145, 144, 163)),
}
"""Landmarks on the upper lid's edge, and those they meet on the lower one, by the side of the eye."""


def personal_morphs(model: HeadModel, neutral: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "52 m 3"]:
    """Return the displacements of one person's dense vertices for each of the model's expressions at activation 1.

    Args:
        neutral: the person's coarse vertices at rest, world frame.
    """
    coarse = transfer_expressions(model, neutral, _held(model))
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        row = model.expression_names.index(name)
        coarse[row] *= _blink_factor(model, neutral, coarse[row], name.removeprefix("eyeBlink"))
    for side in EYES:
        _turn_eye(model, neutral, coarse, side)
    rest = model.dense(neutral)
    dense = np.stack([model.dense(action) for action in coarse])
    for row, name in enumerate(model.expression_names):
        if name.startswith("eye"):
            side = "eye_left" if name.endswith("Left") else "eye_right"
            dense[row] += _lift_off_eyeball(model, rest, dense[row], *eyeball(model, neutral, side))
    dense *= np.where(model.dense_vertices_of("skin"), 1 - model.masks["scalp"], 1)[:, None]
    dense[np.linalg.norm(dense, axis=2) < _NEGLIGIBLE] = 0
    return dense.astype(np.float32)


def transfer_expressions(
    model: HeadModel, neutral: Float[np.ndarray, "n 3"], held: Bool[np.ndarray, "n"]
) -> Float[np.ndarray, "52 n 3"]:
    """Transfer the mean head's expressions to a person, as displacements of the coarse vertices.

    Each triangle turns and stretches as it does on the mean head; vertices are where that fits best in the sense of
    least squares. Method: deformation transfer (Sumner and Popović 2004) as a Poisson equation (Botsch, Sumner, Pauly
    and Gross 2006).

    Args:
        held: vertices that no expression moves.
    """
    mean, faces = model.mean.astype(np.float64), model.faces
    gradient, area, tangent = _gradients(neutral, faces)
    flat = np.repeat(area, 3)
    system = gradient.T @ sp.diags(flat) @ gradient + _REGULARISER * sp.identity(len(neutral))
    size = float(neutral.std(0).sum() / mean.std(0).sum())
    inverse_frames = np.linalg.inv(_frames(mean, faces))
    moved = np.zeros((len(model.expression_basis), len(neutral), 3))
    for row, basis in enumerate(model.expression_basis.astype(np.float64)):
        change = _frames(mean + basis, faces) @ inverse_frames - np.eye(3)
        wanted = tangent @ np.swapaxes(change, 1, 2)
        right = gradient.T @ (flat[:, None] * wanted.reshape(-1, 3)) + _REGULARISER * size * basis
        # Vertices that an expression does not move on the mean head it moves on nobody.
        free = np.flatnonzero(~held & (np.linalg.norm(basis, axis=1) > _NEGLIGIBLE))
        moved[row, free] = splu(system[free][:, free].tocsc()).solve(right[free])
    return moved


def eyeball(model: HeadModel, neutral: Float[np.ndarray, "n 3"], side: str) -> tuple[Float[np.ndarray, "3"], float]:
    """Fit a sphere to an eye (linear least squares) and return its centre and radius."""
    ball = neutral[model.part == PARTS.index(side)].astype(np.float64)
    middle = ball.mean(0)
    local = ball - middle
    # |x|² = 2 x·c + (r² - |c|²) is linear in c and the bracket.
    found = np.linalg.lstsq(np.column_stack([2 * local, np.ones(len(local))]), (local**2).sum(1), rcond=None)[0]
    return middle + found[:3], float(np.sqrt(found[3] + (found[:3] ** 2).sum()))


def rotation_between(before: Float[np.ndarray, "n 3"], after: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    """Return the rotation of the best rigid motion between two point sets (Kabsch 1976)."""
    u, _, v = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    return (u @ mirror @ v).T


def _held(model: HeadModel) -> Bool[np.ndarray, "n"]:
    """Coarse vertices of the scalp, the cut of the neck and the upper teeth."""
    fixed = model.masks["scalp"] > _SCALP
    weight_on_scalp = np.asarray(model.subdivision.T @ fixed.astype(np.float64)).ravel()
    total = np.asarray(model.subdivision.sum(0)).ravel()
    still = np.linalg.norm(model.expression_basis, axis=2).max(0) < _NEGLIGIBLE
    on_scalp = (weight_on_scalp > 0.5 * total) & (model.part == PARTS.index("skin"))
    return on_scalp | still | np.isin(model.part, [PARTS.index(n) for n in (*EYES, "teeth_upper")])


def _frames(vertices: Float[np.ndarray, "n 3"], faces) -> Float[np.ndarray, "f 3 3"]:
    """Two edges and a normal of each triangle, as columns."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.sqrt(np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))
    return np.stack([b - a, c - a, normal], axis=2)


def _gradients(vertices: Float[np.ndarray, "n 3"], faces):
    """Operator from values at vertices to their gradient in each triangle (three rows each), areas, tangent planes."""
    corners = vertices[faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double = np.maximum(np.linalg.norm(normal, axis=1), 1e-10)
    unit = normal / double[:, None]
    # The gradient of a hat function: the opposite edge, turned by a right angle, over twice the area.
    opposite = np.roll(corners, -2, axis=1) - np.roll(corners, -1, axis=1)
    hats = np.cross(unit[:, None], opposite) / double[:, None, None]
    rows = 3 * np.arange(len(faces))[:, None, None] + np.arange(3)
    columns = np.broadcast_to(faces[:, :, None], hats.shape)
    gradient = sp.csr_matrix(
        (hats.ravel(), (np.broadcast_to(rows, hats.shape).ravel(), columns.ravel())), (3 * len(faces), len(vertices))
    )
    return gradient, double / 2, np.eye(3) - unit[:, :, None] * unit[:, None]


def _blink_factor(model: HeadModel, neutral, displacement, side: str) -> float:
    """Return the factor on a blink that makes the lids of this person meet along their whole length."""
    upper, lower = LIDS[side]
    gap = (landmark_points(model, neutral, upper) - landmark_points(model, neutral, lower))[:, 1]
    shut = -(landmark_points(model, displacement, upper) - landmark_points(model, displacement, lower))[:, 1]
    needed = (gap + _LID_OVERLAP) / np.maximum(shut, 1e-4)
    return float(np.clip(needed.max(), *_BLINK_FACTORS))


def _turn_eye(model: HeadModel, neutral, displacements, side: str) -> None:
    """Replace the gaze expressions of an eye by rotations of the person's eyeball about its centre, in place."""
    eye = model.part == PARTS.index(side)
    centre, _ = eyeball(model, neutral, side)
    for row, basis in enumerate(model.expression_basis.astype(np.float64)):
        if np.abs(basis[eye]).max() > _NEGLIGIBLE:
            rotation = rotation_between(model.mean[eye], model.mean[eye] + basis[eye])
            displacements[row, eye] = (neutral[eye] - centre) @ (rotation - np.eye(3)).T


def _lift_off_eyeball(model: HeadModel, rest, moved, centre, radius: float):
    """Return the displacement that lifts moved lids off the eyeball; lids that lay closer at rest may stay as close."""
    after = rest + moved - centre
    distance = np.linalg.norm(after, axis=1)
    at_rest = np.linalg.norm(rest - centre, axis=1)
    is_moved = np.linalg.norm(moved, axis=1) > _NEGLIGIBLE
    lids = model.dense_vertices_of("skin") & is_moved & (after[:, 2] > 0) & (at_rest > _BEFORE_EYEBALL * radius)
    target = np.minimum(radius + _EYEBALL_CLEARANCE, np.maximum(at_rest, radius))
    lift = np.where(lids, np.maximum(target - distance, 0), 0)
    return after / np.maximum(distance, 1e-9)[:, None] * lift[:, None]
