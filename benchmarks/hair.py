"""Hair against the photo: does it run where the photo's hair runs, and is its outline as ragged.

    python benchmarks/hair.py [--quick] [--only p06 --only p18] [--sheet OUT.png] [--workers 2]

The people are those of ``people.py`` whose hair covers over 5 % of the portrait, all seen from the photo's own camera.

"angle" is the median angle between the orientation of hair in the photo and of our nearest strands, where both show
hair, weighted by the confidence of both; strands at random would have 45 degrees. It is that of the strands' geometry:
their colours come from the photo, so a picture of them follows it wherever they run. "distinct" is the mean confidence
in our picture against that in the photo: below 1 the strands are less distinct. "fringe" is the rms displacement of the
outline in wavelengths of 2 to 8 mm, soft alpha included, and the ratio of ours to the photo's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import heads
import numpy as np
import people
from command_line import benchmark_parser, run
from jaxtyping import Bool, Float, UInt8
from pictures import write_scaled_sheet
from scipy import ndimage
from tables import Figure, print_table

from spinmeround.geometry import MILLIMETRE, project
from spinmeround.images import composite, to_uint8
from spinmeround.template.generator import TemplateHead
from spinmeround.template.hair.curl import measure_curl
from spinmeround.template.hair.orientation import HairOrientation, measure_orientation
from spinmeround.types import Cameras, HairStrands, Portrait

QUICK = ("p02", "p06", "p08")
MIN_HAIR = 0.05
"""Fraction of the portrait from which hair is compared."""
_CHIN = 152
"""Index of the landmark on the chin."""
_STRAND_LAYER_MM = 2.0
"""Strands so far behind the nearest one in a pixel still show."""


@dataclass(frozen=True)
class FringeSettings:
    """How ragged an outline is; lengths in millimetres.

    Attributes:
        contour_blur: standard deviation of the blur of alpha whose contour is followed: longer waves of the outline
            than the band are part of that contour.
        reach: range across the contour over which alpha is summed, outward: wisps count up to there.
        step: between samples along the contour, and across it.
        window: length of a window of the spectrum, Hann-weighted, half overlapping.
        wavelengths: shortest and longest of the band.
        hair_inside: so far inside the contour there must be hair of the photo.
        clear: so far around it there must be no clothes and no border of the photo.
        near: our contour counts within this distance of the photo's.
    """

    contour_blur: float = 2.0
    reach: tuple[float, float] = (-2.5, 4.0)
    step: float = 0.5
    window: float = 24.0
    wavelengths: tuple[float, float] = (2.0, 8.0)
    hair_inside: float = 4.0
    clear: float = 5.0
    near: float = 12.0


_FRINGE = FringeSettings()


def median_angle_deg(
    photo: HairOrientation, ours: HairOrientation, counts: Bool[np.ndarray, "h w"]
) -> tuple[float, float]:
    """Return the median angle between two orientations, weighted by both confidences, and the ratio of confidences."""
    weight = (photo.confidence * ours.confidence)[counts]
    between = np.abs((photo.angle - ours.angle + np.pi / 2) % np.pi - np.pi / 2)[counts]
    order = np.argsort(between)
    cumulated = np.cumsum(weight[order])
    ratio = float(ours.confidence[counts].sum() / max(photo.confidence[counts].sum(), 1e-9))
    if not len(cumulated) or cumulated[-1] <= 0:
        return np.nan, ratio
    return float(np.degrees(between[order][np.searchsorted(cumulated, cumulated[-1] / 2)])), ratio


def orientation_of_strands(strands: HairStrands, camera: Cameras) -> HairOrientation:
    """Return the orientation of the nearest strands themselves in a camera's picture, whatever their colours.

    A picture whose colours come from the photo follows the photo even where its strands do not.

    Args:
        camera: a single one.
    """
    kept = (strands.widths[:, 1:] > 0).ravel()
    ends = project(strands.points.reshape(-1, 3), camera.camera_from_world[0], camera.intrinsics_px[0])
    ends = ends.reshape(*strands.points.shape)
    first, last = ends[:, :-1].reshape(-1, 3)[kept], ends[:, 1:].reshape(-1, 3)[kept]
    # As many samples on every segment as the longest one needs for one a pixel.
    extent = np.abs(last - first)[:, :2].max(initial=1.0)
    share = (np.arange(int(np.ceil(extent))) + 0.5) / np.ceil(extent)
    samples = first[:, None] + share[:, None] * (last - first)[:, None]
    along = last[:, :2] - first[:, :2]
    doubled = np.repeat(2 * np.arctan2(along[:, 1], along[:, 0]), len(share))
    column, row, depth = np.floor(samples[..., 0]).ravel(), np.floor(samples[..., 1]).ravel(), samples[..., 2].ravel()
    seen = (column >= 0) & (column < camera.width_px) & (row >= 0) & (row < camera.height_px) & (depth > 0)
    pixel = (row * camera.width_px + column)[seen].astype(np.int64)
    n_pixels = camera.width_px * camera.height_px
    nearest = np.full(n_pixels, np.inf)
    np.minimum.at(nearest, pixel, depth[seen])
    front = depth[seen] < nearest[pixel] + _STRAND_LAYER_MM * MILLIMETRE
    cosine, sine, count = (
        np.bincount(pixel[front], part[seen][front], n_pixels).reshape(camera.height_px, camera.width_px)
        for part in (np.cos(doubled), np.sin(doubled), np.ones(len(doubled)))
    )
    return HairOrientation(np.mod(0.5 * np.arctan2(sine, cosine), np.pi), np.hypot(cosine, sine) / np.maximum(count, 1))


def contours(alpha: Float[np.ndarray, "h w"], *, mm_px: float) -> list[tuple[Float[np.ndarray, "n 2"], ...]]:
    """Return points and outward unit normals, evenly spaced, of each closed contour of the blurred alpha, pixels."""
    s = _FRINGE
    smooth = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), s.contour_blur * mm_px)
    found, _ = cv2.findContours((smooth > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    slope_x, slope_y = (
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    curves = []
    for contour in found:
        points = contour[:, 0].astype(np.float64)
        if len(points) < s.window * mm_px:
            continue
        # From pixels on the inner side of the contour to the contour itself: Newton's method along the gradient.
        for _ in range(3):
            gradient = np.stack([_at(slope_x, points), _at(slope_y, points)], axis=1)
            squared = np.maximum((gradient**2).sum(1), 1e-6)
            move = ((0.5 - _at(smooth, points)) / squared)[:, None] * gradient
            points += move / np.maximum(np.linalg.norm(move, axis=1, keepdims=True), 1)
        points = _evenly_spaced(points, s.step * mm_px)
        gradient = np.stack([_at(slope_x, points), _at(slope_y, points)], axis=1)
        curves.append((points, -gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)))
    return curves


def _evenly_spaced(points: Float[np.ndarray, "n 2"], step: float) -> Float[np.ndarray, "m 2"]:
    closed = np.concatenate([points, points[:1]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    wanted = np.arange(0, along[-1], step)
    return np.stack([np.interp(wanted, along, closed[:, axis]) for axis in (0, 1)], axis=1)


def _at(values: Float[np.ndarray, "h w"], points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
    """Look values up bilinearly; (0, 0) is the middle of the first pixel here."""
    rows_and_columns = np.moveaxis(points[..., ::-1], -1, 0)
    return ndimage.map_coordinates(values, rows_and_columns, np.float64, order=1, mode="nearest")


def fringe_mm(alpha: Float[np.ndarray, "h w"], counts: Bool[np.ndarray, "h w"], *, mm_px: float) -> float:
    """Return how ragged the outline of a matte is: the rms displacement in a band of wavelengths, millimetres.

    Alpha is summed along the normals of the smoothed contour. The sum varies along a sharp outline by its displacement;
    along a soft one it does so too, and wisps outside it count by their opacity. Softness alone adds nothing.

    Args:
        counts: where the contour is used.
        mm_px: pixels per millimetre.

    Returns:
        NaN if no window of the contour counts.
    """
    s = _FRINGE
    length = round(s.window / s.step)
    taper = np.hanning(length + 1)[:-1]
    wavelengths = s.window / np.maximum(np.arange(length // 2 + 1), 1e-9)
    band = (wavelengths >= s.wavelengths[0] - 1e-6) & (wavelengths <= s.wavelengths[1] + 1e-6)
    offsets = np.arange(s.reach[0] + s.step / 2, s.reach[1], s.step)
    powers = []
    for points, normals in contours(alpha, mm_px=mm_px):
        used = _at(counts.astype(np.float32), points) > 0.5
        samples = points + (offsets * mm_px)[:, None, None] * normals
        displacement = _at(alpha, samples).sum(axis=0) * s.step
        for first in range(0, len(points), length // 2):
            window = np.arange(first, first + length) % len(points)
            if len(points) >= length and used[window].all():
                spectrum = np.fft.rfft((displacement[window] - displacement[window].mean()) * taper)
                powers.append(2 * (np.abs(spectrum[band]) ** 2).sum() / (length * (taper**2).sum()))
    return float(np.sqrt(np.mean(powers))) if powers else np.nan


def hair_outline(portrait: Portrait, *, mm_px: float) -> Bool[np.ndarray, "h w"]:
    """Return where the photo's outline is that of hair beside background, above the chin."""
    s = _FRINGE
    clear = 2 * round(s.clear * mm_px) + 1
    excluded = ~portrait.observed | (portrait.clothes + portrait.headwear > 0.3)
    excluded[[0, -1]] = excluded[:, [0, -1]] = True
    usable = cv2.dilate(excluded.astype(np.uint8), np.ones((clear, clear), np.uint8)) == 0
    usable &= (np.arange(len(usable)) < portrait.landmarks_px[_CHIN, 1])[:, None]
    at_hair = np.zeros(usable.shape, np.uint8)
    for points, normals in contours(portrait.alpha, mm_px=mm_px):
        inside = _at(portrait.hair, points - s.hair_inside * mm_px * normals) > 0.5
        for x, y in points[inside & (_at(usable.astype(np.float32), points) > 0.5)]:
            at_hair[round(y), round(x)] = 1
    return _near(at_hair, s.near * mm_px) & usable


def _near(marked: UInt8[np.ndarray, "h w"], radius_px: float) -> Bool[np.ndarray, "h w"]:
    return cv2.distanceTransform(1 - marked, cv2.DIST_L2, 5) < radius_px


def rendered_hair(
    head: TemplateHead,
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Return colours over white, alpha, and coverage by hair of our picture from the photo's camera."""
    # What does not change with the colour of the skin is hair; adding half of the range changes any colour.
    recoloured = replace(head, skin=replace(head.skin, albedo=(head.skin.albedo + 0.5) % 1))
    ours, other = (each.render(head.photo_cameras[0]) for each in (head, recoloured))
    over, other_over = (composite(views.rgb, views.alpha)[0] for views in (ours, other))
    skin = np.clip(np.abs(over - other_over).max(axis=2) / 0.5, 0, 1)
    return over, ours.alpha[0], np.clip(ours.alpha[0] - skin, 0, 1)


def figures_of_head(head: TemplateHead, portrait: Portrait) -> tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]]:
    """Return the figures of one head, and a row of pictures: the photo, ours, and the orientation of both."""
    camera = head.photo_cameras[0]
    unit_px = float(camera.intrinsics_px[0, 0, 0] / camera.camera_from_world[0, 2, 3])
    mm_px = unit_px * MILLIMETRE
    over, alpha, hair = rendered_hair(head)
    both = np.minimum(portrait.hair, hair).astype(np.float32)
    photo, ours = (measure_orientation(rgb, both, unit_px=unit_px) for rgb in (portrait.rgb, over))
    counts = both > 0.5
    _, distinct = median_angle_deg(photo, ours, counts)
    strands = head.hair_strands()
    angle = np.nan
    if strands is not None:
        angle, _ = median_angle_deg(photo, orientation_of_strands(strands, camera), counts)
    outline = hair_outline(portrait, mm_px=mm_px)
    fringes = [
        fringe_mm(np.where(portrait.observed, each, 0), outline, mm_px=mm_px) for each in (portrait.alpha, alpha)
    ]
    curls = [measure_curl(each, both, unit_px=unit_px) for each in (photo, ours)]
    figures = {
        "angle": angle,
        "distinct": distinct,
        "fringe, photo mm": fringes[0],
        "fringe, ours mm": fringes[1],
        "fringe ratio": fringes[1] / max(fringes[0], 1e-9),
        "IoU": people.silhouette_iou(head, portrait),
        "covered": float(counts.sum() / max((portrait.hair > 0.5).sum(), 1)),
        "waves, photo mm": curls[0].amplitude / MILLIMETRE,
        "waves, ours mm": curls[1].amplitude / MILLIMETRE,
        "coherence, photo": curls[0].coherence,
        "coherence, ours": curls[1].coherence,
    }
    drawn = [_with_orientation(to_uint8(rgb), each) for rgb, each in ((portrait.rgb, photo), (over, ours))]
    return figures, np.hstack([to_uint8(portrait.rgb), to_uint8(over), *drawn])


def _with_orientation(rgb: UInt8[np.ndarray, "h w 3"], orientation: HairOrientation) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture with a stroke every few pixels where the orientation is known."""
    spacing, half, shift = 10, 5.0, 4
    drawn = rgb.copy()
    for row in range(spacing // 2, len(rgb), spacing):
        for column in range(spacing // 2, rgb.shape[1], spacing):
            if orientation.confidence[row, column] > 0.3:
                angle = orientation.angle[row, column]
                along = half * np.array([np.cos(angle), np.sin(angle)])
                ends = [
                    tuple(np.rint(((column, row) + sign * along) * 2**shift).astype(int).tolist()) for sign in (-1, 1)
                ]
                cv2.line(drawn, ends[0], ends[1], (60, 255, 60), 1, cv2.LINE_AA, shift)
    return drawn


def measure_photo(photo: Path) -> tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]] | None:
    """Return the figures of one photo, and a row of pictures; None if it shows too little hair."""
    portrait = heads.portrait_of(photo)
    if portrait.hair.mean() <= MIN_HAIR:
        return None
    head, (portrait,) = heads.fit([photo])
    return figures_of_head(head, portrait)


def figures_of(measured: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """Return the figures and bars from the figures by photo."""

    def values(name: str) -> Float[np.ndarray, "n"]:
        return np.array([figures[name] for figures in measured.values()])

    angle, iou = values("angle"), values("IoU")
    ratio = np.log(np.maximum(values("fringe ratio"), 1e-3))
    return [
        Figure("strands to the photo's, mean", float(np.nanmean(angle)), 15, unit="°", note="chance is 45°"),
        Figure("strands to the photo's, worst", float(np.nanmax(angle)), unit="°"),
        Figure("distinctness of strands, ours / photo", float(np.nanmean(values("distinct")))),
        Figure("fringe of the outline, ours / photo", float(np.exp(np.nanmean(ratio))), note="geometric mean"),
        Figure("fringe of the outline, factor", float(np.exp(np.nanmean(np.abs(ratio)))), 2, note="either way"),
        Figure("outline IoU, mean", float(iou.mean()), 0.97, at_most=False),
    ]


def measure(
    *, quick: bool, only: Sequence[str] | None = None, workers: int = 2, sheet: Path | None = None
) -> list[Figure]:
    """Measure all people with hair, three of them if quick; print every figure."""
    photos = people.photos()
    chosen = {name: path for name, path in photos.items() if name in (only or (QUICK if quick else photos))}
    # Spawned, since threads of numba and torch do not survive a fork.
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        every = dict(zip(chosen, pool.map(measure_photo, chosen.values()), strict=True))
    return report({name: one for name, one in every.items() if one is not None}, sheet=sheet)


def report(
    measured: Mapping[str, tuple[dict[str, float], UInt8[np.ndarray, "h w 3"]]], *, sheet: Path | None
) -> list[Figure]:
    """Print a table of the people, write the sheets, and return the figures.

    Raises:
        ValueError: nobody was measured.
    """
    if not measured:
        raise ValueError(
            f"no person with hair on over {MIN_HAIR:.0%} of the portrait was chosen; choose others by --only"
        )
    figures = {name: one for name, (one, _) in measured.items()}
    columns = list(next(iter(figures.values())))
    rows = [[name, *[f"{one[c]:.3g}" for c in columns]] for name, one in figures.items()]
    print_table(["person", *columns], rows, title="hair")
    if sheet is not None:
        pictures = [row for _, row in measured.values()]
        for first in range(0, len(pictures), 6):
            path = sheet.with_name(f"{sheet.stem}_{first // 6}{sheet.suffix}")
            write_scaled_sheet(path, pictures[first : first + 6], 0.5)
    return figures_of(figures)


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(
        __doc__, quick="three people", sheet="each photo, our picture, and the orientation of both; six people a file"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="a person; may be given several times")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="people at a time")
    run(measure, parser, title="hair")


if __name__ == "__main__":
    main()
