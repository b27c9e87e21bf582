"""Hair as geometry: a closed surface around the skull, from the mattes of one or several photos.

A signed-distance volume is the union of two shapes. The *shell* is the skin, offset along its normals by the thickness
of the hair; the thickness is measured at the occluding contours of the photos and interpolated smoothly over the rest
of the scalp. The *hanging hair* is what hangs below the shell: a stack of half-ellipses as wide as the photo shows and
as deep as the back of the head. Then each photo carves away what it shows to be background, skin or clothes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Integer
from scipy.ndimage import gaussian_filter
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from spinmeround.geometry import project, vertex_normals
from spinmeround.images import sample
from spinmeround.numerics import factorised, smooth_ramp
from spinmeround.template.fit.photo_lookup import PhotoEvidence, mesh_laplacian
from spinmeround.template.hair.hanging import HangingHair, measure_hanging_hair
from spinmeround.template.hair.inflation import inflated_corners, inflated_distance
from spinmeround.template.hair.nearest_on_grid import Grid, nearest_vertices
from spinmeround.template.hair.plain_outline import with_plain_outline
from spinmeround.template.hair.settings import (
    CarvingSettings,
    CoverageSettings,
    EarSettings,
    HairVolumeSettings,
    ThicknessSettings,
)
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel
from spinmeround.types import Mesh, Portrait

_COVERAGE, _EARS, _THICKNESS = CoverageSettings(), EarSettings(), ThicknessSettings()
_VOLUME, _CARVING = HairVolumeSettings(), CarvingSettings()

_INSIDE = 0.5
"""Value of a soft mask or matte in [0, 1] from which on a vertex or a pixel belongs to it."""

_TINY = 1e-9
"""Keeps divisions by weights and lengths finite."""


def hair_coverage(model: HeadModel, evidence: Sequence[PhotoEvidence]) -> Float[np.ndarray, "m"]:
    """Return the fraction of hair over each dense vertex, in [0, 1].

    Where a photo sees the vertex, the value is observed; elsewhere it is interpolated smoothly over the mesh. The
    prior of unseen places is the anatomical scalp. It is weakened by how much of the *visible* scalp is bare, so that
    a bald head stays bald behind too.
    """
    scalp = model.masks["scalp"]
    count = len(scalp)
    weight, total = np.zeros(count), np.zeros(count)
    for photo in evidence:
        # Hair beside the head hides skin that faces slightly away, so a little of the far side counts as well.
        facing = np.clip(photo.facing + _COVERAGE.facing_slack, 0, 1)
        trust = np.where(photo.visible, facing**_COVERAGE.facing_power, 0)
        hair_map, known = _hair_of_nearest(photo.portrait)
        hair, alpha = sample(hair_map, photo.pixels), sample(known, photo.pixels)
        trust *= np.clip(alpha * _COVERAGE.matte_gain - _COVERAGE.matte_offset, 0, 1)
        # A hat shows neither hair nor a bald head.
        trust *= 1 - sample(photo.portrait.headwear, photo.pixels)
        weight += trust
        total += trust * hair
    decide_ears(model, evidence, weight, total)
    weight, total = _with_other_side(model, weight, total)
    observed = np.where(weight > 0, total / np.maximum(weight, _TINY), 0)
    bare = _bareness(scalp, weight, observed, evidence)
    prior = scalp * (1 - bare)
    # The prior places no hair in front of the ears or below the nape: there only observations count.
    prior_weight = np.where(scalp > _INSIDE, _COVERAGE.prior_weight_on_scalp, _COVERAGE.prior_weight_elsewhere)
    laplacian = mesh_laplacian(model.dense_faces, count)
    data = _COVERAGE.observation_weight * np.minimum(weight, 1)
    system = sp.diags(data + prior_weight) + _COVERAGE.smoothness * laplacian
    solved = factorised(system).solve(data * observed + prior_weight * prior)
    # Over the neck hair hangs, it does not grow there.
    grows = np.where(outer_skin(model), 1 - model.masks["neck"], 0)
    coverage = np.clip(solved, 0, 1) * grows
    return np.where(_on_large_patches(model, coverage > _COVERAGE.patch_coverage), coverage, 0)


def _with_other_side(
    model: HeadModel, weight: Float[np.ndarray, "m"], total: Float[np.ndarray, "m"]
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Add what the other side of the head shows where a side is not seen: hair is cut alike on both."""
    twin = model.dense_mirror()
    share = _COVERAGE.mirrored_weight * (1 - np.minimum(weight / _COVERAGE.min_seen_weight, 1))
    return weight + share * weight[twin], total + share * total[twin]


def _hair_of_nearest(portrait: Portrait) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Return the matte of hair, continued beyond the person by the nearest pixel, and where that can be said.

    The fitted head may be wider than the person: what it has beyond the outline is what the outline shows.
    """
    person = (portrait.alpha > _INSIDE) & portrait.observed
    distance, label = cv2.distanceTransformWithLabels(
        (~person).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(int(label.max()) + 1, np.int64)
    source[label[person]] = np.flatnonzero(person)
    reach_px = _COVERAGE.beyond_outline * len(person)
    near = (distance < reach_px) & portrait.observed
    return portrait.hair.ravel()[source[label]], near.astype(np.float64)


def outer_skin(model: HeadModel) -> Bool[np.ndarray, "m"]:
    """Dense vertices of the skin without the inside of eye sockets and mouth."""
    return model.dense_vertices_of("skin") & (model.masks["cavity"] < _INSIDE)


def _on_large_patches(model: HeadModel, covered: Bool[np.ndarray, "m"]) -> Bool[np.ndarray, "m"]:
    """False for covered vertices of patches much smaller than the largest, true for all others."""
    faces = model.dense_faces[covered[model.dense_faces].all(1)]
    links = sp.coo_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), [len(covered)] * 2)
    _, patch = connected_components(links, directed=False)
    size = np.bincount(patch[covered], minlength=patch.max() + 1)
    return ~covered | (size[patch] >= _COVERAGE.min_patch_fraction * size.max())


def decide_ears(model: HeadModel, evidence: Sequence[PhotoEvidence], weight, total) -> None:
    """Set each ear to covered or bare as a whole, in place; an ear that no photo shows follows the other one.

    Where it is not clear whether hair covers an ear, both are asked: hair is worn alike on both sides.

    Its lower half decides: hair that covers an ear comes from above and leaves the lobe for last, while any haircut
    touches the top.
    """
    height = model.dense(model.mean)[:, 1]
    hair_of_ear = {}
    for side in ("ear_left", "ear_right"):
        ear = model.masks[side] > _EARS.mask
        lower = ear & (height < (height[ear].min() + height[ear].max()) / 2)
        for photo in evidence:
            near = lower & photo.nearly_visible
            if near.sum() > _EARS.min_visible_fraction * lower.sum():
                hair = sample(_hair_of_nearest(photo.portrait)[0], photo.pixels[near]).mean()
                hair_of_ear[side] = max(hair_of_ear.get(side, 0.0), float(hair))
    if hair_of_ear:
        for side in ("ear_left", "ear_right"):
            hair = hair_of_ear.get(side, max(hair_of_ear.values()))
            if abs(hair - _INSIDE) < _EARS.doubt:
                hair = float(np.mean(list(hair_of_ear.values())))
            ear = model.masks[side] > _EARS.mask
            weight[ear] = 1.0
            total[ear] = float(hair > _INSIDE)


def _bareness(scalp, weight, observed, evidence: Sequence[PhotoEvidence]) -> float:
    """How bald the visible scalp is, from 0 (hairy) to 1 (bald); 0 if too little of it is seen."""
    s = _COVERAGE
    seen = (scalp > s.certain_scalp) & (weight > s.min_seen_weight)
    grazing = np.any([np.abs(photo.facing) < s.contour_cosine for photo in evidence], axis=0)
    contour = (scalp > s.certain_scalp) & grazing & (weight > s.min_contour_weight)
    if seen.sum() < s.min_seen_vertices:
        return 0.0
    # The occluding contour shows the sides: a bald crown with hair around it keeps its hair at the back.
    on_contour = observed[contour].mean() if contour.sum() >= s.min_contour_vertices else 0.0
    hairy = max(observed[seen].mean(), on_contour)
    visible = [photo.visible & (scalp > s.certain_scalp) for photo in evidence]
    under_hat = np.concatenate(
        [sample(photo.portrait.headwear, photo.pixels[near]) for photo, near in zip(evidence, visible, strict=True)]
    )
    if under_hat.mean() > s.min_hat:
        # Below a hat only the ends of the scalp are seen: hair anywhere there is hair.
        hairy = max(hairy, np.quantile(observed[seen], s.hairy_quantile))
    return float(np.clip((s.hairy_scalp - hairy) / s.bald_range, 0, 1))


def flatten_covered_ears(
    model: HeadModel, vertices: Float[np.ndarray, "m 3"], coverage: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m 3"]:
    """Replace ears that hair covers by a membrane over their border, so that they do not poke through the hair."""
    flat = vertices.copy()
    for side in ("ear_left", "ear_right"):
        ear = model.masks[side]
        if (coverage * ear).sum() < _EARS.min_covered_fraction * ear.sum():
            continue
        inside = np.nonzero(ear > _EARS.mask)[0]
        fixed = np.nonzero(ear <= _EARS.mask)[0]
        laplacian = mesh_laplacian(model.dense_faces, len(vertices))[inside]
        flat[inside] = factorised(laplacian[:, inside]).solve(-(laplacian[:, fixed] @ vertices[fixed]))
    return flat


def hair_thickness(
    model: HeadModel, coverage: Float[np.ndarray, "m"], evidence: Sequence[PhotoEvidence]
) -> Float[np.ndarray, "m"]:
    """Return the distance from the skin to the outside of the hair at each dense vertex, head units.

    That of ``contour_thickness``, less at the hairline.
    """
    return contour_thickness(model, coverage, evidence) * _hairline_ramp(model, coverage)


def contour_thickness(
    model: HeadModel, coverage: Float[np.ndarray, "m"], evidence: Sequence[PhotoEvidence]
) -> Float[np.ndarray, "m"]:
    """Return how far what covers the scalp reaches from the skin at each dense vertex, head units.

    It is measured at vertices on the occluding contour of a photo, along their normal in the picture, to where the hair
    ends. A smooth field (membrane plus thin plate) interpolates it over the rest of the scalp. Where the photo ends
    before the hair does, the measurement is a lower bound and gets a smaller weight.
    """
    s = _THICKNESS
    count = len(coverage)
    weight, total = np.zeros(count), np.zeros(count)
    for photo in evidence:
        contour = np.nonzero((np.abs(photo.facing) < s.contour_cosine) & (coverage > _INSIDE))[0]
        offset, complete = _contour_offsets(photo, contour)
        trust = np.where(complete, 1.0, s.lower_bound_weight)
        weight[contour] += trust
        total[contour] += trust * np.clip(offset, s.min_measured, s.max_measured)
    measured = weight > s.min_weight
    typical = np.median(total[measured] / weight[measured]) if measured.any() else s.default
    bare = coverage < s.bare_coverage
    data = np.where(bare, s.bare_weight, np.where(measured, s.measured_weight * np.minimum(weight, 1), s.prior_weight))
    prior = np.clip(typical, s.min_typical, s.max_typical)
    value = np.where(bare, 0.0, np.where(measured, total / np.maximum(weight, _TINY), prior))
    laplacian = mesh_laplacian(model.dense_faces, count)
    system = sp.diags(data + s.ridge) + s.membrane * laplacian + s.thin_plate * (laplacian @ laplacian)
    # Far from the hair the field is 0, and not worth solving for.
    near = ~bare
    for _ in range(s.bare_rings):
        near = near | (laplacian @ near != 0)
    thickness = np.zeros(count)
    if not near.any():
        return thickness
    thickness[near] = factorised(system.tocsr()[near][:, near]).solve((data * value)[near])
    return np.clip(thickness, 0.0, s.max_thickness)


def is_stubble(model: HeadModel, coverage: Float[np.ndarray, "m"], evidence: Sequence[PhotoEvidence]) -> bool:
    """Check whether hair is too short for a surface of its own: the silhouette runs along the scalp.

    Such hair is a tint of the skin's texture; a shell would have an edge that a shaved head has not.
    """
    s = _THICKNESS
    offsets = []
    for photo in evidence:
        contour = (np.abs(photo.facing) < s.stubble_cosine) & photo.visible & (coverage > _INSIDE)
        offset, complete = _contour_offsets(photo, np.nonzero(contour & (model.masks["scalp"] > s.sure_scalp))[0])
        offsets.append(offset[complete])
    measured = np.concatenate(offsets)
    return len(measured) >= s.min_stubble_vertices and bool(np.median(measured) < s.stubble)


def _hairline_ramp(model: HeadModel, coverage: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Return the fraction of its full thickness that hair has at each vertex.

    It stands up from the hairline of the face within a short distance, and tapers down to that of the nape over a long
    one, as it is cut.
    """
    s = _THICKNESS
    skin = model.dense(model.mean)
    bare = (coverage < s.hairline_coverage) & (model.masks["cavity"] < _INSIDE)
    ears = skin[(model.masks["ear_left"] > _INSIDE) | (model.masks["ear_right"] > _INSIDE)]
    nape = bare & (skin[:, 1:] < ears[:, 1:].mean(axis=0)).all(axis=1)
    ramps = [
        least + (1 - least) * smooth_ramp(cKDTree(skin[line]).query(skin)[0], 0.0, rise)
        for line, least, rise in (
            (bare, s.hairline_fraction, s.rise_distance),
            (nape, s.nape_fraction, s.nape_rise_distance),
        )
        if line.any()
    ]
    return np.min([np.ones(len(skin)), *ramps], axis=0)


def _contour_offsets(
    photo: PhotoEvidence, contour: Integer[np.ndarray, "r"]
) -> tuple[Float[np.ndarray, "r"], Bool[np.ndarray, "r"]]:
    """Distance from contour vertices outward to the end of the hair, head units, and whether that end was seen."""
    pixels = photo.pixels[contour]
    direction = (photo.normals[contour] @ photo.camera_from_world[:3, :3].T)[:, :2]
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), _TINY)
    unit_px = photo.intrinsics_px[0, 0] / pixels[:, 2]
    steps = np.arange(0.0, _THICKNESS.max_thickness, _THICKNESS.trace_step)
    head = (photo.portrait.alpha > _INSIDE) & np.isfinite(photo.skin_depth)
    inside = (photo.portrait.hair > _INSIDE) | head
    height, width = inside.shape
    position = pixels[:, None, :2] + (steps * unit_px[:, None])[..., None] * direction[:, None]
    column, row = np.floor(position[..., 0]).astype(int), np.floor(position[..., 1]).astype(int)
    on_photo = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    on_photo &= photo.portrait.observed[row, column]
    gap = ~(inside[row, column] & on_photo)
    # Two samples of gap in a row end the hair; a single one is noise of the matte.
    ends = gap[:, :-1] & gap[:, 1:]
    end = np.where(ends.any(1), np.argmax(ends, axis=1), len(steps) - 1)
    return steps[end], on_photo[np.arange(len(contour)), end] & ends.any(1)


def hair_surface(
    model: HeadModel,
    neutral_dense: Float[np.ndarray, "m 3"],
    coverage: Float[np.ndarray, "m"],
    thickness: Float[np.ndarray, "m"],
    evidence: Sequence[PhotoEvidence],
    *,
    hidden: Float[np.ndarray, "m"] | None = None,
) -> Mesh | None:
    """Return the outside of the hair as a mesh in the world frame; None if the head is bald.

    Args:
        hidden: fraction of headwear over each dense vertex; no hair rises above or through it.
    """
    s = _VOLUME
    covered = coverage > _INSIDE
    if covered.sum() < s.min_covered_vertices:
        return None
    evidence = [with_plain_outline(photo) for photo in evidence]
    frontal = min(evidence, key=lambda photo: abs(photo.portrait.head_pose_deg[0]))
    hanging = measure_hanging_hair(model, neutral_dense, thickness, frontal)
    if hanging is not None:
        # The hanging hair has the silhouette of the sides and the back; a thick shell would stand out from it.
        from_centre = neutral_dense - neutral_dense[covered].mean(0)
        upward = smooth_ramp(from_centre[:, 1] / np.linalg.norm(from_centre, axis=1), *s.upward)
        thickness = np.minimum(thickness, s.shell_under_hanging + s.shell_under_hanging_on_top * upward)
    low, high = _bounds(neutral_dense[covered], thickness[covered].max(), hanging, evidence)
    grid = Grid.covering(low, high, s.voxel)
    points = grid.points()
    distance, thinnest, skin_distance, nearest = _shell_distance(
        model, neutral_dense, coverage, thickness, grid, points
    )
    below = neutral_dense[covered, 1].min() - s.margin_voxels * s.voxel - points[:, 1]
    distance, thinnest = np.maximum(distance, below), np.maximum(thinnest, below)
    if hanging is not None:
        distance = _joined(distance, hanging.distance(points))
    # The photos show one shape: of theirs the outermost counts, or the more they are the thicker hair would be.
    distance = _joined(distance, np.minimum.reduce([inflated_distance(photo, points) for photo in evidence]))
    for photo in evidence:
        distance = np.maximum(distance, _carving_distance(photo, points))
    # Where the bare head is wider than the matte, hair still covers it.
    distance = np.minimum(distance, thinnest)
    if hidden is not None:
        distance = np.maximum(distance, (hidden[nearest] - _INSIDE) * s.truncation)
    distance = np.maximum(distance, _opening_at_ears(model, neutral_dense, covered, points))
    truncated = np.clip(distance, -s.truncation, s.truncation).reshape(grid.shape)
    volume = gaussian_filter(truncated, s.blur_voxels)
    if volume.min() >= 0:
        return None
    vertices, faces, _, _ = marching_cubes(np.pad(volume, 1, constant_values=s.truncation), 0.0)
    vertices = (vertices - 1) * s.voxel + low
    return _visible_part(vertices, faces.astype(np.int64), skin_distance.reshape(grid.shape), low)


def _joined(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return the distance to the union of two shapes, rounded where they meet (Quilez' polynomial smooth minimum)."""
    radius = _VOLUME.union_radius
    near = np.maximum(1 - np.abs(a - b) / radius, 0)
    return np.minimum(a, b) - 0.25 * radius * near**2


def _bounds(covered_vertices, thickest: float, hanging: HangingHair | None, evidence: Sequence[PhotoEvidence]):
    """Lower and upper corner of the volume, world frame."""
    margin = _VOLUME.margin_voxels * _VOLUME.voxel
    low = covered_vertices.min(0) - thickest - margin
    high = covered_vertices.max(0) + thickest + margin
    if hanging is not None:
        low = np.minimum(low, hanging.low() - margin)
        high = np.maximum(high, hanging.high() + margin)
    for photo in evidence:
        corners = inflated_corners(photo)
        low = np.minimum(low, corners.min(0, initial=np.inf) - margin)
        high = np.maximum(high, corners.max(0, initial=-np.inf) + margin)
    return low, high


def _shell_distance(model: HeadModel, vertices, coverage, thickness, grid: Grid, points):
    """Return signed distances, head units, negative inside: to the shell, to the thinnest one, and to the skin.

    The shell is the skin offset by the thickness. Then follows the nearest vertex of the skin.

    Args:
        points: of the grid.
    """
    s = _VOLUME
    normals = vertex_normals(vertices, model.dense_faces)
    index = np.nonzero(outer_skin(model))[0]
    length, nearest = nearest_vertices(grid, points, vertices[index])
    nearest = index[nearest]
    along = ((points - vertices[nearest]) * normals[nearest]).sum(1)
    # Near the skin the distance to the tangent plane is more accurate, farther away the one to the vertex is.
    signed = np.where(length < s.plane_distance, along, np.copysign(length, along))
    # At the open end of the neck, which no picture shows, normals do not tell inside from outside.
    signed = np.where(vertices[nearest, 1] < neck_cut.HEIGHT, length, signed)
    soft = np.clip((coverage - s.shell_from_coverage) / s.shell_coverage_range, 0, 1)[nearest]
    thinnest = s.shell_above_skin * soft - s.shell_below_skin * (1 - soft)
    shell = signed - thickness[nearest] * soft - thinnest
    return shell, np.where(soft > 0, signed - thinnest, s.truncation), signed, nearest


def _opening_at_ears(
    model: HeadModel, vertices: Float[np.ndarray, "m 3"], covered: Bool[np.ndarray, "m"], points
) -> Float[np.ndarray, "g"]:
    """Return a distance in head units that is positive beside each bare ear: seen from the side, no hair hides it.

    A photo from the front shows a bare ear as a strip. Hair beside it, which it does not show, is swept behind.
    """
    s = _EARS
    opening = np.full(len(points), -np.inf)
    for name, side in (("ear_left", 1.0), ("ear_right", -1.0)):
        ear = model.masks[name] > _INSIDE
        if covered[ear].mean() > _INSIDE:
            continue
        outline = cv2.convexHull((vertices[ear][:, 1:] / s.outline_step).astype(np.float32))[:, 0]
        reach = round((s.clearance + _VOLUME.truncation) / s.outline_step)
        low = np.floor(outline.min(0)).astype(int) - reach
        size = np.ceil(outline.max(0)).astype(int) + reach - low
        inside = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(inside, np.round(outline - low).astype(np.int32), 1)
        beyond = side * points[:, 0] - (side * vertices[ear, 0]).min()
        near = beyond > -_VOLUME.truncation
        within = _signed_distance_px(inside > 0) * s.outline_step + s.clearance
        beside = sample(within, np.clip(points[near, 1:] / s.outline_step - low, 0.5, size - 0.5))
        opening[near] = np.maximum(opening[near], np.minimum(beside, beyond[near]))
    return opening


def _carving_distance(photo: PhotoEvidence, points):
    """Return a distance in head units that is positive where a photo shows that there is no hair.

    That is beside the person, or in front of what is neither hair nor hidden by it. An observed area is taken to be a
    rectangle.
    """
    s = _CARVING
    pixels = project(points, photo.camera_from_world, photo.intrinsics_px)
    units_per_px = pixels[:, 2] / photo.intrinsics_px[0, 0]
    height, width = photo.portrait.alpha.shape
    border = np.ones((s.border_px, s.border_px), np.uint8)
    observed = cv2.erode(photo.portrait.observed.astype(np.uint8), border).astype(bool)
    column = np.clip(pixels[:, 0].astype(int), 0, width - 1)
    row = np.clip(pixels[:, 1].astype(int), 0, height - 1)
    seen = observed[row, column] & (pixels[:, :2] >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    # Carved exactly along the rays through the silhouette, the hair would have a sharp edge there.
    background = (photo.portrait.alpha < _INSIDE) & photo.portrait.observed
    # Beyond the photo's border the silhouette goes straight on.
    rows, columns = np.flatnonzero(observed.any(1)), np.flatnonzero(observed.any(0))
    shown = np.clip(pixels[:, :2], [columns[0], rows[0]], [columns[-1], rows[-1]])
    background = sample(_signed_distance_px(background), shown) * units_per_px - s.silhouette_slack
    without_hair = (photo.portrait.hair < s.max_hair).astype(np.uint8)
    bare = (cv2.medianBlur(without_hair, s.median_px) > 0) & (photo.portrait.alpha > _INSIDE)
    not_hair = sample(_signed_distance_px(bare), pixels) * units_per_px
    # In front of shoulders and clothes, hair may only hang behind the middle of the body.
    middle = photo.camera_from_world[2, 3] - s.before_middle
    surface = np.where(np.isfinite(photo.skin_depth), photo.skin_depth, middle)[row, column]
    in_front = surface + s.depth_slack - pixels[:, 2]
    return np.maximum(background, np.where(seen, np.minimum(not_hair, in_front), -1.0))


def _signed_distance_px(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Signed distance to the border of a mask in pixels, positive inside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float64)


def _visible_part(vertices, faces, skin_distance, low) -> Mesh | None:
    """Drop what lies under the skin, and components of few faces; None if nothing is left."""
    s = _VOLUME
    cell = np.clip(np.round((vertices - low) / s.voxel).astype(int), 0, np.array(skin_distance.shape) - 1)
    above = skin_distance[tuple(cell.T)] > -s.max_below_skin
    faces = faces[above[faces].any(1)]
    if len(faces) == 0:
        return None
    edges = (faces.ravel(), np.roll(faces, 1, axis=1).ravel())
    links = sp.coo_matrix((np.ones(faces.size), edges), shape=[len(above)] * 2)
    _, component = connected_components(links, directed=False)
    size = np.bincount(component[faces[:, 0]])
    smallest = max(s.min_component_faces, s.min_component_fraction * len(faces))
    faces = faces[size[component[faces[:, 0]]] >= smallest]
    if len(faces) == 0:
        return None
    used, compact = np.unique(faces, return_inverse=True)
    return Mesh(vertices[used], compact.reshape(-1, 3))
