"""Head bake: soft masks on the dense vertices: ears, scalp, hairline, lips, lids, neck, face, cavities, nostrils.

Lips, lids and ears come from MakeHuman's painted masks; the hairline is a curve through control points on the mean
head; nostrils are the parts of the nose's underside with little sky visibility.
"""

from __future__ import annotations

import numpy as np
import trimesh
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator
from scipy.spatial import cKDTree

from spinmeround.geometry import vertex_normals
from spinmeround.numerics import smooth_ramp

HAIRLINE = np.array(
    [
        (0, 0.190), (14, 0.196), (28, 0.200), (38, 0.178), (46, 0.135), (56, 0.075), (64, 0.035), (69, -0.020),
        (75, -0.040), (80, -0.030), (84, 0.022), (94, 0.032), (100, 0.010), (104, -0.050), (109, -0.105),
        (117, -0.145), (130, -0.168), (150, -0.185), (180, -0.195),
    ]
)  # fmt: skip
"""Azimuth about the vertical axis through ``SKULL_AXIS_Z`` (degrees from the front) and height of the hairline on the
mean head: trichion at a third of the face, temple recess, sideburn, arch over the ear, nape."""
SKULL_AXIS_Z = 0.0
HAIRLINE_HALF_WIDTH = 0.03
"""Head units from the hairline to where its ramp ends."""

NECKLINE = np.array([(-0.30, -0.170), (-0.10, -0.150), (-0.02, -0.130), (0.19, -0.268), (0.30, -0.310)])
"""Depth and height of the border between head and neck: nape, ear lobe, under the chin."""
BEHIND_EARS_DEG = 98.0
"""Azimuth, degrees from the front, behind which bare skin counts as neck."""

LID_WIDTH = 0.013
NOSE_BOX = np.array([(-0.05, -0.118, 0.20), (0.05, -0.055, 0.29)])
NOSTRIL_OPENNESS = (0.35, 0.55)
"""Fraction of the sky visible from the nose's underside, inside the nostril and at its border."""


def hairline_height(vertices: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m"]:
    """Return the height of points of the mean head above the hairline at their azimuth."""
    return vertices[:, 1] - PchipInterpolator(*HAIRLINE.T)(_azimuth_deg(vertices))


def _azimuth_deg(vertices: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m"]:
    return np.degrees(np.arctan2(np.abs(vertices[:, 0]), vertices[:, 2] - SKULL_AXIS_Z))


def make_masks(
    vertices: Float[np.ndarray, "m 3"],
    faces: Int[np.ndarray, "g 3"],
    on_skin: Float[np.ndarray, "m"],
    painted: dict[str, Float[np.ndarray, "m"]],
    cavity: Float[np.ndarray, "m"],
) -> dict[str, Float[np.ndarray, "m"]]:
    """Return all masks of the head model, each in [0, 1].

    Args:
        vertices: the dense mean head.
        faces: its triangles.
        on_skin: 1 on the skin, 0 on eyes, teeth and tongue.
        painted: ``lips``, ``eyelids``, ``ears`` on the same vertices.
        cavity: 1 on the skin that lines eye sockets and mouth.
    """
    x, y, z = vertices.T
    outside = on_skin * (1 - cavity)
    ear = smooth_ramp(painted["ears"], 0.3, 0.7) * outside
    hairline = np.clip(_over_hairline(vertices, outside) / (2 * HAIRLINE_HALF_WIDTH) + 0.5, 0, 1) * outside * (1 - ear)
    scalp = smooth_ramp(hairline, 0.4, 0.6)
    below = smooth_ramp(np.interp(z, *NECKLINE.T) - y, -0.012, 0.012)
    behind = smooth_ramp(_azimuth_deg(vertices), BEHIND_EARS_DEG - 4, BEHIND_EARS_DEG + 4)
    neck = np.maximum(below, behind) * outside * (1 - ear) * (1 - scalp)
    margin = vertices[(painted["eyelids"] > 0.5) & (outside > 0.5)]
    return {
        "ear_left": ear * (x > 0),
        "ear_right": ear * (x < 0),
        "scalp": scalp,
        "hairline": hairline,
        "lips": smooth_ramp(painted["lips"], 0.1, 0.9) * outside,
        "lids": (1 - smooth_ramp(cKDTree(margin).query(vertices)[0], 0.3 * LID_WIDTH, LID_WIDTH)) * outside,
        "neck": neck,
        "face": np.clip(outside - ear - scalp - neck, 0, 1),
        "cavity": cavity,
        "nostrils": _nostrils(vertices, faces) * outside,
    }


def _over_hairline(vertices: Float[np.ndarray, "m 3"], outside: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Return the signed distance to the hairline, sampled where edges cross it; positive within the hair."""
    height = hairline_height(vertices)
    near = np.flatnonzero((np.abs(height) < 0.1) & (outside > 0.5))
    tree = cKDTree(vertices[near])
    pairs = tree.query_pairs(0.02, output_type="ndarray")
    a, b = near[pairs[:, 0]], near[pairs[:, 1]]
    crossing = height[a] * height[b] < 0
    a, b = a[crossing], b[crossing]
    t = (height[a] / (height[a] - height[b]))[:, None]
    distance, _ = cKDTree(vertices[a] * (1 - t) + vertices[b] * t).query(vertices)
    return np.sign(height) * distance


def _nostrils(vertices: Float[np.ndarray, "m 3"], faces: Int[np.ndarray, "g 3"]) -> Float[np.ndarray, "m"]:
    """Return 1 where little of the sky is visible from the nose's underside, by rays over each vertex's hemisphere."""
    chosen = np.flatnonzero(((vertices > NOSE_BOX[0]) & (vertices < NOSE_BOX[1])).all(1))
    golden = np.pi * (3 - np.sqrt(5)) * np.arange(256)
    up = 1 - (np.arange(256) + 0.5) / 128
    sphere = np.stack([np.cos(golden) * np.sqrt(1 - up**2), np.sin(golden) * np.sqrt(1 - up**2), up], axis=1)
    normals = vertex_normals(vertices, faces)[chosen]
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    openness = np.ones(len(vertices))
    for index, normal in zip(chosen, normals, strict=True):
        directions = sphere[sphere @ normal > 0.1]
        origins = np.broadcast_to(vertices[index] + 1e-3 * normal, directions.shape)
        openness[index] = 1 - mesh.ray.intersects_any(origins, directions).mean()
    return 1 - smooth_ramp(openness, *NOSTRIL_OPENNESS)
