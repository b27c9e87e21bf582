"""Chains of joints through long hair, and what they must not swing into: springs as VRM 1.0 simulates them.

Chains hang straight down through the middle of the hair of their sector. So gravity holds them where they rest,
whichever way the head faces, and pulls the hair after it when the head tilts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from spinmeround.numerics import smooth_ramp
from spinmeround.template.avatar.skeleton import HEAD, NECK, strongest_joints
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel, landmark_points
from spinmeround.template.strands.ribbons import visible_strands
from spinmeround.types import AvatarPart, Collider, HairStrands, Joint, Spring

_CHIN = 152
"""Landmark at the lowest point of the jaw."""


@dataclass(frozen=True)
class _ChainSettings:
    """Where chains hang. Lengths are in head units (1 unit is 0.41 m).

    Attributes:
        below_jaw: a strand is long if it hangs from above the head's joint to so far below the chin (8 mm).
        least_fraction: of all strands that are long, for hair to have chains.
        hanging: length below the head's joint of strands that then hang on chains (33 mm).
        least_in_sector: of these that hang in a sector, for it to have a chain.
        sector_deg: angle about the head for each chain.
        outer_quantile: of the angles of hanging strands, at either end, that sectors leave out.
        end_quantile: of the ends of a sector's strands, at which its chain ends.
        bone_length: of each bone, about (33 mm); min_bones, max_bones: bounds on their number in a chain.
    """

    below_jaw: float = 0.02
    least_fraction: float = 0.05
    hanging: float = 0.08
    least_in_sector: float = 0.02
    sector_deg: float = 28.0
    outer_quantile: float = 0.02
    end_quantile: float = 0.1
    bone_length: float = 0.08
    min_bones: int = 2
    max_bones: int = 4


@dataclass(frozen=True)
class _SwingSettings:
    """How chains move. The first two are metres a second in VRM's terms, whatever the size of the head.

    Attributes:
        stiffness: pull back to the rest pose at a chain's first bone and at its last.
        gravity: pull downward.
        drag: fraction of the motion that is lost from one frame to the next.
        max_hit_radius: largest ball around a joint that stays out of the head (16 mm); smaller where the joint rests
            nearer to it, so that at rest nothing is pushed.
    """

    stiffness: tuple[float, float] = (0.9, 0.5)
    gravity: float = 0.4
    drag: float = 0.4
    max_hit_radius: float = 0.04


@dataclass(frozen=True)
class _ColliderSettings:
    """Capsules within the head and neck. Lengths are in head units.

    Attributes:
        skull, jaw: heights of the middle of each capsule through the head, as fractions from the chin to the crown.
        slab: half the height of the slice of the skin that a capsule is fitted to.
        width: of the slice that is the capsule's diameter at first.
        inner_quantile: of the distances of the slice's skin from the capsule's axis that becomes its radius.
        min_mask: vertices with more of the ears are left out.
    """

    skull: float = 0.62
    jaw: float = 0.14
    slab: float = 0.03
    width: float = 0.9
    inner_quantile: float = 0.1
    min_mask: float = 0.3


_CHAINS, _SWING, _COLLIDERS = _ChainSettings(), _SwingSettings(), _ColliderSettings()


@dataclass(frozen=True)
class Chain:
    """Joints that hang below one another.

    Attributes:
        angle: about the head's axis, radians from the back toward the subject's left.
        places: of the joints, from the top to the end at even steps, world frame; no bone begins at the last one.
    """

    angle: float
    places: Float[np.ndarray, "n 3"]


def hang_chains(model: HeadModel, neutral: Float[np.ndarray, "n 3"], strands: HairStrands, head: Joint) -> list[Chain]:
    """Return chains through hair that is longer than the jaw, in order about the head; none for shorter hair.

    Strands are sorted into equal sectors about the head by where they hang on average.

    Args:
        neutral: coarse vertices at rest.
        head: its joint, at whose height chains begin.
    """
    s = _CHAINS
    seen = visible_strands(strands, np.zeros(strands.widths.shape, bool), floor=neck_cut.HEIGHT).points
    if not len(seen):
        return []
    top, chin = head.position[1], landmark_points(model, neutral, (_CHIN,))[0, 1]
    height = seen[..., 1]
    from_above, ends = height.max(1) > top, height.min(1)
    if (from_above & (ends < chin - s.below_jaw)).mean() < s.least_fraction:
        return []
    points = seen[from_above & (ends < top - s.hanging)]
    below = points[..., 1] < top
    middles = np.einsum("sp,spc->sc", below, points) / below.sum(1)[:, None]
    angles = _angles(middles, head)
    low, high = np.quantile(angles, [s.outer_quantile, 1 - s.outer_quantile])
    count = max(1, round((high - low) / np.radians(s.sector_deg)))
    sector = np.clip(np.floor((angles - low) / max(high - low, 1e-9) * count), 0, count - 1)
    members = [np.flatnonzero(sector == number) for number in range(count)]
    return [
        _chain(middles[own].mean(0), float(np.quantile(points[own, :, 1].min(1), s.end_quantile)), head)
        for own in members
        if len(own) >= s.least_in_sector * len(points)
    ]


def _angles(points: Float[np.ndarray, "n 3"], head: Joint) -> Float[np.ndarray, "n"]:
    """Return angles about the vertical through a joint, in radians; the face, where little hair hangs, is the seam."""
    x, _, z = (points - head.position).T
    return np.arctan2(x, -z)


def _chain(middle: Float[np.ndarray, "3"], end: float, head: Joint) -> Chain:
    top = head.position[1]
    bones = int(np.clip(round((top - end) / _CHAINS.bone_length), _CHAINS.min_bones, _CHAINS.max_bones))
    places = np.repeat(middle[None], bones + 1, axis=0)
    places[:, 1] = np.linspace(top, end, bones + 1)
    return Chain(float(_angles(middle[None], head)[0]), places)


def chain_joints(chains: Sequence[Chain], first: int) -> tuple[Joint, ...]:
    """Return the joints of all chains, one after the other, the first of each on the head.

    Args:
        first: number of joints that the skeleton has without them.
    """
    joints: list[Joint] = []
    for number, chain in enumerate(chains):
        for k, place in enumerate(chain.places):
            parent = first + len(joints) - 1 if k else HEAD
            joints.append(Joint(f"hair{number}_{k}", parent, place))
    return tuple(joints)


def hung_on_chains(part: AvatarPart, chains: Sequence[Chain], bones: Sequence[Joint]) -> AvatarPart:
    """Return a part of the hair that hangs on chains below the head's joint, and on the head above it.

    About the head a vertex follows the two chains between which it lies, along them the two bones nearest to it.

    Args:
        bones: of the skeleton without chains.
    """
    if not chains:
        return part
    points = part.mesh.vertices
    of_chains = _chain_weights(_angles(points, bones[HEAD]), np.array([chain.angle for chain in chains]))
    columns = []
    for chain, of_chain in zip(chains, of_chains.T, strict=True):
        along = _bone_weights(points[:, 1], chain.places[:, 1])
        columns.append(of_chain[:, None] * np.pad(along, ((0, 0), (0, 1))))  # the end carries nothing
    weights = np.concatenate([np.zeros((len(points), len(bones))), *columns], axis=1)
    weights[:, HEAD] = 1 - weights.sum(1)
    joints, kept = strongest_joints(weights)
    return replace(part, joints=joints, weights=kept)


def _chain_weights(angles: Float[np.ndarray, "v"], hung: Float[np.ndarray, "c"]) -> Float[np.ndarray, "v c"]:
    """Return how much of each chain there is at some angles; less than one in all, far from every chain.

    Args:
        hung: angles of the chains, increasing.
    """
    at = np.interp(angles, hung, np.arange(len(hung)))
    weights = np.maximum(1 - np.abs(at[:, None] - np.arange(len(hung))), 0)
    sector = np.radians(_CHAINS.sector_deg)
    apart = np.abs(angles[:, None] - hung).min(1)
    return weights * smooth_ramp(apart, 2 * sector, sector)[:, None]


def _bone_weights(height: Float[np.ndarray, "v"], joints: Float[np.ndarray, "n"]) -> Float[np.ndarray, "v b"]:
    """Return the weight of each bone of a chain at some heights; each hands over to the next about the joint between.

    Args:
        joints: their heights, from the top to the end.
    """
    bones = len(joints) - 1
    place = (joints[0] - height) / (joints[0] - joints[1]) - 0.5
    weights = np.maximum(1 - np.abs(np.clip(place, None, bones - 1)[:, None] - np.arange(bones)), 0)
    weights[:, 0] = np.where(place < 0, np.clip(1 + 2 * place, 0, 1), weights[:, 0])
    return weights


def springs_of(chains: Sequence[Chain], first: int, colliders: Sequence[Collider]) -> tuple[Spring, ...]:
    """Return what makes each chain swing.

    Args:
        first: number of joints that the skeleton has without chains.
    """
    springs, start = [], first
    for chain in chains:
        ends = chain.places[1:]
        room = np.min([collider.heights(ends) for collider in colliders], axis=0)
        springs.append(
            Spring(
                tuple(range(start, start + len(chain.places))),
                hit_radii=np.clip(room, 0, _SWING.max_hit_radius),
                stiffness=np.linspace(*_SWING.stiffness, len(ends)),
                gravity=_SWING.gravity,
                drag=_SWING.drag,
            )
        )
        start += len(chain.places)
    return tuple(springs)


def fit_colliders(
    model: HeadModel, neutral: Float[np.ndarray, "n 3"], bones: Sequence[Joint], chains: Sequence[Chain]
) -> tuple[Collider, ...]:
    """Return capsules within the skull, the jaw and the neck, which hold no joint of a chain at rest.

    Args:
        neutral: coarse vertices at rest.
    """
    if not chains:
        return ()
    s = _COLLIDERS
    ears = np.maximum(model.masks["ear_left"], model.masks["ear_right"]) > s.min_mask
    skin = outer_skin(model) & ~ears
    rest = model.dense(neutral).astype(np.float64)
    crown, chin = float(rest[skin, 1].max()), float(landmark_points(model, neutral, (_CHIN,))[0, 1])
    skull, jaw = (_across_head(rest[skin], chin + part * (crown - chin)) for part in (s.skull, s.jaw))
    neck = _on_neck(rest[skin & (model.masks["neck"] > 1 - s.min_mask)], bones)
    ends = np.concatenate([chain.places[1:] for chain in chains])
    return tuple(
        replace(each, radius=each.radius + min(float(each.heights(ends).min()), 0.0)) for each in (skull, jaw, neck)
    )


def _across_head(skin: Float[np.ndarray, "n 3"], height: float) -> Collider:
    """Return a capsule of the head's width at some height, from its back to its front."""
    near = skin[np.abs(skin[:, 1] - height) < _COLLIDERS.slab]
    half = _COLLIDERS.width * np.abs(near[:, 0]).max()
    back, front = near[:, 2].min() + half, near[:, 2].max() - half
    middle = (back + front) / 2
    ends = np.array([[0, height, min(back, middle)], [0, height, max(front, middle)]])
    return _inscribed(Collider(HEAD, ends[0], ends[1], 0.0), near)


def _on_neck(skin: Float[np.ndarray, "n 3"], bones: Sequence[Joint]) -> Collider:
    """Return a capsule from the cut of the neck to the head's joint."""
    start, end = bones[NECK].position, bones[HEAD].position
    between = (skin[:, 1] > start[1]) & (skin[:, 1] < end[1])
    return _inscribed(Collider(NECK, start, end, 0.0), skin[between])


def _inscribed(axis: Collider, skin: Float[np.ndarray, "n 3"]) -> Collider:
    return replace(axis, radius=float(np.quantile(axis.heights(skin), _COLLIDERS.inner_quantile)))
