"""Builds the avatar of a fitted head: parts with textures, bones and ARKit's morph targets, neutral at rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Integer

from spinmeround.images import resize
from spinmeround.template.avatar.expression_clearance import clear_of_expressions
from spinmeround.template.avatar.hair_card_settings import CapSettings, CardBudget
from spinmeround.template.avatar.hair_parts import cap_surface, card_mesh
from spinmeround.template.avatar.hair_springs import (
    Chain,
    chain_joints,
    fit_colliders,
    hang_chains,
    hung_on_chains,
    springs_of,
)
from spinmeround.template.avatar.levels_of_detail import level_of_detail
from spinmeround.template.avatar.normal_maps import with_head_normals, with_strand_normals
from spinmeround.template.avatar.skeleton import HEAD, NAMES, skeleton, skin_weights, strongest_joints
from spinmeround.template.hair.volume import flatten_covered_ears, outer_skin
from spinmeround.template.model import neck_cut
from spinmeround.template.model.expression_transfer import personal_morphs
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.template.render import Covering
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar, AvatarPart, HairStrands, Mesh, TexturedMesh

Lod = Literal[0, 1, 2]
HairStyle = Literal["cards", "shell"]
"""What hair is made of: strips with opacity that follow its strands, or one closed surface."""
MAX_FACES: dict[Lod, int] = {0: 30_000, 1: 12_000, 2: 4_000}
"""Triangles of each level of detail, all parts together."""

HAIR_CARDS: dict[Lod, CardBudget] = {0: CardBudget(8_000, 0.2, 3), 1: CardBudget(3_000, 0.3, 2)}
"""Hair cards of the levels of detail that have them, among ``MAX_FACES``."""

_MAX_COVERING_FRACTION = 0.3
"""Largest part of the triangles for closed surfaces of hair and headwear together."""
_REFERENCE_TEXTURE_PX = 2048
"""Side of the skin's texture with which the hair's has the size it was painted in."""
_MODEL_PARTS = {
    "skin": ("skin", "mouth_cavity"),
    "eyes": ("eye_left", "eye_right"),
    "teeth": ("teeth_upper", "teeth_lower"),
    "tongue": ("tongue",),
}
"""Parts of the head model in each mesh of the avatar."""
_SEED = 0
"""Of the clusters of strands, so that the same head gives the same cards."""
_ROUGHNESS = {"skin": 0.6, "eyes": 0.1, "teeth": 0.3, "tongue": 0.4, "hair": 0.8, "headwear": 0.8}
"""Of each mesh's material, in [0, 1]."""


@dataclass(frozen=True)
class AvatarDetail:
    """How detailed an avatar is.

    Attributes:
        lod: level of detail, see ``MAX_FACES``.
        texture_px: side of the skin's texture; that of hair and headwear is half as wide.
        normal_map: whether parts carry what the level of detail loses of the head's form, and its hair's strands.
        hair: what hair is made of, if it has strands and the level of detail is 0 or 1; else it is a closed surface.
    """

    lod: Lod = 0
    texture_px: int = 2048
    normal_map: bool = False
    hair: HairStyle = "cards"


def build_avatar(
    model: HeadModel,
    neutral: Float[np.ndarray, "n 3"],
    ear_coverage: Float[np.ndarray, "m"],
    skin: SkinTexture,
    coverings: Sequence[Covering],
    detail: AvatarDetail,
    *,
    extra_parts: Sequence[AvatarPart] = (),
    fine_normals: Float[np.ndarray, "t t 3"] | None = None,
) -> Avatar:
    """Rig one person's head.

    Args:
        neutral: coarse vertices at rest.
        ear_coverage: fraction of hair and headwear over each dense vertex; ears that they cover lie flat.
        coverings: hair and headwear.
        extra_parts: parts that are complete already; they count among the triangles.
        fine_normals: for normal maps, normals finer than the head model, in the tangent space of its dense mesh, as
            large as the texture.
    """
    lod, texture_px, normal_map = detail.lod, detail.texture_px, detail.normal_map
    rest = flatten_covered_ears(model, model.dense(neutral), ear_coverage)
    morphs = personal_morphs(model, neutral)
    bones = skeleton(model, neutral)
    chains: list[Chain] = []
    parts = list(extra_parts)
    budget = MAX_FACES[lod] - sum(len(part.mesh.faces) for part in parts)
    share = _MAX_COVERING_FRACTION * budget / max(len(coverings), 1)
    for covering in coverings:
        visible = replace(covering, mesh=remove_hair_in_mouth(model, rest, covering.mesh))
        if detail.hair == "cards" and lod in HAIR_CARDS and covering.strands is not None:
            made = _hair_card_parts(visible, covering.strands, _outer_mesh(model, rest), detail)
        else:
            part = _covering_part(visible, int(share), texture_px)
            made = [replace(part, mesh=with_strand_normals(part.mesh, covering)) if normal_map else part]
        if covering.strands is not None:
            chains = chains or hang_chains(model, neutral, covering.strands, bones[HEAD])
            clear = [clear_of_expressions(part, model, rest, morphs) for part in made]
            made = [hung_on_chains(part, chains, bones) for part in clear]
        parts += made
        budget -= sum(len(part.mesh.faces) for part in made)
    chosen = level_of_detail(model, budget, lambda faces: _count_above_cut(rest, faces))
    albedo = _resized(skin.albedo, texture_px, texture_px)
    weights = skin_weights(model)
    own = []
    for name, pieces in _MODEL_PARTS.items():
        here = np.isin(chosen.part, [PARTS.index(piece) for piece in pieces])
        per_vertex = np.concatenate([weights, np.moveaxis(morphs, 0, 1).reshape(len(rest), -1)], axis=1)
        corner_uv = model.uv[chosen.uv_faces[here]]
        own.append(_part(name, rest, chosen.faces[here], corner_uv, per_vertex, albedo, model.expression_names))
    if normal_map:
        own = with_head_normals(own, model, rest, fine_normals)
    joints = (*bones, *chain_joints(chains, len(bones)))
    colliders = fit_colliders(model, neutral, bones, chains)
    springs = springs_of(chains, len(bones), colliders)
    return Avatar((*own, *parts), joints, model.expression_names, springs=springs, colliders=colliders)


def _part(
    name: str,
    vertices: Float[np.ndarray, "m 3"],
    faces: Integer[np.ndarray, "f 3"],
    corner_uv: Float[np.ndarray, "f 3 2"],
    per_vertex: Float[np.ndarray, "m k"],
    albedo: Float32[np.ndarray, "th tw 3"],
    morph_names: tuple[str, ...],
) -> AvatarPart:
    """Return one mesh above the cut of the neck, with the weights and morphs of its vertices.

    Args:
        per_vertex: bone weights, then the morphs, flat.
    """
    used, compact = np.unique(faces, return_inverse=True)
    mesh, values = _cut(vertices[used], compact.reshape(-1, 3), corner_uv, per_vertex[used], albedo)
    joints, joint_weights = strongest_joints(values[:, : len(NAMES)])
    moved = values[:, len(NAMES) :].reshape(len(values), -1, 3).astype(np.float32)
    active = {n: moved[:, k] for k, n in enumerate(morph_names) if name == "skin" or moved[:, k].any()}
    return AvatarPart(name, mesh, joints, joint_weights, active, _ROUGHNESS[name])


def _cut(
    vertices: Float[np.ndarray, "m 3"],
    faces: Integer[np.ndarray, "f 3"],
    corner_uv: Float[np.ndarray, "f 3 2"],
    per_vertex: Float[np.ndarray, "m k"],
    albedo: Float32[np.ndarray, "th tw 3"],
) -> tuple[TexturedMesh, Float[np.ndarray, "v k"]]:
    """Return the mesh above the cut, closed there, and the values of its vertices."""
    above = neck_cut.cut(vertices, faces)
    closed = neck_cut.split_crease(above.vertices, above.faces)
    uv, uv_faces = np.unique(above.at_corners(corner_uv.reshape(-1, 2)).reshape(-1, 2), axis=0, return_inverse=True)
    used, corner, compact = np.unique(closed.faces, return_index=True, return_inverse=True)
    mesh = TexturedMesh(closed.vertices[used], compact.reshape(-1, 3), uv, uv_faces.reshape(-1, 3), albedo)
    first, second = faces.ravel()[above.corner_from.reshape(-1, 2)[corner].T]
    fraction = above.corner_fraction.ravel()[corner, None]
    return mesh, per_vertex[first] + fraction * (per_vertex[second] - per_vertex[first])


def _count_above_cut(vertices: Float[np.ndarray, "m 3"], faces: Integer[np.ndarray, "f 3"]) -> int:
    """Count the faces that the cut of the neck leaves, with those that close it."""
    below = (vertices[:, 1] < neck_cut.HEIGHT)[faces].sum(1)
    # By corners below the cut: a face stays, becomes two and one of the cap, becomes one and one of the cap, or goes.
    return int(np.array([1, 3, 2, 0])[below].sum())


def remove_hair_in_mouth(model: HeadModel, rest: Float[np.ndarray, "m 3"], hair: Mesh) -> Mesh:
    """Return hair without those parts of its inner side that lie where the mouth opens.

    Args:
        rest: dense vertices.
    """
    cavity = rest[np.unique(model.dense_faces[model.dense_part == PARTS.index("mouth_cavity")])]
    within = ((hair.vertices > cavity.min(0)) & (hair.vertices < cavity.max(0))).all(1)
    faces = hair.faces[~within[hair.faces].any(1)]
    used, compact = np.unique(faces, return_inverse=True)
    return Mesh(hair.vertices[used], compact.reshape(-1, 3))


def _outer_mesh(model: HeadModel, rest: Float[np.ndarray, "m 3"]) -> Mesh:
    """Return the skin without the inside of eye sockets and mouth."""
    faces = model.dense_faces[outer_skin(model)[model.dense_faces].all(1)]
    used, compact = np.unique(faces, return_inverse=True)
    return Mesh(rest[used], compact.reshape(-1, 3))


def _hair_card_parts(hair: Covering, strands: HairStrands, skin: Mesh, detail: AvatarDetail) -> list[AvatarPart]:
    """Return the cap beneath the cards, and the cards, if there are any strands above the neck's cut.

    The cap is a part of its own: it is opaque, which renders faster, its texture wraps round and is a JPEG, and an
    artist can hide or replace it.
    """
    budget = HAIR_CARDS[detail.lod]
    px = detail.texture_px
    max_faces = int(budget.cap_fraction * budget.faces)
    inner = replace(hair, mesh=cap_surface(strands, hair.mesh, skin, max_faces))
    cap = _covering_part(inner, max_faces, round(px * CapSettings().texture_fraction))
    left = budget.faces - len(cap.mesh.faces)
    cards = card_mesh(strands, hair.mesh, skin, budget, left, atlas_px=px // 2, rng=np.random.default_rng(_SEED))
    return [replace(cap, name=f"{hair.name}_cap"), rigid_part(hair.name, cards, HEAD)]


def _covering_part(covering: Covering, max_faces: int, texture_px: int) -> AvatarPart:
    surface, texture = _simplified(covering.mesh, max_faces), covering.texture
    corner_uv = texture.corner_uv(surface.vertices, surface.faces)
    height, width = (round(side * texture_px / _REFERENCE_TEXTURE_PX) for side in texture.albedo.shape[:2])
    albedo = _resized(texture.albedo, width, height)
    mesh, _ = _cut(surface.vertices, surface.faces, corner_uv, np.zeros((len(surface.vertices), 1)), albedo)
    return rigid_part(covering.name, mesh, HEAD)


def rigid_part(name: str, mesh: TexturedMesh, joint: int) -> AvatarPart:
    """Return hair, headwear or clothes, rigid with one bone."""
    joints = np.zeros((len(mesh.vertices), 4), np.int64)
    joints[:, 0] = joint
    weights = np.eye(4)[np.zeros(len(joints), np.int64)]
    return AvatarPart(name, mesh, joints, weights, {}, _ROUGHNESS["hair"], two_sided=True)


def _simplified(mesh: Mesh, max_faces: int) -> Mesh:
    if len(mesh.faces) <= max_faces:
        return mesh
    import fast_simplification

    points = np.ascontiguousarray(mesh.vertices, np.float32)
    vertices, faces = fast_simplification.simplify(points, mesh.faces.astype(np.int32), target_count=max_faces)
    return Mesh(np.asarray(vertices, np.float64), np.asarray(faces, np.int64))


def _resized(picture: Float32[np.ndarray, "h w 3"], width_px: int, height_px: int) -> Float32[np.ndarray, "h2 w2 3"]:
    same = picture.shape[:2] == (height_px, width_px)
    return picture if same else resize(np.asarray(picture, np.float32), width_px, height_px)
