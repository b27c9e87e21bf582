"""Upper lids: an open eye shows next to nothing of their skin, and a closed one all of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from spinmeround.geometry import METRES_PER_UNIT, camera_centres, face_normals
from spinmeround.template.fit.fitter import FittedHead
from spinmeround.template.model.atlas import Atlas
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.texture.fill import Spreader

_MM = 1e-3 / METRES_PER_UNIT
_STRETCHED = (0.25, 0.6)
"""Between these shares of a closed lid that a picture of the open eye shows, what it shows comes to be believed."""
_MOVED_MM = (0.5, 2.0)
_UNLIKE = 0.12
"""Colours so far from the usual skin around the eyes are brows and lashes."""
_SKIN_RANKS = (55, 85)
"""Percentiles of brightness around the lids between which it is skin: brows, lashes and folds are darker."""
_RINGS = 10
_FOLD_HOLD, _DARKEST_FOLD = 3.0, -0.6
"""Hold of single vertices on the fold's shade, which averages a millimetre, and its least logarithm."""
_MOST = 0.75
"""Share of the lid that changes at most: an open eye shows a line of it, by which it is known."""
_WARM = np.array([0.8, 1.05, 1.15])
"""Shade in skin is red: light has gone through it."""
_PULL = 0.003


def lid_trust(
    model: HeadModel,
    seen: Float[np.ndarray, "m 3"],
    neutral: Float[np.ndarray, "m 3"],
    camera_centre: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "m"]:
    """How far the colours a camera saw at each dense vertex can be stretched over a closed lid; 1 beside the lids.

    Brows and lashes are drawn out into streaks where few pixels have to cover much skin.

    Args:
        seen: dense vertices as they were photographed.
        neutral: the same at rest, with open eyes.
        camera_centre: in their frame.
    """
    shut = sum(model.expression_basis[model.expression_names.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    drop = model.dense(np.asarray(shut, np.float64))
    faces = model.dense_faces
    toward = camera_centre - seen[faces].mean(1)
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    shown = np.maximum((face_normals(seen, faces) * toward).sum(1), 0)
    covered = np.linalg.norm(face_normals(neutral + drop, faces), axis=1)
    total = np.bincount(faces.ravel(), np.repeat(shown, 3), len(seen))
    share = total / np.maximum(np.bincount(faces.ravel(), np.repeat(covered, 3), len(seen)), 1e-12)
    moved = _ramp(np.linalg.norm(drop, axis=1) / _MM, *_MOVED_MM) * (1 - model.masks["cavity"])
    return 1 - moved * (1 - _ramp(share, *_STRETCHED))


def lid_trust_of(head: FittedHead) -> Float[np.ndarray, "m"]:
    """That of the photo which shows the most of the lids."""
    model, neutral = head.model, head.model.dense(head.neutral)
    trusts = [
        lid_trust(model, model.dense(head.posed(index)), neutral, camera_centres(photo.camera)[0])
        for index, photo in enumerate(head.photos)
    ]
    return np.max(trusts, axis=0)


def with_lids(
    model: HeadModel, atlas: Atlas, skin: Float32[np.ndarray, "t t 3"], trust: Float[np.ndarray, "m"]
) -> Float32[np.ndarray, "t t 3"]:
    """The skin's texture with lids in the colours of the skin around them, where they are not trusted.

    Of what was seen there a soft shade stays, by which an open eye is known: the fold of the lid.
    """
    doubt = atlas.spread(1 - trust[:, None])[..., 0] * (atlas.part == PARTS.index("skin"))
    around = _around(model, trust)
    count = len(trust)
    near = atlas.spread(around[:, None].astype(np.float64))[..., 0] > 0.5
    values, mass = atlas.gather(skin, (near * (1 - doubt)).astype(np.float32), count)
    usual = _usual(values[(mass > 0) & around])
    alike = 1 / (1 + (np.linalg.norm(values - usual, axis=1) / _UNLIKE) ** 4)
    faces = model.dense_faces[around[model.dense_faces].all(1)]
    spreader = Spreader.over(faces, count)
    smooth = spreader.spread(values, alike * mass / (mass + 2), np.broadcast_to(usual, values.shape), pull=_PULL)
    shown, known = atlas.gather(skin, near.astype(np.float32), count)
    bright = np.log(np.maximum(shown.mean(1), 0.02) / np.maximum(smooth.mean(1), 0.02))[:, None]
    fold = spreader.spread(bright, _FOLD_HOLD * known / (known + 2), np.zeros_like(bright), pull=_PULL)
    smooth = smooth * np.exp(np.clip(fold, _DARKEST_FOLD, 0) * _WARM)
    share = _MOST * doubt[..., None]
    return (skin * (1 - share) + atlas.spread(smooth) * share).astype(np.float32)


def _usual(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3"]:
    bright = colours.mean(1)
    low, high = np.percentile(bright, _SKIN_RANKS)
    return colours[(bright >= low) & (bright <= high)].mean(0)


def _around(model: HeadModel, trust: Float[np.ndarray, "m"]) -> np.ndarray:
    """Vertices of the outer skin within a centimetre or so of what is not trusted."""
    skin = np.unique(model.dense_faces[model.dense_part == PARTS.index("skin")])
    outer = np.zeros(len(trust), bool)
    outer[skin] = model.masks["cavity"][skin] < 0.5
    grown = trust < 0.99
    for _ in range(_RINGS):
        touched = model.dense_faces[grown[model.dense_faces].any(1)]
        grown[touched] = True
    return grown & outer


def _ramp(value, low: float, high: float):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
