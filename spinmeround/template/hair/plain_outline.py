"""The outline of hair without what is too fine for a surface: narrow gaps between tufts, and single tufts."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool

from spinmeround.template.fit.photo_lookup import PhotoEvidence
from spinmeround.template.hair.settings import OutlineSettings

_SETTINGS = OutlineSettings()

_INSIDE = 0.5
"""Value of a matte in [0, 1] from which on a pixel belongs to it."""


def with_plain_outline(photo: PhotoEvidence) -> PhotoEvidence:
    """Return a photo whose hair has no gaps and no tufts that a disc does not fit into.

    A volume continues what a photo shows along its lines of sight: a gap between two tufts would become a tunnel
    through the hair, and a tuft a knob.
    """
    rows, columns = (np.flatnonzero(photo.portrait.observed.any(axis)) for axis in (1, 0))
    shown = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    hair, alpha = (np.array(each, np.float32) for each in (photo.portrait.hair, photo.portrait.alpha))
    gaps = _filtered(hair[shown] > _INSIDE, cv2.MORPH_CLOSE, _SETTINGS.gap * photo.unit_px, cv2.BORDER_CONSTANT)
    gaps &= alpha[shown] < _INSIDE
    hair[shown][gaps] = alpha[shown][gaps] = 1
    person = alpha[shown] > _INSIDE
    # The photo's border is no outline of the hair: the person goes on beyond it.
    tufts = person & ~_filtered(person, cv2.MORPH_OPEN, _SETTINGS.tuft * photo.unit_px, cv2.BORDER_REPLICATE)
    tufts &= hair[shown] > _INSIDE
    hair[shown][tufts] = alpha[shown][tufts] = 0
    return replace(photo, portrait=replace(photo.portrait, hair=hair, alpha=alpha))


def _filtered(
    mask: Bool[np.ndarray, "h w"], operation: int, diameter_px: float, beyond: int
) -> Bool[np.ndarray, "h w"]:
    """Open or close a mask with a disc.

    Args:
        beyond: what lies beyond its border, as OpenCV's type of border.
    """
    radius = round(diameter_px / 2)
    margin = 2 * radius
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), margin, margin, margin, margin, beyond, value=0)
    return cv2.morphologyEx(padded, operation, disc)[margin : -margin or None, margin : -margin or None] > 0
