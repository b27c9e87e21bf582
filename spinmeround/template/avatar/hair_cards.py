"""Hair cards: clusters of alike strands as narrow, textured strips that follow them.

Clusters are those of k-means++ (Arthur and Vassilvitskii, 2007) on a few points of each strand. A card runs along the
mean of its strands; its width lies along the surface of the hair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from spinmeround.geometry import vertex_normals
from spinmeround.numerics import evenly_spread
from spinmeround.template.avatar.hair_atlas import FlatStrands
from spinmeround.template.avatar.hair_card_settings import CardBudget, CardSettings, ClusterSettings
from spinmeround.types import HairStrands, Mesh

_SETTINGS, _CLUSTERS = CardSettings(), ClusterSettings()

_TINY = 1e-9
"""Keeps divisions by lengths finite."""
_SEARCH_STEPS = 24
"""Halvings of the interval in which the tolerance is searched for."""


@dataclass(frozen=True)
class Card:
    """One card: a smooth strip before it is cut into sections.

    Attributes:
        middle: points along it at even steps from root to tip, world frame.
        across: unit vectors along its width, with the root up to the right if seen from outside.
        outward: unit normals.
        half_widths: head units.
        along: length from the root to each point, head units.
        strands: its strands in its own plane.
        depth: mean height of its strands over the hair's surface, negative inside.
    """

    middle: Float[np.ndarray, "n 3"]
    across: Float[np.ndarray, "n 3"]
    outward: Float[np.ndarray, "n 3"]
    half_widths: Float[np.ndarray, "n"]
    along: Float[np.ndarray, "n"]
    strands: FlatStrands
    depth: float


@dataclass(frozen=True)
class Strip:
    """The vertices of one card.

    Attributes:
        places: across the card and along it, head units.
        faces: counter-clockwise seen from outside.
        root: true for vertices near the scalp.
    """

    vertices: Float[np.ndarray, "v 3"]
    places: Float[np.ndarray, "v 2"]
    faces: Int64[np.ndarray, "f 3"]
    root: Bool[np.ndarray, "v"]


def make_cards(
    strands: HairStrands, surface: Mesh, budget: CardBudget, max_faces: int, *, rng: np.random.Generator
) -> tuple[list[Card], list[Int64[np.ndarray, "k"]]]:
    """Cluster strands twice, the second time into as many cards as the sections that cards need leave room for.

    Return cards from the innermost to the outermost, and the samples of each that become cross-sections.

    Args:
        surface: of the hair.
        max_faces: met within a few percent where there are strands enough.
        rng: draws the first middles of the clusters.
    """
    tree, normals = cKDTree(surface.vertices), vertex_normals(surface.vertices, surface.faces)
    flat = strands.points.reshape(-1, 3)
    _, nearest = tree.query(flat)
    outward = normals[nearest].reshape(strands.points.shape)
    heights = ((flat - surface.vertices[nearest]) * normals[nearest]).sum(1).reshape(strands.widths.shape)
    seen = heights.max(1) > -_CLUSTERS.max_depth
    strands = HairStrands(strands.points[seen], strands.widths[seen], strands.colours[seen], strands.root_uv[seen])
    outward, depths = outward[seen], heights[seen].mean(1)
    per_section = 2 * (budget.columns - 1)
    most = max(1, len(strands) // _CLUSTERS.min_strands)

    def cards_of(sections: float, every: int) -> list[Card]:
        count = int(np.clip(max_faces / (per_section * (sections - 1)), 1, most))
        label = cluster_strands(strands.points, count, rng=rng)
        return [
            _card(strands, outward, depths, np.flatnonzero(label == k), k) for k in range(0, label.max() + 1, every)
        ]

    tried = cards_of(_CLUSTERS.typical_sections, _CLUSTERS.tried_every)
    needed = [len(_sections_of(_candidates(card), _SETTINGS.tolerance)) for card in tried]
    cards = cards_of(float(np.mean(needed)), 1)
    cards.sort(key=lambda card: card.depth)
    return cards, _within(cards, max_faces // per_section)


def cluster_strands(
    points: Float[np.ndarray, "s p 3"], count: int, *, rng: np.random.Generator
) -> Int64[np.ndarray, "s"]:
    """Return which of at most ``count`` clusters each strand belongs to, none of them empty.

    A strand that lies far from those beside which it would be has none, -1.
    """
    number = points.shape[1]
    chosen = [round(place * (number - 1)) for place in _CLUSTERS.places]
    features = points[:, chosen].reshape(len(points), -1).astype(np.float64)
    middles = features[_spread_out(features, count, rng)]
    label = np.zeros(len(features), np.int64)
    for _ in range(_CLUSTERS.rounds):
        label = ((middles**2).sum(1) - 2 * features @ middles.T).argmin(1)
        _, label = np.unique(label, return_inverse=True)
        size = np.bincount(label)
        middles = np.stack([np.bincount(label, column) for column in features.T], axis=1) / size[:, None]
    offset = np.linalg.norm((features - middles[label]).reshape(len(points), -1, 3), axis=2).max(1)
    alike = offset < _CLUSTERS.max_distance
    kept = np.bincount(label[alike], minlength=len(middles)) >= _CLUSTERS.least_strands
    alike &= kept[label]
    out = np.full(len(points), -1, np.int64)
    out[alike] = np.unique(label[alike], return_inverse=True)[1]
    return out


def _spread_out(features: Float[np.ndarray, "s k"], count: int, rng: np.random.Generator) -> Int64[np.ndarray, "c"]:
    """Draw rows, each with a probability that grows with the squared distance from those drawn before."""
    first = int(rng.integers(len(features)))
    drawn, distance = [first], ((features - features[first]) ** 2).sum(1)
    for _ in range(min(count, len(features)) - 1):
        total = np.cumsum(distance)
        if total[-1] <= 0:
            break
        drawn.append(min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), len(features) - 1))
        distance = np.minimum(distance, ((features - features[drawn[-1]]) ** 2).sum(1))
    return np.array(drawn)


def _card(strands: HairStrands, outward, depths, members: Int64[np.ndarray, "m"], number: int) -> Card:
    """Fit a card to some strands."""
    s = _SETTINGS
    points = strands.points[members]
    middle = _smoothed_curve(points.mean(0))
    places, _, _ = _in_card(points, *_frame(middle, outward[members].mean(0)))
    ends = (-np.quantile(places[:, 0, 1], 1 - s.end_quantile), np.quantile(places[:, -1, 1], s.end_quantile))
    length = np.linalg.norm(np.diff(middle, axis=0), axis=1).sum()
    before, behind = np.clip([ends[0], ends[1] - length], 0, s.max_extension)
    normals = outward[members].mean(0)
    curve, normals = _extended(middle, normals, before, behind)
    frame = _frame(curve, normals)
    places, heights, index = _in_card(points, *frame)
    shift, half_widths = _spread(places[..., 0], index)
    raised = np.quantile(heights, s.height_quantile)
    middle = frame[0] + shift[:, None] * frame[1] + raised * frame[2]
    angle = np.radians(s.tilt_deg) * (2 * float(evenly_spread(np.array([number]))[0]) - 1)
    across = np.cos(angle) * frame[1] + np.sin(angle) * frame[2]
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(frame[0], axis=0), axis=1))])
    places[..., 0] -= shift[index]
    drawn = FlatStrands(
        places,
        heights.mean(1),
        strands.widths[members],
        strands.colours[members],
        float(half_widths.max()),
        float(along[-1]),
    )
    return Card(middle, across, np.cross(across, frame[3]), half_widths, along, drawn, float(depths[members].mean()))


def _smoothed_curve(curve: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
    """Smooth a curve along its length; both ends stay."""
    step = np.linalg.norm(np.diff(curve, axis=0), axis=1).mean()
    sigma = min(_SETTINGS.smoothing / max(step, _TINY), len(curve) / 4)
    pad = len(curve) - 1
    return gaussian_filter1d(np.pad(curve, ((pad, pad), (0, 0)), "reflect", reflect_type="odd"), sigma, axis=0)[
        pad:-pad
    ]


def _extended(curve, normals, before: float, behind: float):
    """Return a curve at even steps with straight ends added, and the normals along it."""
    ahead, back = curve[0] - curve[1], curve[-1] - curve[-2]
    ahead, back = (each / max(np.linalg.norm(each), _TINY) for each in (ahead, back))
    whole = np.concatenate([[curve[0] + before * ahead], curve, [curve[-1] + behind * back]])
    normals = np.concatenate([normals[:1], normals, normals[-1:]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(whole, axis=0), axis=1))])
    even = np.linspace(0, along[-1], _SETTINGS.samples)
    return tuple(np.stack([np.interp(even, along, column) for column in each.T], axis=1) for each in (whole, normals))


def _frame(curve: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]):
    """Return the curve with unit vectors across it, outward and along it.

    Where the curve runs along the normal, the frame is that of places where it does not.
    """
    tangents = np.gradient(curve, axis=0)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), _TINY)
    level = normals - (normals * tangents).sum(1, keepdims=True) * tangents
    level = gaussian_filter1d(level, len(curve) / 10, axis=0, mode="nearest")
    across = np.cross(tangents, level)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), _TINY)
    return curve, across, np.cross(across, tangents), tangents


def _in_card(points: Float[np.ndarray, "m p 3"], curve, across, outward, tangents):
    """Return places across and along the card, heights over it, and the nearest of its samples."""
    flat = points.reshape(-1, 3)
    index = ((curve**2).sum(1) - 2 * flat @ curve.T).argmin(1)
    offset = flat - curve[index]
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    aside, height, ahead = (
        np.einsum("nc,nc->n", offset, axis[index]).reshape(points.shape[:2]) for axis in (across, outward, tangents)
    )
    index = index.reshape(points.shape[:2])
    return np.stack([aside, along[index] + ahead], axis=2), height, index


def _spread(aside: Float[np.ndarray, "m p"], index: Int64[np.ndarray, "m p"]):
    """Return where along a card the middle between its outermost strands lies, and half their distance."""
    s = _SETTINGS
    which = index.ravel() * s.bins // s.samples
    sizes = np.bincount(which, minlength=s.bins)
    filled = np.flatnonzero(sizes)
    ordered = aside.ravel()[np.lexsort((aside.ravel(), which))]
    starts, last = (np.cumsum(sizes) - sizes)[filled], sizes[filled] - 1
    low, high = (_sorted_quantiles(ordered, starts, last, each) for each in (1 - s.edge_quantile, s.edge_quantile))
    centres, place = (filled + 0.5) * s.samples / s.bins, np.arange(s.samples)
    shift, half = (
        gaussian_filter1d(np.interp(place, centres, each), s.samples / s.bins / 2, mode="nearest")
        for each in ((low + high) / 2, (high - low) / 2)
    )
    return shift, np.clip(half + s.margin, s.min_half_width, s.max_half_width)


def _sorted_quantiles(
    ordered: Float[np.ndarray, "n"], starts: Int64[np.ndarray, "g"], last: Int64[np.ndarray, "g"], quantile: float
) -> Float[np.ndarray, "g"]:
    """Return a quantile of each group of sorted values, linear between them.

    Args:
        starts: of each group.
        last: index of its last value within it.
    """
    place = quantile * last
    below = np.floor(place).astype(np.int64)
    first, second = ordered[starts + below], ordered[starts + np.minimum(below + 1, last)]
    return first + (place - below) * (second - first)


def _candidates(card: Card) -> list[tuple[float, Int64[np.ndarray, "k"]]]:
    """Return samples for each number of sections, closer where the card bends, and how far they are off its form."""
    s = _SETTINGS
    tangents = np.gradient(card.middle, axis=0)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), _TINY)
    turn = np.linalg.norm(np.diff(tangents, axis=0), axis=1)
    place = np.concatenate([[0], np.cumsum(np.diff(card.along) + s.bend * turn)])
    found = []
    for number in range(s.min_sections, s.max_sections + 1):
        wanted = np.linspace(0, place[-1], number)
        chosen = np.unique(np.abs(place[:, None] - wanted).argmin(0))
        straight = np.stack([np.interp(card.along, card.along[chosen], column[chosen]) for column in card.middle.T], 1)
        found.append((float(np.linalg.norm(straight - card.middle, axis=1).max()), chosen))
    return found


def _sections_of(candidates, tolerance: float) -> Int64[np.ndarray, "k"]:
    """Return the fewest samples between which a card is straight to a tolerance."""
    return next((chosen for error, chosen in candidates if error <= tolerance), candidates[-1][1])


def _within(cards: list[Card], max_segments: int) -> list[Int64[np.ndarray, "k"]]:
    """Return the samples of all cards that become sections, with the least tolerance that the budget allows."""
    candidates = [_candidates(card) for card in cards]
    low, high = 0.0, max(error for each in candidates for error, _ in each)
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        segments = sum(len(_sections_of(each, middle)) - 1 for each in candidates)
        low, high = (low, middle) if segments <= max_segments else (middle, high)
    return [_sections_of(each, high) for each in candidates]


def strip_of(card: Card, sections: Int64[np.ndarray, "k"], columns: int) -> Strip:
    """Cut a card into a strip of triangles.

    Args:
        sections: samples of the card.
        columns: vertices across it; with three the middle stands out.
    """
    u = np.linspace(-1, 1, columns)
    half = card.half_widths[sections]
    aside = half[:, None] * u
    lift = _SETTINGS.arch * half[:, None] * (1 - np.abs(u)) if columns > 2 else np.zeros_like(aside)
    vertices = (
        card.middle[sections][:, None]
        + aside[..., None] * card.across[sections][:, None]
        + lift[..., None] * card.outward[sections][:, None]
    )
    along = np.broadcast_to(card.along[sections][:, None], aside.shape)
    index = np.arange(aside.size).reshape(aside.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    faces = np.stack([a, b, c, a, c, d], axis=1).reshape(-1, 3)
    root = (along < _SETTINGS.root * card.along[-1]).ravel()
    return Strip(vertices.reshape(-1, 3), np.stack([aside, along], axis=2).reshape(-1, 2), faces, root)
