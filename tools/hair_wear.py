"""What the synthetic people wear on the head: hats, caps, scarves, bands and hoods, and glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hair_scenery import draw_colour
from hair_strands import BodyDistance
from jaxtyping import Bool, Float, Integer
from synthetic_paint import Canvas

_KINDS = {"none": 0.8, "beanie": 0.04, "cap": 0.05, "brim": 0.03, "scarf": 0.05, "band": 0.03}


@dataclass(frozen=True)
class Shell:
    """Headwear as a surface.

    Attributes:
        kind: one of ``beanie``, ``cap``, ``brim``, ``scarf``, ``band``.
        rim: height over the middle of the head, slope toward the back, and lower height of a band.
        cloth, colours, scale_mm, grain_mm: see ``hair_scenery.cloth``.
    """

    kind: str
    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    rim: tuple[float, float, float]
    cloth: str
    colours: Float[np.ndarray, "2 3"]
    scale_mm: float
    grain_mm: float
    seed: int

    def covers(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Return which points headwear of this kind would hide."""
        return covered(self.kind, points, self.rim)


def covered(kind: str, points: Float[np.ndarray, "n 3"], rim: tuple[float, float, float]) -> Bool[np.ndarray, "n"]:
    """Return which points lie where headwear is worn.

    Args:
        rim: height of its edge over the middle of the head, slope toward the back, and height of a band.
    """
    height, slope, tall = rim
    above = points[:, 1] - height - slope * (points[:, 2] + 75)
    if kind == "band":
        return (above > 0) & (above < tall)
    if kind == "scarf":
        face = ((points[:, 0] / 72) ** 2 + ((points[:, 1] + 22) / (tall + 70)) ** 2 < 1) & (points[:, 2] > -45)
        return ~face & (points[:, 1] > height - 260)
    return above > 0


def draw_headwear(body: BodyDistance, rng: np.random.Generator) -> Shell | None:
    """Draw headwear for one person in four; None for a bare head."""
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    if kind == "none":
        return None
    rim = {
        "beanie": (rng.uniform(15, 45), rng.uniform(0.2, 0.5), 0.0),
        "cap": (rng.uniform(30, 50), rng.uniform(0.0, 0.35), 0.0),
        "brim": (rng.uniform(30, 55), rng.uniform(0.0, 0.2), 0.0),
        "scarf": (0.0, 0.0, rng.uniform(-5, 25)),
        "band": (rng.uniform(30, 60), rng.uniform(0.1, 0.5), rng.uniform(15, 60)),
    }[kind]
    vertices, faces = body.surface(rng.uniform(6, 22))
    if kind in ("cap", "brim", "beanie"):
        taller = np.maximum(vertices[:, 1] - 60, 0) * rng.uniform(0, 0.6 if kind == "brim" else 0.35)
        vertices[:, 1] += taller
    inside = covered(kind, vertices, rim)
    if kind != "scarf":
        inside &= (np.abs(vertices[:, 0]) < 130) & (vertices[:, 1] > -60)
    faces = faces[inside[faces].all(axis=1)]
    if kind in ("cap", "brim"):
        more, more_faces = _brim(rim, rng, round_about=kind == "brim")
        vertices, faces = np.concatenate([vertices, more]), np.concatenate([faces, more_faces + len(vertices)])
    cloth = str(rng.choice(["plain", "stripes", "checks", "print", "wool"], p=[0.45, 0.1, 0.05, 0.15, 0.25]))
    colours = np.stack([draw_colour(rng), draw_colour(rng)])
    scales = rng.uniform(6, 30), rng.uniform(3, 20)
    return Shell(kind, vertices, faces, rim, cloth, colours, *scales, int(rng.integers(1 << 30)))


def _brim(
    rim: tuple[float, float, float], rng: np.random.Generator, *, round_about: bool
) -> tuple[Float[np.ndarray, "v 3"], Integer[np.ndarray, "f 3"]]:
    """Return the brim of a hat, or the peak of a cap, as a bent ring or part of one."""
    reach = np.pi if round_about else np.radians(rng.uniform(50, 75))
    angles = np.linspace(-reach, reach, 48)
    wide = rng.uniform(40, 110) if round_about else rng.uniform(50, 80)
    drop = rng.uniform(-0.3, 0.5)
    rings = []
    for share in np.linspace(0, 1, 6):
        taper = 1 if round_about else np.sqrt(np.clip(1 - (angles / reach) ** 2, 0, 1))
        x, z = (82 + share * wide * taper) * np.sin(angles), -75 + (100 + share * wide * taper) * np.cos(angles)
        y = rim[0] + rim[1] * (z + 75) - share * wide * drop * (0.3 + 0.7 * np.abs(np.sin(angles)))
        rings.append(np.stack([x, y, z], axis=1))
    n = len(angles)
    a = np.arange(n - 1)
    band = np.concatenate([np.stack([a, a + 1, a + n], 1), np.stack([a + 1, a + n + 1, a + n], 1)])
    return np.concatenate(rings), np.concatenate([band + k * n for k in range(len(rings) - 1)])


def glasses_lines(
    vertices_mm: Float[np.ndarray, "v 3"], canvas: Canvas, rng: np.random.Generator
) -> tuple[list[Float[np.ndarray, "n 3"]], list[Float[np.ndarray, "m 3"]]]:
    """Return the outlines of both lenses, and the lines of bridge and temples."""
    eye = vertices_mm[canvas.part == 2]
    front = eye[:, 2].max() + rng.uniform(8, 14)
    x = abs((eye[:, 0].min() + eye[:, 0].max()) / 2) + rng.uniform(0, 3)
    wide, tall = rng.uniform(20, 29), rng.uniform(14, 26)
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    power = rng.uniform(0.45, 1.0)
    c, s = np.cos(angles), np.sin(angles)
    outline_x, outline_y = wide * np.sign(c) * np.abs(c) ** power, tall * np.sign(s) * np.abs(s) ** power
    low = rng.uniform(-8, 0)
    lenses, lines = [], []
    for side in (-1, 1):
        lens = np.stack([side * x + outline_x, low + outline_y, front - 0.006 * (side * x + outline_x) ** 2], axis=1)
        lenses.append(lens)
        hinge = np.array([side * (x + wide), low + 0.4 * tall, front - 0.006 * (x + wide) ** 2])
        ear = np.array([side * 80.0, -2.0, -85.0])
        lines.append(hinge + np.linspace(0, 1, 12)[:, None] * (ear - hinge))
    bridge = np.array([[-(x - wide), low + 0.3 * tall, front], [0, low + 0.45 * tall, front + 3]])
    lines.append(np.concatenate([bridge, bridge[:1] * [-1, 1, 1]]))
    return lenses, lines
