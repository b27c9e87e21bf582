"""Head bake: places of MediaPipe's 478 landmarks on the head, detected in renders of coloured heads.

Random heads are rendered from several azimuths. Landmarks detected in the pictures are mapped through the z-buffer to
the mean head and averaged robustly; their scatter becomes ``landmark_sigma``.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from bake_head_dense import Dense
from bake_head_source import Source
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.optimize import linear_sum_assignment

from spinmeround.geometry import vertex_normals
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.portrait import landmarks
from spinmeround.template.model.head_model import PARTS

PEOPLE = 24
AZIMUTHS_DEG = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
SIZE_PX = 512
SNAP_PX = 6
IRIS_RADIUS = 0.0143
"""Radius of the iris, head units; a human iris is 11.8 mm wide."""

UPPER_INNER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
LOWER_INNER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
"""Both from the right corner of the mouth to the left."""
MOUTH_CORNERS = (78, 308)
INNER_LIPS = (*MOUTH_CORNERS, *UPPER_INNER_LIP, *LOWER_INNER_LIP)
JAW_DROPS = -0.035
"""Vertical displacement by ``jawOpen``, head units, that separates the upper lip (above) from the lower (below)."""
IRISES = tuple(range(468, 478))
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))


def correspond(
    source: Source, faces: Int[np.ndarray, "f 3"], part: Int[np.ndarray, "n"], dense: Dense, masks: dict, *, seed: int
) -> dict[str, np.ndarray]:
    """Return the landmark fields of the head model."""
    painter = _Painter(source, dense, masks)
    first = _collect(
        source, dense, painter, people=6, azimuths=(-20.0, 0.0, 20.0), generator=np.random.default_rng(seed)
    )
    painter.paint_brows(_robust_mean(*first)[0])
    points, sigma = _robust_mean(
        *_collect(
            source, dense, painter, people=PEOPLE, azimuths=AZIMUTHS_DEG, generator=np.random.default_rng(seed + 1)
        )
    )
    mirror = _mirror_map(points)
    points = (points + points[mirror] * [-1, 1, 1]) / 2
    sigma = (sigma + sigma[mirror]) / 2

    outer = np.zeros(len(part), bool)
    outer[np.unique(source.quads["skin"])] = True
    on_eye = np.isin(part, [PARTS.index("eye_left"), PARTS.index("eye_right")])
    # Closed lips touch, so the nearest triangle may lie on the wrong lip.
    with_jaw = source.expression_basis[source.expression_names.index("jawOpen")][:, 1] < JAW_DROPS
    upper, lower = np.array(UPPER_INNER_LIP), np.array(LOWER_INNER_LIP)
    elsewhere = np.setdiff1d(np.arange(468), [*upper, *lower])
    places = ((elsewhere, outer), (upper, outer & ~with_jaw), (lower, outer & with_jaw), (np.arange(468, 478), on_eye))
    face, weights = np.empty(478, np.int64), np.empty((478, 3))
    for chosen, allowed in places:
        candidates = np.flatnonzero(allowed[faces].all(1))
        nearest, barycentric = closest_points(points[chosen], source.mean[faces[candidates]])
        face[chosen], weights[chosen] = candidates[nearest], barycentric
    return {
        "landmark_faces": face.astype(np.int16),
        "landmark_barycentric": weights.astype(np.float32),
        "landmark_sigma": sigma.astype(np.float32),
        "landmark_mirror": mirror.astype(np.int16),
    }


class _Painter:
    """Colours the dense vertices and renders heads with them."""

    def __init__(self, source: Source, dense: Dense, masks: dict) -> None:
        self.dense = dense
        mean = dense.matrix @ source.mean
        self.mean = mean
        self.eye_faces = np.isin(dense.part, [PARTS.index("eye_left"), PARTS.index("eye_right")])
        self.centres = {}
        albedo = np.tile([0.86, 0.68, 0.58], (len(mean), 1))
        for name, colour in (("lips", (0.68, 0.32, 0.32)), ("lids", (0.62, 0.44, 0.38)), ("scalp", (0.25, 0.18, 0.14))):
            albedo += masks[name][:, None] * (np.array(colour) - albedo)
        albedo += (masks["cavity"] + masks["nostrils"]).clip(0, 1)[:, None] * (np.array([0.3, 0.12, 0.1]) - albedo)
        for name, colour in (
            ("teeth_upper", (0.9, 0.88, 0.82)),
            ("teeth_lower", (0.85, 0.83, 0.77)),
            ("tongue", (0.7, 0.35, 0.35)),
        ):
            albedo[np.unique(dense.faces[dense.part == PARTS.index(name)])] = colour
        self.albedo = albedo
        for name in ("eye_left", "eye_right"):
            used = np.unique(dense.faces[dense.part == PARTS.index(name)])
            self.centres[name] = mean[used].mean(0)

    def paint_brows(self, points: Float[np.ndarray, "478 3"]) -> None:
        """Add dark brows along the landmarks found without them, since the detector expects brows."""
        for ring in BROWS:
            axis = np.array([(points[a] + points[b]) / 2 for a, b in zip(ring[:5], ring[:4:-1], strict=True)])
            fine = np.concatenate([np.linspace(a, b, 12) for a, b in pairwise(axis)])
            distance = np.linalg.norm(self.mean[:, None] - fine[None], axis=-1).min(1)
            strength = np.exp(-((distance / 0.010) ** 2))[:, None] * 0.85
            self.albedo += strength * (np.array([0.22, 0.15, 0.12]) - self.albedo)

    def draw(self, vertices: Float[np.ndarray, "m 3"], cameras, index: int, light: Float[np.ndarray, "3"]):
        """Return the picture, its z-buffer, and the cosine between each pixel's normal and the viewing direction."""
        faces = self.dense.faces
        buffer = rasterize(vertices, faces, cameras, index)
        hit = buffer.face >= 0
        normals = interpolate(vertex_normals(vertices, faces).astype(np.float32), faces, buffer)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
        albedo = interpolate(self.albedo.astype(np.float32), faces, buffer)
        eye = hit & self.eye_faces[buffer.face]
        canonical = interpolate(self.mean.astype(np.float32), faces, buffer)
        albedo[eye] = self._eye_colour(canonical[eye])
        shade = 0.35 + 0.65 * np.clip(normals @ light, 0, 1)
        picture = np.full((*hit.shape, 3), 0.55)
        picture[hit] = (shade[..., None] * albedo)[hit]
        picture = gaussian_filter(picture, (0.6, 0.6, 0))
        return picture.astype(np.float32).clip(0, 1), buffer, -(normals @ cameras.camera_from_world[index, 2, :3])

    def _eye_colour(self, at: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
        left = at[:, 0] > 0
        centre = np.where(left[:, None], self.centres["eye_left"], self.centres["eye_right"])
        radius = np.linalg.norm((at - centre)[:, :2], axis=1)
        colour = np.where(radius[:, None] < IRIS_RADIUS, [0.36, 0.24, 0.16], [0.92, 0.9, 0.88])
        return np.where(radius[:, None] < 0.4 * IRIS_RADIUS, [0.05, 0.04, 0.04], colour)


def _collect(source: Source, dense: Dense, painter: _Painter, *, people: int, azimuths, generator):
    """Return points on the mean head and their weights, (renders, 478, ...), of detections on random heads."""
    points, weights = [], []
    missed = 0
    for person in range(people):
        opened = person % 2 == 1
        vertices = dense.matrix @ _random_head(source, generator, opened=opened)
        elevations = generator.uniform(-10, 10, len(azimuths))
        cameras = orbit_cameras(azimuths, elevations.tolist(), size_px=SIZE_PX)
        for index in range(len(azimuths)):
            light = np.array([generator.uniform(-0.6, 0.6), 0.4, 0.8])
            picture, buffer, facing = painter.draw(vertices, cameras, index, light / np.linalg.norm(light))
            found = landmarks.find_faces(picture)
            if not found:
                missed += 1
                continue
            point, weight = _on_mean_head(found[0].landmarks_px, buffer, facing, painter, opened=opened)
            points.append(point)
            weights.append(weight)
    print(f"landmarks: {len(points)} renders detected, {missed} missed")
    return np.array(points), np.array(weights)


def _random_head(source: Source, generator: np.random.Generator, *, opened: bool) -> Float[np.ndarray, "n 3"]:
    count = sum(name.startswith("pca_") for name in source.shape_names)
    shape = generator.normal(size=count) * 0.8
    vertices = source.mean + np.tensordot(shape, source.shape_plus[:count], axes=1)
    if opened:
        action = dict(zip(source.expression_names, source.expression_basis, strict=True))
        vertices = vertices + 0.35 * action["jawOpen"]
        vertices = vertices + 0.3 * (action["mouthUpperUpLeft"] + action["mouthUpperUpRight"])
    return vertices


def _on_mean_head(landmarks_px, buffer, facing, painter: _Painter, *, opened: bool):
    """Return points on the mean head under the landmarks, and weights: 0 if the surface faces away or is too far.

    Iris landmarks take the nearest pixel of an eyeball, all others the nearest pixel of skin.
    """
    face, part = buffer.face, painter.dense.part
    eye = (face >= 0) & painter.eye_faces[face]
    skin = (face >= 0) & (part[face] == 0)
    column, row = (np.clip(np.floor(landmarks_px[:, k]).astype(int), 0, SIZE_PX - 1) for k in (0, 1))
    is_iris = np.zeros(478, bool)
    is_iris[list(IRISES)] = True
    at_row, at_column, far = row.copy(), column.copy(), np.zeros(478)
    for allowed, chosen in ((skin, ~is_iris), (eye, is_iris)):
        distance, (near_row, near_column) = distance_transform_edt(~allowed, return_indices=True)
        far[chosen] = distance[row[chosen], column[chosen]]
        at_row[chosen] = near_row[row[chosen], column[chosen]]
        at_column[chosen] = near_column[row[chosen], column[chosen]]
    corners = painter.mean[painter.dense.faces[face[at_row, at_column]]]
    points = (corners * buffer.barycentric[at_row, at_column][..., None]).sum(1)
    weight = np.clip(facing[at_row, at_column] - 0.2, 0, 1) * (far <= SNAP_PX)
    if not opened:
        weight[list(INNER_LIPS)] = 0
    return points, weight


def _robust_mean(points: Float[np.ndarray, "r 478 3"], weights: Float[np.ndarray, "r 478"]):
    """Return the geometric median by iterative reweighting, and the weighted scatter about it."""
    total = np.maximum(weights.sum(0), 1e-9)
    mean = (points * weights[..., None]).sum(0) / total[:, None]
    for _ in range(20):
        robust = weights / (np.linalg.norm(points - mean, axis=-1) + 0.004)
        mean = (points * robust[..., None]).sum(0) / np.maximum(robust.sum(0), 1e-9)[:, None]
    spread = (np.linalg.norm(points - mean, axis=-1) ** 2 * weights).sum(0) / total
    return mean, np.maximum(np.sqrt(spread), 0.002)


def _mirror_map(points: Float[np.ndarray, "478 3"]) -> Int[np.ndarray, "478"]:
    """Return the pairing that best maps the landmarks onto their mirror image; it is an involution."""
    cost = np.linalg.norm(points[:, None] - points[None] * [-1, 1, 1], axis=-1)
    for group in (IRISES, UPPER_INNER_LIP, LOWER_INNER_LIP):
        inside = np.isin(np.arange(478), group)
        cost = np.where(inside[:, None] != inside[None], 1e3, cost)
    _, mirror = linear_sum_assignment(cost + cost.T)
    if not (mirror[mirror] == np.arange(478)).all():
        raise AssertionError("the landmarks' mirror map is not its own inverse")
    return mirror


def closest_points(
    points: Float[np.ndarray, "p 3"], triangles: Float[np.ndarray, "t 3 3"]
) -> tuple[Int[np.ndarray, "p"], Float[np.ndarray, "p 3"]]:
    """Return each point's nearest triangle and barycentric coordinates of its nearest point, by exhaustive search."""
    a, ab, ac = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    index, weights = np.empty(len(points), np.int64), np.empty((len(points), 3))
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    for i, point in enumerate(points):
        d20, d21 = ((point - a) * ab).sum(1), ((point - a) * ac).sum(1)
        det = np.maximum(d00 * d11 - d01 * d01, 1e-30)
        v, w = (d11 * d20 - d01 * d21) / det, (d00 * d21 - d01 * d20) / det
        inside = (v >= 0) & (w >= 0) & (v + w <= 1)
        along_ab, along_ac = np.clip(d20 / d00, 0, 1), np.clip(d21 / d11, 0, 1)
        along_bc = np.clip(_along(point, triangles), 0, 1)
        zero = np.zeros_like(v)
        options = np.stack(
            [
                np.stack([v, w], 1),
                np.stack([along_ab, zero], 1),
                np.stack([zero, along_ac], 1),
                np.stack([1 - along_bc, along_bc], 1),
            ]
        )
        places = a + options[..., :1] * ab + options[..., 1:] * ac
        distance = ((places - point) ** 2).sum(-1)
        distance[0] = np.where(inside, distance[0], np.inf)
        choice, triangle = np.unravel_index(distance.argmin(), distance.shape)
        v_best, w_best = options[choice, triangle]
        index[i], weights[i] = triangle, (1 - v_best - w_best, v_best, w_best)
    return index, weights


def _along(point: Float[np.ndarray, "3"], triangles: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t"]:
    edge = triangles[:, 2] - triangles[:, 1]
    return ((point - triangles[:, 1]) * edge).sum(1) / (edge**2).sum(1)
