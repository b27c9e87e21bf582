"""Hair as geometry: from one or several mattes to a closed surface around the skull.

A signed-distance volume unites two simple shapes. The *shell* is the skin pushed outward by a thickness that is
measured where the photo shows the outline and spread smoothly over the scalp where it does not. The *curtain* is what
hangs lower than the skull carries: a stack of half-ellipses as wide as the photo shows and as deep as the back of the
head. Every photo then carves away what it proves to be air, skin or clothes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from spinmeround.geometry import project, vertex_normals
from spinmeround.images import sample
from spinmeround.template.fit.photo_lookup import PhotoEvidence, mesh_laplacian
from spinmeround.template.hair.hanging import Curtain, measure_curtain
from spinmeround.template.model.head_model import PARTS, HeadModel
from spinmeround.types import Mesh

VOXEL = 0.009
"""Spacing of the volume in head units (3.7 mm)."""

_RISE = 0.05
"""Distance behind the hairline over which hair reaches its full thickness, head units."""

_UNDER_CURTAIN = 0.025
"""Thickness of the shell on the sides of a head whose hair hangs, head units."""

_SUNK = 0.012
"""How far below the skin the shell lies where there is no hair, head units."""


def hair_coverage(model: HeadModel, evidence: Sequence[PhotoEvidence]) -> Float[np.ndarray, "m"]:
    """Share of hair over each dense vertex, in [0, 1]: seen where a photo sees it, continued smoothly where none does.

    The anatomical scalp is the prior of unseen places, weakened in step with how much of the *visible* scalp is bare,
    so that a bald head stays bald behind too.
    """
    scalp = model.masks["scalp"]
    count = len(scalp)
    weight, total = np.zeros(count), np.zeros(count)
    for photo in evidence:
        # Hair beside the head hides skin that faces slightly away, so a little of the far side counts as well.
        trust = np.where(photo.visible, np.clip(photo.facing + 0.1, 0, 1) ** 1.5, 0)
        hair = sample(photo.portrait.hair, photo.pixels)
        trust *= np.clip(sample(photo.portrait.alpha, photo.pixels) * 2 - 0.6, 0, 1)
        weight += trust
        total += trust * hair
    _judge_ears(model, evidence, weight, total)
    observed = np.where(weight > 0, total / np.maximum(weight, 1e-9), 0)
    bare = _bareness(scalp, weight, observed, evidence)
    prior = scalp * (1 - bare)
    # No hair is *invented* in front of the ears or below the nape: there only sight counts.
    prior_weight = np.where(scalp > 0.5, 0.05, 0.3)
    laplacian = mesh_laplacian(model.dense_faces, count)
    data = 4 * np.minimum(weight, 1)
    system = sp.diags(data + prior_weight) + 1.2 * laplacian
    solved = spsolve(system.tocsc(), data * observed + prior_weight * prior)
    skin_vertices = np.zeros(count, bool)
    skin_vertices[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
    # Over the neck hair hangs, it does not grow: that is the curtain's.
    grows = np.where(skin_vertices & (model.masks["cavity"] < 0.5), 1 - model.masks["neck"], 0)
    coverage = np.clip(solved, 0, 1) * grows
    return np.where(_on_large_patches(model, coverage > 0.4), coverage, 0)


def _on_large_patches(model: HeadModel, covered: Bool[np.ndarray, "m"]):
    """Leaves out specks: patches below a twentieth of the largest."""
    faces = model.dense_faces[covered[model.dense_faces].all(1)]
    links = sp.coo_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), [len(covered)] * 2)
    _, patch = connected_components(links, directed=False)
    size = np.bincount(patch[covered], minlength=patch.max() + 1)
    return ~covered | (size[patch] >= 0.05 * size.max())


def _judge_ears(model: HeadModel, evidence: Sequence[PhotoEvidence], weight, total) -> None:
    """Decides for each ear as a whole, in place; an ear that no photo shows follows the other one."""
    shares = {}
    for side in ("ear_left", "ear_right"):
        ear = model.masks[side] > 0.3
        for photo in evidence:
            near = ear & photo.beside
            if near.sum() > 0.15 * ear.sum():
                share = sample(photo.portrait.hair, photo.pixels[near]).mean()
                shares[side] = max(shares.get(side, 0.0), float(share))
    if shares:
        for side in ("ear_left", "ear_right"):
            share = shares.get(side, max(shares.values()))
            ear = model.masks[side] > 0.3
            weight[ear] = 1.0
            total[ear] = float(share > 0.5)


def _bareness(scalp, weight, observed, evidence: Sequence[PhotoEvidence]) -> float:
    seen = (scalp > 0.7) & (weight > 0.2)
    rim = (scalp > 0.7) & np.any([np.abs(photo.facing) < 0.45 for photo in evidence], axis=0) & (weight > 0.05)
    if seen.sum() < 20:
        return 0.0
    # The rim tells of the sides; a bald crown with hair around it keeps its hair at the back.
    hairy = max(observed[seen].mean(), observed[rim].mean() if rim.sum() >= 10 else 0.0)
    return float(np.clip((0.35 - hairy) / 0.25, 0, 1))


def flatten_covered_ears(
    model: HeadModel, vertices: Float[np.ndarray, "m 3"], coverage: Float[np.ndarray, "m"]
) -> Float[np.ndarray, "m 3"]:
    """Lays ears that hair covers flat against the head, so that they do not poke through it."""
    flat = vertices.copy()
    for side in ("ear_left", "ear_right"):
        ear = model.masks[side]
        if (coverage * ear).sum() < 0.5 * ear.sum():
            continue
        inside = np.nonzero(ear > 0.3)[0]
        fixed = np.nonzero(ear <= 0.3)[0]
        laplacian = mesh_laplacian(model.dense_faces, len(vertices))[inside]
        flat[inside] = spsolve(laplacian[:, inside].tocsc(), -(laplacian[:, fixed] @ vertices[fixed]))
    return flat


def hair_thickness(
    model: HeadModel, coverage: Float[np.ndarray, "m"], evidence: Sequence[PhotoEvidence]
) -> Float[np.ndarray, "m"]:
    """Distance from skin to the outside of the hair per dense vertex, head units.

    Measured at vertices on the rim of a photo, along their normal in the picture, to where the hair ends; spread over
    the rest of the scalp by a membrane. Where the picture ends before the hair does, the value is a lower bound.
    """
    count = len(coverage)
    weight, total = np.zeros(count), np.zeros(count)
    for photo in evidence:
        rim = np.nonzero((np.abs(photo.facing) < 0.35) & (coverage > 0.5))[0]
        offset, complete = _rim_offsets(photo, rim)
        trust = np.where(complete, 1.0, 0.3)
        weight[rim] += trust
        total[rim] += trust * np.clip(offset, 0.002, 0.16)
    measured = weight > 0.2
    typical = np.median(total[measured] / weight[measured]) if measured.any() else 0.02
    bare = coverage < 0.3
    data = np.where(bare, 2.0, np.where(measured, 0.3 * np.minimum(weight, 1), 0.002))
    value = np.where(bare, 0.0, np.where(measured, total / np.maximum(weight, 1e-9), np.clip(typical, 0.006, 0.08)))
    laplacian = mesh_laplacian(model.dense_faces, count)
    system = sp.diags(data + 1e-6) + 0.3 * laplacian + 3.0 * (laplacian @ laplacian)
    solved = np.clip(spsolve(system.tocsc(), data * value), 0.0, 0.2)
    return solved * _hairline_ramp(model, coverage)


def _hairline_ramp(model: HeadModel, coverage):
    """Hair rises from the skin over some distance behind the hairline, as a share of its full thickness."""
    skin = model.dense(model.mean)
    bare = coverage < 0.4
    bare[np.nonzero(model.masks["cavity"] > 0.5)] = False
    behind, _ = cKDTree(skin[bare]).query(skin)
    rise = np.clip(behind / _RISE, 0, 1)
    return 0.25 + 0.75 * rise * rise * (3 - 2 * rise)


def _rim_offsets(photo: PhotoEvidence, rim) -> tuple[Float[np.ndarray, "r"], Bool[np.ndarray, "r"]]:
    """Head units from rim vertices outward to the end of the hair, and whether that end was seen."""
    pixels = photo.pixels[rim]
    direction = (photo.normals[rim] @ photo.camera_from_world[:3, :3].T)[:, :2]
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    unit_px = photo.intrinsics_px[0, 0] / pixels[:, 2]
    steps = np.arange(0.0, 0.2, 0.002)
    inside = (photo.portrait.hair > 0.5) | ((photo.portrait.alpha > 0.5) & np.isfinite(photo.skin_depth))
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
    return steps[end], on_photo[np.arange(len(rim)), end] & ends.any(1)


def hair_surface(
    model: HeadModel,
    neutral_dense: Float[np.ndarray, "m 3"],
    coverage: Float[np.ndarray, "m"],
    thickness: Float[np.ndarray, "m"],
    evidence: Sequence[PhotoEvidence],
) -> Mesh | None:
    """The outside of the hair as a mesh in the world frame, or nothing for a bald head."""
    covered = coverage > 0.5
    if covered.sum() < 50:
        return None
    frontal = min(evidence, key=lambda photo: abs(photo.portrait.head_pose_deg[0]))
    curtain = measure_curtain(model, neutral_dense, thickness, frontal)
    if curtain is not None:
        # The curtain has the outline of the sides and the back; a shell as thick as that would stand out from it.
        upward = np.clip(vertex_normals(neutral_dense, model.dense_faces)[:, 1], 0, 1)
        thickness = np.minimum(thickness, _UNDER_CURTAIN + 0.1 * upward)
    low, high = _bounds(neutral_dense[covered], thickness[covered].max(), curtain)
    shape = np.ceil((high - low) / VOXEL).astype(int) + 1
    axes = [low[k] + VOXEL * np.arange(shape[k]) for k in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance, sunk = _shell_distance(model, neutral_dense, coverage, thickness, points)
    distance = np.maximum(distance, neutral_dense[covered, 1].min() - 4 * VOXEL - points[:, 1])
    if curtain is not None:
        distance = np.minimum(distance, curtain.distance(points))
    for photo in evidence:
        distance = np.maximum(distance, _carving_distance(photo, points))
    volume = gaussian_filter(np.clip(distance, -0.06, 0.06).reshape(shape), 0.9)
    if volume.min() >= 0:
        return None
    vertices, faces, _, _ = marching_cubes(np.pad(volume, 1, constant_values=0.06), 0.0)
    vertices = (vertices - 1) * VOXEL + low
    return _visible_part(vertices, faces.astype(np.int64), sunk.reshape(shape), low)


def _bounds(covered_vertices, thickest: float, curtain: Curtain | None):
    low = covered_vertices.min(0) - thickest - 4 * VOXEL
    high = covered_vertices.max(0) + thickest + 4 * VOXEL
    if curtain is not None:
        low = np.minimum(low, curtain.low() - 4 * VOXEL)
        high = np.maximum(high, curtain.high() + 4 * VOXEL)
    return low, high


def _shell_distance(model: HeadModel, vertices, coverage, thickness, points):
    """Signed distance to the skin pushed outward by the thickness, and to the skin itself (negative inside)."""
    normals = vertex_normals(vertices, model.dense_faces)
    skin = np.zeros(len(vertices), bool)
    skin[model.dense_faces[model.dense_part == PARTS.index("skin")]] = True
    skin &= model.masks["cavity"] < 0.5
    index = np.nonzero(skin)[0]
    reach = thickness.max() + 6 * VOXEL
    length, nearest = cKDTree(vertices[index]).query(points, workers=-1, distance_upper_bound=reach)
    # Far from the skin only the side of it matters: every sixteenth vertex tells that as well, in less time.
    far, sparse = ~np.isfinite(length), index[::16]
    length[far], rough = cKDTree(vertices[sparse]).query(points[far], workers=-1)
    nearest[~far] = index[nearest[~far]]
    nearest[far] = sparse[rough]
    along = ((points - vertices[nearest]) * normals[nearest]).sum(1)
    # Between the vertices the plane is the better distance, farther away the point is.
    signed = np.where(length < 0.02, along, np.copysign(length, along))
    soft = np.clip((coverage - 0.35) / 0.3, 0, 1)[nearest]
    return signed - (thickness[nearest] * soft + 0.003 * soft - _SUNK * (1 - soft)), signed


def _carving_distance(photo: PhotoEvidence, points):
    """Positive where a photo proves that there is no hair: beside the person, or in front of what is not hair."""
    pixels = project(points, photo.camera_from_world, photo.intrinsics_px)
    units_per_px = pixels[:, 2] / photo.intrinsics_px[0, 0]
    height, width = photo.portrait.alpha.shape
    observed = cv2.erode(photo.portrait.observed.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    column = np.clip(pixels[:, 0].astype(int), 0, width - 1)
    row = np.clip(pixels[:, 1].astype(int), 0, height - 1)
    seen = observed[row, column] & (pixels[:, :2] >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    # Cut exactly along the sight rays the hair would have an edge where the outline is: a hair's breadth is left.
    air = sample(_signed_distance_px(photo.portrait.alpha < 0.5), pixels) * units_per_px - 0.004
    bare = (cv2.medianBlur((photo.portrait.hair < 0.4).astype(np.uint8), 7) > 0) & (photo.portrait.alpha > 0.5)
    not_hair = sample(_signed_distance_px(bare), pixels) * units_per_px
    # Where no part of the head lies (shoulders, clothes), hair may only hang behind the middle of the body.
    middle = photo.camera_from_world[2, 3] - 0.02
    surface = np.where(np.isfinite(photo.skin_depth), photo.skin_depth, middle)[row, column]
    in_front = surface + 0.004 - pixels[:, 2]
    return np.where(seen, np.maximum(air, np.minimum(not_hair, in_front)), -1.0)


def _signed_distance_px(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Positive inside the mask, zero on its border."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float64)


def _visible_part(vertices, faces, skin_distance, low) -> Mesh | None:
    """Drops what lies under the skin and small crumbs."""
    cell = np.clip(np.round((vertices - low) / VOXEL).astype(int), 0, np.array(skin_distance.shape) - 1)
    above = skin_distance[tuple(cell.T)] > -0.008
    faces = faces[above[faces].any(1)]
    if len(faces) == 0:
        return None
    edges = (faces.ravel(), np.roll(faces, 1, axis=1).ravel())
    links = sp.coo_matrix((np.ones(faces.size), edges), shape=[len(above)] * 2)
    _, component = connected_components(links, directed=False)
    size = np.bincount(component[faces[:, 0]])
    faces = faces[size[component[faces[:, 0]]] >= max(200, 0.02 * len(faces))]
    if len(faces) == 0:
        return None
    used, compact = np.unique(faces, return_inverse=True)
    return Mesh(vertices[used], compact.reshape(-1, 3))
