"""Random hair styles for the synthetic people: where roots are, and how their strands grow.

Places are points of anny's mean head in millimetres, as in ``synthetic_paint``: eyes at x = ±31, crown at y = 115.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hair_strands import Growth
from jaxtyping import Float
from synthetic_paint import above_hairline, ear

from spinmeround.numerics import smooth_ramp

STYLES = {
    "bald": 0.06,
    "buzz": 0.08,
    "short": 0.17,
    "fade": 0.06,
    "horseshoe": 0.07,
    "medium": 0.09,
    "bob": 0.08,
    "long": 0.2,
    "afro": 0.08,
    "tied": 0.11,
}
_COLOURS = {
    "black": ([0.008, 0.007, 0.007], 0.28),
    "brown": ([0.045, 0.022, 0.012], 0.27),
    "light brown": ([0.14, 0.075, 0.035], 0.12),
    "blond": ([0.42, 0.27, 0.12], 0.12),
    "red": ([0.24, 0.06, 0.018], 0.05),
    "grey": ([0.24, 0.235, 0.23], 0.08),
    "white": ([0.62, 0.61, 0.59], 0.06),
    "dyed": (None, 0.02),
}
_SKULL_AXIS_Z = -75.0


@dataclass(frozen=True)
class Style:
    """A person's hair.

    Attributes:
        cover: strength of the colour of hair on the scalp itself, 0 to 1.
        receding_mm, crown_mm: how far the hairline has moved up, and the radius of the bald crown.
        growths: parameters by which groups of strands grow, drawn from ``rng`` when the roots are known.
    """

    name: str
    colour: Float[np.ndarray, "3"]
    greying: float
    cover: float
    receding_mm: float
    crown_mm: float
    gloss: float
    seed: int

    def hairy(self, place: Float[np.ndarray, "n 3"], hairline_noise_seed: int) -> Float[np.ndarray, "n"]:
        """Return where hair grows, 0 to 1."""
        angle = np.degrees(np.arctan2(np.abs(place[:, 0]), place[:, 2] - _SKULL_AXIS_Z))
        above = above_hairline(place, hairline_noise_seed, self.receding_mm)
        grows = smooth_ramp(above, -3, 6) * (1 - ear(place))
        if self.name == "horseshoe":
            high = place[:, 1] - 45 - 25 * smooth_ramp(angle, 60, 170)
            return grows * (1 - smooth_ramp(high, -8, 12)) * smooth_ramp(angle, 42, 60)
        crown = np.linalg.norm(place - [0, 105, -110], axis=1)
        return grows * (smooth_ramp(crown - self.crown_mm, -8, 8) if self.crown_mm > 0 else 1)


def draw_style(rng: np.random.Generator) -> Style:
    """Draw a style and a colour."""
    name = str(rng.choice(list(STYLES), p=np.array(list(STYLES.values())) / sum(STYLES.values())))
    kind = str(rng.choice(list(_COLOURS), p=np.array([p for _, p in _COLOURS.values()])))
    mean = _COLOURS[kind][0]
    colour = rng.uniform(0.02, 0.5, 3) if mean is None else np.array(mean) * np.exp(rng.normal(0, 0.3))
    colour = np.clip(colour * np.exp(rng.normal(0, 0.08, 3)), 0.004, 0.75)
    cover = {"bald": 0.0, "buzz": rng.uniform(0.45, 0.9), "horseshoe": rng.uniform(0.2, 0.7)}.get(
        name, rng.uniform(0.75, 1)
    )
    receding = rng.uniform(0, 8) if rng.random() < 0.6 else rng.uniform(5, 40)
    if name in ("long", "bob", "tied"):
        receding = rng.uniform(-6, 6)
    crown = rng.uniform(20, 60) if name in ("short", "buzz", "fade") and rng.random() < 0.2 else 0.0
    greying = rng.uniform(0.1, 0.7) if rng.random() < 0.15 else 0.0
    return Style(name, colour, greying, cover, receding, crown, rng.uniform(0.0, 0.12), int(rng.integers(1 << 30)))


def growths_of(
    style: Style, place: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> list[tuple[Float[np.ndarray, "n"], Growth]]:
    """Return groups of strands: which of the roots each takes (by index), and how they grow."""
    everywhere = np.arange(len(place))
    if style.name == "bald":
        return []
    makers = {
        "buzz": _short, "short": _short, "fade": _short, "horseshoe": _short, "afro": _afro,
        "medium": _hanging, "bob": _hanging, "long": _hanging, "tied": _tied,
    }  # fmt: skip
    groups = makers[style.name](style, place, rng)
    return [(everywhere[chosen], growth) for chosen, growth in groups if chosen.any()]


def _angle_deg(place: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Return the angle about the axis of the head: 0 in front, 180 behind."""
    return np.degrees(np.arctan2(np.abs(place[:, 0]), place[:, 2] - _SKULL_AXIS_Z))


def _curl(rng: np.random.Generator, curly: float) -> dict[str, float]:
    """Draw how curled hair is: straight but for a fraction ``curly``."""
    if rng.random() > curly:
        return {"curl_mm": rng.uniform(0, 1.5), "curl_length_mm": rng.uniform(60, 200), "frizz": rng.uniform(0.02, 0.2)}
    radius = rng.uniform(2.5, 13)
    return {"curl_mm": radius, "curl_length_mm": radius * rng.uniform(3.5, 9), "frizz": rng.uniform(0.1, 0.5)}


def _combed(place: Float[np.ndarray, "n 3"], how: str, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Return the direction in which each root's hair is combed."""
    n = len(place)
    if how == "back":
        return np.tile([0, 0.25, -1.0], (n, 1)) + 0.3 * np.sign(place[:, :1]) * [1, 0, 0]
    if how == "forward":
        return np.tile([rng.uniform(-0.4, 0.4), -0.2, 1.0], (n, 1))
    if how == "up":
        return np.tile([rng.uniform(-0.4, 0.4), 1.0, rng.uniform(-0.6, 0.4)], (n, 1))
    parting = rng.uniform(-42, 42) if how == "side" else rng.uniform(-8, 8)
    sideways = np.sign(place[:, :1] - parting + rng.normal(0, 2, (n, 1)))
    back = rng.uniform(0.1, 0.9)
    return sideways * [1.0, 0, 0] + np.array([0, rng.uniform(-0.3, 0.5), -back])


def _short(
    style: Style, place: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> list[tuple[Float[np.ndarray, "n"], Growth]]:
    top = smooth_ramp(place[:, 1], 30, 80)
    length = {
        "buzz": rng.uniform(2, 8),
        "horseshoe": rng.uniform(4, 45) * np.ones(1),
        "fade": 3 + rng.uniform(15, 70) * top,
        "short": rng.uniform(10, 40) * (0.7 + rng.uniform(0, 1.4) * top),
    }[style.name] * np.ones(len(place))
    how = str(rng.choice(["back", "forward", "up", "side", "middle"], p=[0.25, 0.2, 0.15, 0.3, 0.1]))
    growth = Growth(
        length_mm=length,
        comb=_combed(place, how, rng),
        comb_reach_mm=200.0,
        lift=rng.uniform(0.2, 1.5),
        fall=rng.uniform(0.1, 0.6),
        stiffness=rng.uniform(0.3, 0.8),
        volume_mm=float(min(rng.uniform(3, 22), 0.6 * length.mean())),
        clones=10,
        clump_mm=rng.uniform(2, 5),
        **_curl(rng, 0.35 if length.mean() > 12 else 0.0),
    )
    return [(np.ones(len(place), bool), growth)]


def _afro(
    style: Style, place: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> list[tuple[Float[np.ndarray, "n"], Growth]]:
    length = rng.uniform(25, 130) * (0.8 + 0.3 * smooth_ramp(place[:, 1], 0, 100))
    radius = rng.uniform(2, 7)
    growth = Growth(
        length_mm=length,
        comb=rng.normal(0, 0.3, place.shape),
        comb_reach_mm=rng.uniform(60, 300),
        lift=2.0,
        fall=rng.uniform(0, 1.0),
        stiffness=rng.uniform(0.2, 0.5),
        volume_mm=float(length.mean() * rng.uniform(0.3, 0.7)),
        curl_mm=radius,
        curl_length_mm=radius * rng.uniform(3, 6),
        frizz=rng.uniform(0.4, 0.9),
        clones=10,
        clump_mm=rng.uniform(2, 6),
    )
    return [(np.ones(len(place), bool), growth)]


def _hanging(
    style: Style, place: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> list[tuple[Float[np.ndarray, "n"], Growth]]:
    """Loose hair, with a fringe or without; more of it before the shoulder on one side than on the other."""
    length = {"medium": rng.uniform(70, 150), "bob": rng.uniform(150, 230), "long": rng.uniform(240, 430)}[style.name]
    layers = 1 - rng.uniform(0, 0.45) * rng.random(len(place))
    comb = _combed(place, str(rng.choice(["side", "middle", "back"], p=[0.45, 0.4, 0.15])), rng)
    forward = rng.uniform(-0.5, 0.7, 2)[(place[:, 0] > 0).astype(int)]
    comb = comb + forward[:, None] * [0, 0, 1.0] * (np.abs(place[:, :1]) > 35)
    shared = {
        "lift": rng.uniform(0.05, 0.6),
        "comb_reach_mm": rng.uniform(18, 55),
        "stiffness": rng.uniform(0.3, 0.75),
        "volume_mm": rng.choice([rng.uniform(3, 14), rng.uniform(10, 32)]),
        "clones": 10,
        "clump_mm": rng.uniform(2, 6),
        **_curl(rng, 0.45),
    }
    fringe = (_angle_deg(place) < rng.uniform(30, 55)) & (place[:, 2] > -15) & (rng.random(len(place)) < 0.9)
    if rng.random() > 0.35:
        fringe &= False
    shortened = rng.uniform(45, 85)
    aside = np.array([rng.uniform(-0.8, 0.8), -0.3, 0.9])
    return [
        (
            ~fringe,
            Growth(length_mm=(length * layers)[~fringe], comb=comb[~fringe], fall=rng.uniform(1.0, 2.5), **shared),
        ),
        (
            fringe,
            Growth(
                length_mm=np.full(int(fringe.sum()), shortened),
                comb=np.tile(aside, (int(fringe.sum()), 1)),
                fall=0.6,
                **(shared | {"volume_mm": rng.uniform(3, 12)}),
            ),
        ),
    ]


def _tied(
    style: Style, place: Float[np.ndarray, "n 3"], rng: np.random.Generator
) -> list[tuple[Float[np.ndarray, "n"], Growth]]:
    """Hair drawn to one point: a tail that hangs from it or a bun around it, with some loose strands at the temples."""
    knot = np.array([0.0, rng.uniform(-30, 165), 0.0])
    knot[2] = -75 - 115 * np.sqrt(max(0.0, 1 - ((knot[1] - 20) / 150) ** 2)) + (30 if knot[1] > 100 else 0)
    knot[0] = rng.uniform(-25, 25)
    away = np.linalg.norm(place - knot, axis=1)
    tight = Growth(
        length_mm=away * 1.15,
        comb=np.zeros_like(place),
        comb_reach_mm=100.0,
        lift=0.1,
        fall=0.0,
        stiffness=0.45,
        volume_mm=rng.uniform(2, 10),
        clones=10,
        clump_mm=rng.uniform(2, 5),
        gather_mm=knot,
        **(_curl(rng, 0.2) | {"frizz": rng.uniform(0.02, 0.12)}),
    )
    groups = [(np.ones(len(place), bool), tight)]
    loose = (np.abs(_angle_deg(place) - 70) < 18) & (place[:, 1] < 45) & (rng.random(len(place)) < 0.5)
    if rng.random() < 0.4:
        hanging = Growth(
            length_mm=np.full(int(loose.sum()), rng.uniform(60, 220)),
            comb=np.sign(place[loose, :1]) * [0.8, 0, 0.3],
            comb_reach_mm=40.0,
            lift=0.2,
            fall=1.2,
            stiffness=0.6,
            volume_mm=rng.uniform(3, 12),
            clones=8,
            clump_mm=2.0,
            **_curl(rng, 0.5),
        )
        groups.append((loose, hanging))
    return groups


def knot_strands(
    style: Style, head_top_mm: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Growth]:
    """Return roots, normals and growth of a bun or a tail at the top or the back of the head."""
    n = 260
    high = rng.random() < 0.6
    knot = np.array([rng.uniform(-25, 25), head_top_mm + rng.uniform(-5, 15), -95.0])
    if not high:
        knot = np.array([rng.choice([-1, 1]) * rng.uniform(50, 95), rng.uniform(-50, 20), rng.uniform(-170, -110)])
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    bun = high or rng.random() < 0.4
    size = rng.uniform(20, 48)
    roots = knot + direction * size * (0.6 if bun else 0.25) * rng.random((n, 1)) ** (1 / 3)
    curl = (
        {"curl_mm": size * 0.4, "curl_length_mm": size * rng.uniform(2, 4), "frizz": rng.uniform(0.1, 0.5)}
        if bun
        else _curl(rng, 0.5)
    )
    growth = Growth(
        length_mm=np.full(n, size * 1.6 if bun else rng.uniform(150, 350)),
        comb=np.cross(direction, rng.normal(size=3)) if bun else np.sign(knot[0]) * np.tile([0.4, 0, 0.3], (n, 1)),
        comb_reach_mm=1e3 if bun else 40.0,
        lift=0.2,
        fall=0.0 if bun else 1.5,
        stiffness=0.6,
        volume_mm=rng.uniform(5, 25),
        clones=10,
        clump_mm=rng.uniform(2, 5),
        gather_mm=knot if bun else None,
        **curl,
    )
    return roots, direction, growth
