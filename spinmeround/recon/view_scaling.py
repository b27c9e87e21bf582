"""Views with smaller pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from spinmeround.geometry import resized
from spinmeround.images import resize
from spinmeround.types import Views


def shrink_views(views: Views, size_px: int) -> Views:
    """Resize all pictures so that their longer side is at most ``size_px``; smaller ones are returned as they are."""
    scale = size_px / max(views.cameras.width_px, views.cameras.height_px)
    if scale >= 1:
        return views
    width_px, height_px = round(views.cameras.width_px * scale), round(views.cameras.height_px * scale)

    def smaller(planes: Float[np.ndarray, "v h w *c"]) -> Float[np.ndarray, "v h2 w2 *c"]:
        return np.stack([resize(plane, width_px, height_px) for plane in planes])

    return replace(
        views,
        cameras=resized(views.cameras, width_px, height_px),
        rgb=smaller(views.rgb),
        normals_world=smaller(views.normals_world),
        alpha=smaller(views.alpha),
        weight=smaller(views.weight),
    )
