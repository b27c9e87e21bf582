"""Head bake: soft masks on the dense vertices: ears, scalp, hairline, lips, lids, neck, face, cavities, nostrils.

Lips, lids and ears come from MakeHuman's painted masks; the hairline is drawn on the mean head by control points;
nostrils are the parts of the nose's underside that hardly any direction sees.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import PchipInterpolator

from spinmeround.mesh_raster import rasterize
from spinmeround.orbits import orbit_cameras

HAIRLINE = np.array(
    [
        (0, 0.190), (14, 0.196), (28, 0.200), (38, 0.178), (46, 0.135), (56, 0.075), (64, 0.035), (69, -0.020),
        (75, -0.040), (80, -0.030), (85, 0.030), (95, 0.045), (104, 0.020), (112, -0.040), (122, -0.095),
        (140, -0.135), (160, -0.155), (180, -0.160),
    ]
)  # fmt: skip
"""Azimuth about the vertical axis through ``SKULL_AXIS_Z`` (degrees from the front) and height of the hairline on the
mean head: trichion at a third of the face, temple recess, sideburn, arch over the ear, nape."""
SKULL_AXIS_Z = 0.0
HAIRLINE_HALF_WIDTH = 0.03
"""Head units from the hairline to where its ramp ends."""

NECKLINE = np.array([(-0.30, -0.170), (-0.10, -0.150), (-0.02, -0.130), (0.19, -0.268), (0.30, -0.310)])
"""Depth and height of the border between head and neck: nape, ear lobe, under the chin."""

NOSE_BOX = np.array([(-0.045, -0.175, 0.20), (0.045, -0.115, 0.30)])


def make_masks(
    vertices: Float[np.ndarray, "m 3"],
    faces: Int[np.ndarray, "g 3"],
    on_skin: Float[np.ndarray, "m"],
    painted: dict[str, Float[np.ndarray, "m"]],
    cavity: Float[np.ndarray, "m"],
) -> dict[str, Float[np.ndarray, "m"]]:
    """All masks of the head model, each in [0, 1].

    Args:
        vertices: the dense mean head.
        on_skin: 1 on the skin sheet, 0 on eyes, teeth and tongue.
        painted: ``lips``, ``eyelids``, ``ears`` on the same vertices.
        cavity: 1 in the eye sockets and the mouth, within the skin sheet.
    """
    x, y, z = vertices.T
    outside = on_skin * (1 - cavity)
    ear = _step(painted["ears"], 0.25, 0.6) * outside
    azimuth = np.degrees(np.arctan2(np.abs(x), z - SKULL_AXIS_Z))
    above = y - PchipInterpolator(*HAIRLINE.T)(azimuth)
    hairline = np.clip(above / (2 * HAIRLINE_HALF_WIDTH) + 0.5, 0, 1) * outside * (1 - ear)
    scalp = _step(hairline, 0.4, 0.6)
    neck = _step(np.interp(z, *NECKLINE.T) - y, -0.012, 0.012) * outside * (1 - ear) * (1 - scalp)
    in_nose = ((vertices > NOSE_BOX[0]) & (vertices < NOSE_BOX[1])).all(1)
    hidden = 1 - _step(_seen_share(vertices, faces), 0.02, 0.12)
    return {
        "ear_left": ear * (x > 0),
        "ear_right": ear * (x < 0),
        "scalp": scalp,
        "hairline": hairline,
        "lips": _step(painted["lips"], 0.1, 0.9) * outside,
        "lids": _step(painted["eyelids"], 0.1, 0.9) * outside,
        "neck": neck,
        "face": np.clip(outside - ear - scalp - neck, 0, 1),
        "cavity": cavity,
        "nostrils": hidden * in_nose * outside,
    }


def _step(value: Float[np.ndarray, "m"], low: float, high: float) -> Float[np.ndarray, "m"]:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _seen_share(vertices: Float[np.ndarray, "m 3"], faces: Int[np.ndarray, "g 3"]) -> Float[np.ndarray, "m"]:
    """Share of directions of the front half sphere from which a vertex is seen, by z-buffer."""
    directions = [(a, e) for e in (-60.0, -30.0, 0.0, 30.0) for a in (-80.0, -50.0, -25.0, 0.0, 25.0, 50.0, 80.0)]
    cameras = orbit_cameras([d[0] for d in directions], [d[1] for d in directions], size_px=768)
    seen = np.zeros(len(vertices))
    for index in range(len(cameras)):
        buffer = rasterize(vertices, faces, cameras, index)
        seen[np.unique(faces[buffer.face[buffer.face >= 0]])] += 1
    return seen / len(directions)
