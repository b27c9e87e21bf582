"""The hair of an avatar as two parts: cards with opacity, and an opaque cap beneath them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from spinmeround.geometry import vertex_normals
from spinmeround.template.avatar.hair_atlas import paint_atlas
from spinmeround.template.avatar.hair_card_settings import CapSettings, CardBudget, CardSettings
from spinmeround.template.avatar.hair_cards import make_cards, strip_of
from spinmeround.template.model import neck_cut
from spinmeround.template.strands.ribbons import under_strands, visible_strands
from spinmeround.types import HairStrands, Mesh, TexturedMesh

_CARDS, _CAP = CardSettings(), CapSettings()

_PUSHES = 3
"""How often vertices are moved away from the skin, since the nearest place of the skin changes as they move."""


def card_mesh(
    strands: HairStrands,
    surface: Mesh,
    skin: Mesh,
    budget: CardBudget,
    max_faces: int,
    *,
    atlas_px: int,
    rng: np.random.Generator,
) -> TexturedMesh:
    """Return hair cards with their atlas.

    Args:
        surface: of the hair.
        skin: outer skin of the head at rest, which no card goes through but at its root.
        atlas_px: side of the texture.
        rng: draws the first middles of the clusters.
    """
    root = np.arange(strands.points.shape[1]) < _CARDS.root * strands.points.shape[1]
    hidden = (_heights(strands.points.reshape(-1, 3), skin)[0].reshape(strands.widths.shape) < 0) & ~root
    visible = visible_strands(strands, hidden, floor=neck_cut.HEIGHT)
    cards, sections = make_cards(visible, surface, budget, max_faces, rng=rng)
    atlas = paint_atlas([card.strands for card in cards], size_px=atlas_px)
    strips = [strip_of(card, chosen, budget.columns) for card, chosen in zip(cards, sections, strict=True)]
    starts = np.cumsum([0, *(len(strip.vertices) for strip in strips)])
    vertices = np.concatenate([strip.vertices for strip in strips])
    vertices = _outside(vertices, skin, np.concatenate([strip.root for strip in strips]))
    faces = np.concatenate([strip.faces + start for strip, start in zip(strips, starts, strict=False)])
    uv = [atlas.uv(k, cards[k].strands.half_width, strip.places) for k, strip in enumerate(strips)]
    return TexturedMesh(
        vertices,
        faces,
        np.concatenate(uv),
        faces,
        atlas.albedo,
        alpha=atlas.alpha,
        normals=_shading_normals(vertices, surface),
    )


def _outside(vertices: Float[np.ndarray, "v 3"], skin: Mesh, root: Bool[np.ndarray, "v"]) -> Float[np.ndarray, "v 3"]:
    """Return vertices moved out of the skin where they are no roots, and none below the neck's cut."""
    moved = vertices.copy()
    for _ in range(_PUSHES):
        height, normals = _heights(moved, skin)
        missing = np.maximum(np.where(root, 0, _CARDS.clearance) - height, 0)
        moved += missing[:, None] * normals
    moved[:, 1] = np.maximum(moved[:, 1], neck_cut.HEIGHT)
    return moved


def _heights(points: Float[np.ndarray, "n 3"], skin: Mesh) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
    """Return how far points lie above the tangent plane of the nearest vertex of the skin, and its normal."""
    _, nearest = cKDTree(skin.vertices).query(points)
    normals = vertex_normals(skin.vertices, skin.faces)[nearest]
    return ((points - skin.vertices[nearest]) * normals).sum(1), normals


def _shading_normals(vertices: Float[np.ndarray, "v 3"], surface: Mesh) -> Float[np.ndarray, "v 3"]:
    """Return unit normals of the hair's surface near each vertex, averaged over some of its vertices."""
    _, near = cKDTree(surface.vertices).query(vertices, k=min(_CARDS.normal_neighbours, len(surface.vertices)))
    normals = vertex_normals(surface.vertices, surface.faces)[near].mean(1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def cap_surface(strands: HairStrands, surface: Mesh, skin: Mesh, max_faces: int) -> Mesh:
    """Return the surface of the hair as far inside as strands cover it, but above the skin where it was above it.

    Args:
        max_faces: of the cap before it is cut at the neck.
    """
    import fast_simplification

    cap = under_strands(surface, strands, floor=neck_cut.HEIGHT, retreat=_CAP.retreat)
    before, normals = _heights(surface.vertices, skin)
    behind = before + ((cap.vertices - surface.vertices) * normals).sum(1)
    least = np.minimum(before, _CAP.clearance)
    fraction = np.where(behind < least, (before - least) / np.maximum(before - behind, 1e-9), 1.0)
    vertices = surface.vertices + np.clip(fraction, 0, 1)[:, None] * (cap.vertices - surface.vertices)
    used, compact = np.unique(cap.faces, return_inverse=True)
    vertices, faces = vertices[used], compact.reshape(-1, 3)
    if len(faces) > max_faces:
        points = np.ascontiguousarray(vertices, np.float32)
        vertices, faces = fast_simplification.simplify(
            points, faces.astype(np.int32), target_count=max_faces, agg=_CAP.aggressiveness
        )
    return Mesh(np.asarray(vertices, np.float64), np.asarray(faces, np.int64))
