"""The texture of hair cards: each card's own strands, drawn flat, in one atlas with opacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Float32, Int64

from spinmeround.tangent_space import fill_from_nearest
from spinmeround.template.avatar.hair_card_settings import AtlasSettings

_SETTINGS = AtlasSettings()

_SEARCH_STEPS = 24
"""Halvings of the interval in which the resolution is searched for."""


@dataclass(frozen=True)
class FlatStrands:
    """The strands of one card in its own plane.

    Attributes:
        places: across the card from its middle, and along it from its root, head units.
        heights: over the card, by which strands hide each other.
        widths: diameter, head units.
        half_width: of the card at its widest.
        length: of the card.
    """

    places: Float[np.ndarray, "s p 2"]
    heights: Float[np.ndarray, "s"]
    widths: Float[np.ndarray, "s p"]
    colours: Float[np.ndarray, "s p 3"]
    half_width: float
    length: float


@dataclass(frozen=True)
class HairAtlas:
    """Colours and opacity of all cards.

    Attributes:
        albedo: sRGB, also under transparent texels near strands, so that no level of a mip map mixes in another colour.
        corners_px: top-left corner of each card's piece, without its padding: its root lies at the top.
        texels: per head unit, across and along.
    """

    albedo: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    corners_px: Float[np.ndarray, "c 2"]
    texels: tuple[float, float]

    def uv(self, card: int, half_width: float, places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Return texture coordinates, origin at the bottom-left, of places on a card: across and along."""
        height, width = self.alpha.shape
        px = self.corners_px[card] + (places + np.array([half_width, 0])) * self.texels
        return px / (width, height) * (1, -1) + (0, 1)


def paint_atlas(cards: Sequence[FlatStrands], *, size_px: int) -> HairAtlas:
    """Draw the strands of each card into its piece of a square atlas, the lower ones first."""
    sizes = np.array([[2 * card.half_width, card.length] for card in cards])
    across, corners = _packed(sizes, size_px)
    texels = (across, across * _SETTINGS.along)
    layers = np.zeros((size_px, size_px, 4), np.float32)
    for card, corner, size in zip(cards, corners, sizes, strict=True):
        _draw_card(card, corner, size, texels, layers)
    alpha = layers[..., 3].copy()
    albedo = layers[..., :3] / np.maximum(alpha, 1e-6)[..., None]
    return HairAtlas(fill_from_nearest(albedo, alpha > _SETTINGS.known), alpha, corners.astype(float), texels)


def _draw_card(card: FlatStrands, corner, size, texels, layers: Float32[np.ndarray, "h w 4"]) -> None:
    order = np.argsort(card.heights, kind="stable")
    px = corner + (card.places[order] + np.array([card.half_width, 0])) * texels
    half = np.maximum(card.widths[order] * texels[0] * _SETTINGS.broadening / 2, _SETTINGS.min_half_width_px)
    half = np.where(card.widths[order] > 0, half, 0)
    low = corner - 1
    high = corner + np.ceil(size * texels).astype(np.int64) + 1
    _draw_strands(px, half, card.colours[order].astype(np.float64), low, high, layers)


def _packed(sizes: Float[np.ndarray, "c 2"], size_px: int) -> tuple[float, Int64[np.ndarray, "c 2"]]:
    """Return the highest resolution across, in texels per head unit, at which all pieces fit, and their corners."""
    low, high = 0.0, _SETTINGS.max_texels
    corners = None
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        tried = _on_shelves(np.ceil(sizes * (middle, middle * _SETTINGS.along)).astype(np.int64), size_px)
        if tried is None:
            high = middle
        else:
            low, corners = middle, tried
    assert corners is not None, "pieces of no size fit"
    return low, corners


def _on_shelves(sizes_px: Int64[np.ndarray, "c 2"], size_px: int) -> Int64[np.ndarray, "c 2"] | None:
    """Place pieces in rows, high ones first; None if they do not fit."""
    padding = _SETTINGS.padding_px
    corners = np.zeros_like(sizes_px)
    x = y = shelf = 0
    for piece in np.lexsort((sizes_px[:, 0], -sizes_px[:, 1])):
        width, height = sizes_px[piece] + 2 * padding
        if x + width > size_px:
            x, y, shelf = 0, y + shelf, 0
        if width > size_px or y + height > size_px:
            return None
        corners[piece] = x + padding, y + padding
        x, shelf = x + width, max(shelf, height)
    return corners


@numba.njit(cache=True)
def _draw_strands(px, half, colours, low, high, layers):
    """Blend antialiased strands, one over another, into premultiplied colour and opacity between two corners.

    A texel takes from a strand the largest coverage of its segments, so that joints are no darker than the rest.
    """
    rows, columns = high[1] - low[1], high[0] - low[0]
    coverage = np.zeros((rows, columns))
    colour = np.zeros((rows, columns, 3))
    for s in range(px.shape[0]):
        top, bottom, left, right = rows, 0, columns, 0
        for p in range(px.shape[1] - 1):
            if half[s, p] <= 0:
                break
            ax, ay = px[s, p, 0] - low[0], px[s, p, 1] - low[1]
            dx, dy = px[s, p + 1, 0] - low[0] - ax, px[s, p + 1, 1] - low[1] - ay
            reach = max(half[s, p], half[s, p + 1]) + 0.5
            first_row, last_row = int(min(ay, ay + dy) - reach), int(max(ay, ay + dy) + reach) + 1
            first_column, last_column = int(min(ax, ax + dx) - reach), int(max(ax, ax + dx) + reach) + 1
            first_row, last_row = max(first_row, 0), min(last_row, rows)
            first_column, last_column = max(first_column, 0), min(last_column, columns)
            squared = max(dx * dx + dy * dy, 1e-12)
            for row in range(first_row, last_row):
                for column in range(first_column, last_column):
                    x, y = column + 0.5 - ax, row + 0.5 - ay
                    t = min(max((x * dx + y * dy) / squared, 0.0), 1.0)
                    distance = np.hypot(x - t * dx, y - t * dy)
                    radius = half[s, p] + t * (half[s, p + 1] - half[s, p])
                    # A strand thinner than a texel covers but a part of it.
                    covered = min(max(radius + 0.5 - distance, 0.0), 1.0) * min(2 * radius, 1.0)
                    if covered > coverage[row, column]:
                        coverage[row, column] = covered
                        for c in range(3):
                            colour[row, column, c] = colours[s, p, c] + t * (colours[s, p + 1, c] - colours[s, p, c])
            top, bottom = min(top, first_row), max(bottom, last_row)
            left, right = min(left, first_column), max(right, last_column)
        for row in range(top, bottom):
            for column in range(left, right):
                share = coverage[row, column]
                if share > 0:
                    for c in range(3):
                        old = layers[low[1] + row, low[0] + column, c]
                        layers[low[1] + row, low[0] + column, c] = old + share * (colour[row, column, c] - old)
                    old = layers[low[1] + row, low[0] + column, 3]
                    layers[low[1] + row, low[0] + column, 3] = old + share * (1 - old)
                    coverage[row, column] = 0
