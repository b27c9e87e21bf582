"""Strands of hair continued by exemplar: patches of the photo's own hair, turned upright and quilted together.

Method: Efros and Freeman, "Image quilting for texture synthesis and transfer" (2001), with patches turned so that
their strands run down, and blended overlaps that keep their deviation instead of cut ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numba
import numpy as np
from jaxtyping import Float

from spinmeround.template.photo_evidence import PhotoEvidence

_PATCHES = 600
"""Patches of strands taken from a photo."""
_TRIES = 24
"""Patches tried at a place."""
_SIDES = (60, 48, 36)
"""Sides of a patch in texels; the largest of which the photo's hair holds enough is used."""
_SMALLEST = 16
"""Side of the patches that cropped hair is learnt from, texels."""


def quilt_strands(
    evidence: Sequence[PhotoEvidence],
    shape: tuple[int, int],
    texel: float,
    *,
    generator: np.random.Generator,
) -> Float[np.ndarray, "h w 3"]:
    """Fine detail of hair over a map that closes around its columns, strands running down the rows.

    Args:
        shape: rows and columns of the map.
        texel: side of a texel in head units.
        generator: draws patches and tries.

    Returns:
        Offsets to a slow colour, about zero mean; all 0 where the photos hold too little hair to learn from.
    """
    height, width = shape
    for side in _SIDES:
        bank = _gather_patches(evidence, side, texel, generator)
        if len(bank) < 30:
            continue
        step = side * 2 // 3
        grid = np.meshgrid(np.arange(0, height - step, step), np.arange(0, width, step), indexing="ij")
        # Shaken places keep the eye from finding rows and columns; few tries keep one patch from winning everywhere.
        shaken = np.stack(grid, axis=-1).reshape(-1, 2) + generator.integers(
            -side // 8, side // 8 + 1, (grid[0].size, 2)
        )
        places = np.stack([np.clip(shaken[:, 0], 0, height - side), shaken[:, 1] % width], axis=1)
        tries = generator.integers(0, len(bank), size=(len(places), _TRIES))
        return _quilt(bank, places, tries, _window(side), height, width)
    return _scatter(evidence, texel, height, width, generator)


def _window(side: int):
    """Weight of a patch: 1 in the middle, falling over a third of the side."""
    rise = np.minimum(np.arange(side) + 1, np.arange(side)[::-1] + 1) / (side // 3 + 1)
    rise = np.minimum(rise, 1)
    return (rise[:, None] * rise[None]).astype(np.float32)


def _scatter(evidence: Sequence[PhotoEvidence], texel: float, height: int, width: int, generator: np.random.Generator):
    """Cropped hair: small patches thrown at random with random sign, which keeps their spectrum and repeats nothing.

    Method: spot noise (van Wijk 1991), whose spectrum is that of its spots.
    """
    side = _SMALLEST
    bank = _gather_patches(evidence, side, texel, generator, upright=False)
    if len(bank) < 30:
        return np.zeros((height, width, 3), np.float32)
    count = 12 * height * width // side**2
    places = np.stack([generator.integers(0, height - side, count), generator.integers(0, width, count)], axis=1)
    picks = generator.integers(0, 2 * len(bank), size=(count, 1))
    return _quilt(np.concatenate([bank, -bank]), places, picks, _window(side), height, width)


def _gather_patches(
    evidence: Sequence[PhotoEvidence], side: int, texel: float, generator: np.random.Generator, *, upright: bool = True
):
    return np.concatenate([_patches_of_photo(photo, side, texel, generator, upright) for photo in evidence])


def _patches_of_photo(photo: PhotoEvidence, side: int, texel: float, generator: np.random.Generator, upright: bool):
    """Detail patches [n side side 3] of one photo at the map's scale, their strands turned upright or at random."""
    # Texels per pixel where the head's centre lies.
    scale = photo.camera_from_world[2, 3] / photo.intrinsics_px[0, 0] / texel
    rgb = photo.portrait.rgb.astype(np.float32)
    sure = ((photo.portrait.hair > 0.85) & photo.portrait.observed).astype(np.uint8)
    # What is slower than a patch would show as a pattern of patches.
    detail = _detail(rgb, sure.astype(np.float32), sigma_px=side / 8 / scale)
    # The largest square that turns freely inside the hair has this half diagonal; corners may reach out a little.
    room = cv2.distanceTransform(sure, cv2.DIST_L2, 5)
    rows, columns = np.nonzero(room > 0.6 * side / scale)
    if len(rows) < max(30, 0.5 * (side / scale) ** 2 * upright):
        # Upright patches are quilted, and would show as repeats if they all came from one spot.
        return np.zeros((0, side, side, 3), np.float32)
    chosen = generator.integers(0, len(rows), size=_PATCHES)
    angle = _strand_angle(rgb, sigma_px=max(side / scale / 4, 1.5))
    if not upright:
        angle = generator.uniform(0, 2 * np.pi, angle.shape)
    flips = generator.integers(0, 2, size=_PATCHES)
    patches = np.empty((_PATCHES, side, side, 3), np.float32)
    for k, (row, column) in enumerate(zip(rows[chosen], columns[chosen], strict=True)):
        # Columns of the matrix: the photo's direction across and along the strands, per texel.
        along = np.array([np.cos(angle[row, column]), np.sin(angle[row, column])]) / scale
        across = np.array([along[1], -along[0]]) * (1 if flips[k] else -1)
        corner = np.array([column, row]) - (across + along) * (side / 2)
        matrix = np.stack([across, along, corner], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patches[k] = cv2.warpAffine(detail, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return patches


def _detail(rgb, sure, sigma_px: float):
    """The photo less its blur within the hair."""
    weights = cv2.GaussianBlur(sure, (0, 0), sigma_px)
    blurred = cv2.GaussianBlur(rgb * sure[..., None], (0, 0), sigma_px) / np.maximum(weights, 1e-3)[..., None]
    return (rgb - blurred) * sure[..., None]


def _strand_angle(rgb, sigma_px: float):
    """Direction of the strands per pixel in radians, pointing down the picture, from the structure tensor."""
    grey = cv2.GaussianBlur(rgb @ np.array([0.3, 0.6, 0.1], np.float32), (0, 0), 0.8)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx, yy, xy = (cv2.GaussianBlur(p, (0, 0), sigma_px) for p in (dx * dx, dy * dy, dx * dy))
    across = 0.5 * np.arctan2(2 * xy, xx - yy)
    along = across + np.pi / 2
    return np.where(np.sin(along) < 0, along + np.pi, along)


@numba.njit(cache=True)
def _quilt(bank, places, tries, window, height, width):
    side = window.shape[0]
    out = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width), np.float32)
    energy = np.zeros((height, width), np.float32)
    for p in range(places.shape[0]):
        top, left = places[p, 0], places[p, 1]
        best, best_error = tries[p, 0], np.inf
        for t in range(tries.shape[1]):
            patch = bank[tries[p, t]]
            error = 0.0
            for r in range(0, side, 2):
                for c in range(0, side, 2):
                    x = (left + c) % width
                    w = weight[top + r, x]
                    if w > 0:
                        for k in range(3):
                            d = out[top + r, x, k] / w - patch[r, c, k]
                            error += d * d
                if error >= best_error:
                    break
            if error < best_error:
                best, best_error = tries[p, t], error
        for r in range(side):
            for c in range(side):
                x = (left + c) % width
                w = window[r, c]
                for k in range(3):
                    out[top + r, x, k] += w * bank[best, r, c, k]
                weight[top + r, x] += w
                energy[top + r, x] += w * w
    for r in range(height):
        for c in range(width):
            if weight[r, c] > 0:
                # Averaging unrelated strands flattens them; dividing by the root of the energy keeps their deviation.
                scale = 1 / np.sqrt(energy[r, c])
                for k in range(3):
                    out[r, c, k] *= scale
    return out
