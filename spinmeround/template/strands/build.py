"""Hair as strands: rooted on the scalp, grown through the hair's volume, coloured by the photos that see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.spatial import cKDTree

from spinmeround.geometry import project, scatter_on_faces, vertex_normals
from spinmeround.images import sample
from spinmeround.numerics import smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.orientation import LUMINANCE
from spinmeround.template.hair.texture import HairTexture
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel
from spinmeround.template.strands.growth import HairVolume, grow
from spinmeround.template.strands.resampling import resampled
from spinmeround.template.strands.settings import GrowthSettings, StrandGrowthSettings
from spinmeround.template.strands.styling import styled
from spinmeround.types import HairStrands, Mesh

_SETTINGS = StrandGrowthSettings()

_TINY = 1e-9
"""Keeps divisions by weights finite."""

_INSIDE = 0.5
"""Value of a soft mask or matte in [0, 1] from which on a vertex or a pixel belongs to it."""


@dataclass(frozen=True)
class _Roots:
    """Where strands begin, and how each of them is to grow.

    Attributes:
        face: of the head model's dense mesh; corner_weights: the place on it.
        points, normals: of the skin there, world frame.
        depths: below the hair's surface at which a strand runs.
        lengths: longest length.
        overshoots: how far a strand may come out of the hair.
    """

    face: Integer[np.ndarray, "s"]
    corner_weights: Float[np.ndarray, "s 3"]
    points: Float[np.ndarray, "s 3"]
    normals: Float[np.ndarray, "s 3"]
    depths: Float[np.ndarray, "s"]
    lengths: Float[np.ndarray, "s"]
    overshoots: Float[np.ndarray, "s"]

    def take(self, which: Integer[np.ndarray, "k"] | Bool[np.ndarray, "s"]) -> _Roots:
        """Return some of the roots."""
        return _Roots(*(getattr(self, each.name)[which] for each in fields(self)))

    def grow(self, volume: HairVolume) -> tuple[Float[np.ndarray, "s q 3"], Integer[np.ndarray, "s"]]:
        """Return points at even steps, and how many each strand has."""
        return grow(
            volume,
            self.points,
            self.normals,
            depths=self.depths,
            lengths=self.lengths,
            overshoots=self.overshoots,
        )


@dataclass(frozen=True)
class HairSurface:
    """The outer surface of hair and what the photos tell of it.

    Attributes:
        mesh: the surface, world frame.
        directions: in which hair grows at its vertices, unit vectors.
        curl: of its strands.
        texture: its colours.
    """

    mesh: Mesh
    directions: Float[np.ndarray, "v 3"]
    curl: Curl
    texture: HairTexture


def grow_strands(
    model: HeadModel,
    skin: Float[np.ndarray, "m 3"],
    coverage: Float[np.ndarray, "m"],
    surface: HairSurface,
    evidence: Sequence[PhotoEvidence],
    *,
    budget: int = _SETTINGS.budget,
    rng: np.random.Generator,
) -> HairStrands | None:
    """Grow strands wherever hair covers the scalp; None if there is no place for any.

    Args:
        skin: dense vertices of the head at rest, world frame.
        coverage: fraction of hair and headwear over each of them.
        budget: points of all strands together, at most.
        rng: draws roots, depths, lengths and tones.
    """
    s = _SETTINGS
    normals = vertex_normals(skin, model.dense_faces)
    outer = outer_skin(model)
    # At the open end of the neck the normals do not tell inside from outside.
    outer &= skin[:, 1] > neck_cut.HEIGHT
    hair, curl = surface.mesh, surface.curl
    volume = HairVolume.of(hair, surface.directions, Mesh(skin[outer], np.zeros((0, 3), np.int64)), normals[outer])
    roots = _scattered(model, skin, normals, coverage, hair, volume, rng)
    if roots is None:
        return None
    number, kept = _chosen(roots, volume, curl, budget, rng)
    roots = roots.take(kept)
    points, counts = roots.grow(volume)
    # Styling moves strands, so that the photos are asked again.
    for style in (False, True):
        if style:
            outward = volume.outward(points)
            points = styled(points, outward, volume.above_skin(points), curl, rng=rng)
            lift = surface.texture.lift_at(points.reshape(-1, 3)).reshape(points.shape[:2])
            lift *= smooth_ramp(np.linspace(0, 1, number), 0.0, s.lifted_from)
            points = points + lift[..., None] * outward
            counts = np.full(len(points), number)
        for photo in evidence:
            counts = np.minimum(counts, _shown_length(points, counts, photo))
        long_enough = counts >= s.min_points
        if not long_enough.any():
            return None
        roots = roots.take(long_enough)
        points = resampled(points[long_enough], counts[long_enough], number)
    along = np.linspace(0, 1, number)
    # Toward the hairline hairs grow finer.
    at_root = (coverage[model.dense_faces[roots.face]] * roots.corner_weights).sum(1)
    fineness = s.finest + (1 - s.finest) * smooth_ramp(at_root, *s.thinning)
    widths = s.width * fineness[:, None] * (1 - (1 - s.tip) * along**2)
    root_uv = (model.uv[model.uv_faces[roots.face]] * roots.corner_weights[..., None]).sum(1)
    return HairStrands(points, widths, _colours(points, volume, roots.depths, surface.texture, rng), root_uv)


def _scattered(
    model: HeadModel, skin, normals, coverage, hair: Mesh, volume: HairVolume, rng: np.random.Generator
) -> _Roots | None:
    """Scatter roots over the scalp where there is hair above it; None if there is none anywhere."""
    s = _SETTINGS
    outer = outer_skin(model)
    faces = np.flatnonzero((coverage[model.dense_faces] > s.min_coverage).all(1) & outer[model.dense_faces].all(1))
    if not len(faces):
        return None
    number = max(1, round(s.count * _covered_fraction(model, coverage)))
    density = smooth_ramp(coverage[model.dense_faces[faces]].mean(axis=1), *s.thinning)
    face, corner_weights = scatter_on_faces(skin, model.dense_faces[faces], number, density=density, rng=rng)
    face = faces[face]
    points, directions = (
        (each[model.dense_faces[face]] * corner_weights[..., None]).sum(1) for each in (skin, normals)
    )
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Under a hat the scalp has hair by its coverage, but there is no volume in which it could grow.
    below = -volume.above_hair(points)
    inside = below > -s.root_slack
    if not inside.any():
        return None
    thickness = np.maximum(below, 0)
    depths = np.minimum(s.max_depth, s.depth_of_thickness * thickness) * rng.random(number) ** s.depth_power
    flies = rng.random(number) < s.flyaways
    heights = np.minimum(rng.exponential(s.flyaway_height, number), s.max_overshoot)
    depths = np.where(flies, -heights, depths)
    lengths = _lengths(model, skin, hair, thickness, rng)
    overshoots = np.minimum(rng.exponential(s.overshoot, number), s.max_overshoot) + np.maximum(-depths, 0)
    return _Roots(face, corner_weights, points, directions, depths, lengths, overshoots).take(inside)


def _chosen(
    roots: _Roots, volume: HairVolume, curl: Curl, budget: int, rng: np.random.Generator
) -> tuple[int, Integer[np.ndarray, "k"]]:
    """Return how many points a strand needs, and which strands to keep so that all points together fit the budget.

    A few strands are grown to see how long they become.
    """
    s = _SETTINGS
    _, counts = roots.take(np.arange(0, len(roots.face), s.sampled)).grow(volume)
    length = GrowthSettings().step * float(np.quantile(counts, s.typical_length))
    number = int(np.clip(length / min(curl.pitch / s.points_of_wave, s.max_spacing), s.min_points, s.max_points))
    some = min(len(roots.face), budget // number)
    return number, np.sort(rng.choice(len(roots.face), some, replace=False))


def _covered_fraction(model: HeadModel, coverage: Float[np.ndarray, "m"]) -> float:
    """Return covered vertices against those of the scalp."""
    return float((coverage > _INSIDE).sum() / (model.masks["scalp"] > _INSIDE).sum())


def hair_length(model: HeadModel, skin: Float[np.ndarray, "m 3"], hair: Mesh) -> float:
    """Return how long hair is, head units: that of short hair by its thickness, of long hair at least a span.

    Args:
        skin: dense vertices of the head at rest, world frame.
        hair: its surface.
    """
    s = _SETTINGS
    if _is_long(model, skin, hair):
        return s.long_length
    distance, _ = cKDTree(skin).query(hair.vertices, workers=-1)
    return s.short_length * float(np.median(distance)) + s.least_length


def _is_long(model: HeadModel, skin, hair: Mesh) -> bool:
    ears = (model.masks["ear_left"] > _INSIDE) | (model.masks["ear_right"] > _INSIDE)
    return bool(hair.vertices[:, 1].min() < skin[ears, 1].min() - _SETTINGS.hanging)


def _lengths(model: HeadModel, skin, hair: Mesh, thickness, rng: np.random.Generator) -> Float[np.ndarray, "s"]:
    """Return the longest length of each strand: short hair is as long as it is thick, long hair as the volume holds."""
    s = _SETTINGS
    if _is_long(model, skin, hair):
        return np.full(len(thickness), np.inf)
    return (s.short_length * thickness + s.least_length) * np.exp(rng.normal(0, s.length_spread, len(thickness)))


def _shown_length(
    points: Float[np.ndarray, "s q 3"], counts: Integer[np.ndarray, "s"], photo: PhotoEvidence
) -> Integer[np.ndarray, "s"]:
    """Return how many points of each strand come before the first that a photo shows to be no hair.

    Args:
        counts: how many points of each strand there are.
    """
    s = _SETTINGS
    there = np.arange(points.shape[1]) < counts[:, None]
    flat = points[there]
    pixels = project(flat, photo.camera_from_world, photo.intrinsics_px)
    height, width = photo.portrait.alpha.shape
    within = (pixels[:, :2] >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    column, row = np.clip(pixels[:, 0].astype(int), 0, width - 1), np.clip(pixels[:, 1].astype(int), 0, height - 1)
    middle = photo.camera_from_world[2, 3]
    surface = np.where(np.isfinite(photo.skin_depth), photo.skin_depth, middle)[row, column]
    before = pixels[:, 2] < surface + s.before_skin
    bare: Bool[np.ndarray, "n"] = within & before & photo.portrait.observed[row, column]
    hair, person = sample(np.dstack([photo.portrait.hair, photo.portrait.alpha]), pixels[:, :2]).T
    # Where skin shines through thin hair, the skin's own texture shows both.
    bare &= (hair < s.hair_in_photo * person) & (person > _INSIDE)
    ends = np.zeros(there.shape, bool)
    ends[there] = bare
    return np.where(ends.any(1), ends.argmax(1), points.shape[1])


def _colours(points, volume: HairVolume, depths, texture: HairTexture, rng: np.random.Generator):
    """Return sRGB colours: the photo's where it sees a point, elsewhere the surface's with a tone for each strand.

    What the photo shows of a strand goes on where it does not see it.
    """
    s = _SETTINGS
    flat = points.reshape(-1, 3)
    base, own = texture.sample_apart(flat, points[:, round(s.tone_place * (points.shape[1] - 1))])
    base = base.reshape(points.shape)
    lightness = np.array(LUMINANCE)
    spread = s.tone_spread * float((own @ lightness).std() / max(float((base @ lightness).mean()), _TINY))
    tone = np.exp(rng.normal(0, min(spread, s.max_tone_spread), len(points)))
    tone *= 1 - (1 - s.deep_tone) * np.clip(depths / s.max_depth, 0, 1)
    if texture.photo is None:
        return np.clip((base + own[:, None]) * tone[:, None, None], 0, 1)
    seen, trust, _ = texture.photo.look_up(flat, volume.outward(flat))
    seen, trust = seen.reshape(points.shape), trust.reshape(*points.shape[:2], 1)
    total = trust.sum(axis=1)
    shown = (trust * (seen - base)).sum(axis=1) / np.maximum(total, _TINY)
    # A highlight that a strand has in the photo does not go on as a bright line behind.
    most = s.shown_tone * float((own @ lightness).std())
    shown *= np.minimum(1, most / np.maximum(np.abs(shown @ lightness), _TINY))[:, None]
    own += np.minimum(total, 1) * (shown - own)
    colours = (base + own[:, None]) * tone[:, None, None]
    return np.clip(colours + trust * (seen - colours), 0, 1)
