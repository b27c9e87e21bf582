"""What surrounds the synthetic people: walls and clutter behind them, patterns on cloth, and what cameras do to it."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float


def cloud(size: int, cells: float, rng: np.random.Generator, octaves: int = 5) -> Float[np.ndarray, "s s"]:
    """Return fractal noise of about zero mean and unit range, with about ``cells`` blobs along a side."""
    total, weight = np.zeros((size, size), np.float32), 0.0
    for octave in range(octaves):
        n = int(max(2, round(cells * 2**octave)))
        if n > size:
            break
        grid = rng.uniform(-1, 1, (n + 2, n + 2)).astype(np.float32)
        total += 0.6**octave * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        weight += 0.6**octave
    return total / max(weight, 1e-6) * 1.6


def draw_colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Draw a colour in linear light: any brightness, seldom saturated."""
    grey = np.exp(rng.uniform(np.log(0.01), np.log(0.85)))
    return np.clip(grey * np.exp(rng.normal(0, rng.choice([0.05, 0.2, 0.5]), 3)), 0.003, 0.95)


def background(size: int, rng: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
    """Draw what is behind a person, linear light."""
    kind = rng.choice(["wall", "white", "dark", "clutter", "foliage", "stripes"], p=[0.32, 0.1, 0.12, 0.26, 0.12, 0.08])
    if kind in ("wall", "white", "dark"):
        base = draw_colour(rng) if kind == "wall" else rng.uniform(*((0.6, 1) if kind == "white" else (0.002, 0.03)))
        fade = cloud(size, rng.uniform(1, 4), rng, octaves=2)[..., None]
        grain = cloud(size, 40, rng, octaves=3)[..., None]
        picture = base * np.exp(rng.uniform(0, 0.6) * fade + rng.uniform(0, 0.12) * grain) * np.ones(3)
    elif kind == "foliage":
        a, b, c = (draw_colour(rng) for _ in range(3))
        t, u = cloud(size, rng.uniform(5, 20), rng)[..., None], cloud(size, rng.uniform(2, 8), rng)[..., None]
        picture = np.where(t > 0, a, b) * (1 - np.clip(u, 0, 1)) + c * np.clip(u, 0, 1)
        picture = picture * np.exp(0.5 * cloud(size, 30, rng, octaves=3))[..., None]
    else:
        picture = _leaves(size, rng, stripes=kind == "stripes")
    blur = rng.choice([0.0, rng.uniform(1, 4), rng.uniform(4, 14)], p=[0.3, 0.35, 0.35])
    if blur > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    return np.clip(picture, 0.001, 1.2).astype(np.float32)


def _leaves(size: int, rng: np.random.Generator, *, stripes: bool) -> Float[np.ndarray, "s s 3"]:
    """Cover the picture with overlapping shapes of all sizes (the dead leaves model of natural pictures)."""
    picture = np.ones((size, size, 3), np.float32) * draw_colour(rng).astype(np.float32)
    for _ in range(rng.integers(20, 140)):
        colour = tuple(float(c) for c in draw_colour(rng))
        x, y = rng.uniform(0, size, 2)
        radius = size * 0.02 / rng.uniform(0.05, 1) ** 0.8
        if stripes:
            wide, tall = rng.uniform(3, 25), rng.uniform(40, 160)
            corners = np.array([[x, y], [x + wide, y], [x + wide, y + tall], [x, y + tall]])
        elif rng.random() < 0.4:
            angles = np.linspace(0, 2 * np.pi, 24)
            corners = np.stack([x + radius * np.cos(angles), y + radius * rng.uniform(0.4, 1) * np.sin(angles)], 1)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            corners = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        cv2.fillPoly(picture, [np.round(corners * 8).astype(np.int32)], colour, cv2.LINE_AA, 3)
    return picture * np.exp(0.15 * cloud(size, 25, rng, octaves=3))[..., None]


def cloth(
    where: Float[np.ndarray, "n 3"], colours: Float[np.ndarray, "2 3"], kind: str, scale_mm: float, noise: np.ndarray
) -> Float[np.ndarray, "n 3"]:
    """Return the albedo of cloth at places on it.

    Args:
        kind: ``plain``, ``stripes``, ``checks``, ``print`` or ``wool``.
        noise: one value by place, about unit range.
    """
    x, y = where[:, 0] / scale_mm, where[:, 1] / scale_mm
    if kind == "stripes":
        second = np.sin(2 * np.pi * y) > 0.2
    elif kind == "checks":
        second = (np.sin(2 * np.pi * x) > 0.3) ^ (np.sin(2 * np.pi * y) > 0.3)
    elif kind == "print":
        second = noise > 0.15
    else:
        second = np.zeros(len(where), bool)
    rough = 0.45 if kind == "wool" else 0.12
    return np.where(second[:, None], colours[1], colours[0]) * np.exp(rough * noise)[:, None]


def developed(linear: Float[np.ndarray, "s s 3"], rng: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
    """Return the picture as a camera writes it: exposure, white balance, tone curve, blur, noise, sometimes grey."""
    linear = linear * np.exp(rng.normal(0, 0.35)) * np.exp(rng.normal(0, 0.07, 3))
    if rng.random() < 0.3:  # lens vignette or a spot of light
        linear = linear * np.exp(0.35 * cloud(len(linear), 1.2, rng, octaves=1))[..., None]
    picture = np.clip(linear, 0, 1) ** (1 / rng.uniform(1.8, 2.7))
    if rng.random() < 0.4:
        contrast = rng.uniform(-0.25, 0.5)
        picture = picture + contrast * (picture - 0.5) * picture * (1 - picture) * 4
    if rng.random() < 0.1:
        grey = picture @ np.array([0.3, 0.59, 0.11])
        picture = grey[..., None] * (np.array([1.06, 1.0, 0.9]) if rng.random() < 0.3 else np.ones(3))
    if rng.random() < 0.7:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.5))
    picture = picture + rng.normal(0, rng.choice([0.004, 0.012, 0.03]), picture.shape)
    return np.clip(picture, 0, 1).astype(np.float32)


def compressed(picture: Float[np.ndarray, "s s 3"], rng: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
    """Return the picture after JPEG, sometimes at a lower resolution."""
    size = len(picture)
    small = size if rng.random() < 0.6 else int(size * rng.uniform(0.3, 0.8))
    eight_bit = (cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", eight_bit, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR).astype(np.float32) / 255
    return cv2.resize(decoded, (size, size), interpolation=cv2.INTER_LINEAR)
