"""Calibration of the published pictures' camera on three turntable videos, compared with the nominal camera.

    python benchmarks/model_camera.py [--quick]

Optical flow (DIS, Kroeger et al. 2016) is chained over up to eight frames of 7.5 degrees. A candidate camera gives
epipolar lines; the residual is the Sampson distance of the matches to them, which for wrong cameras reaches several
pixels over 60 degrees. Elevation, horizontal principal point and roll of the axis are fitted with a robust loss for
each given focal length and vertical principal point, which the motion hardly constrains. Each video is held out once:
with the camera fitted to the others, points triangulated from two pictures 60 degrees apart are projected into the one
midway between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import datasets
import numpy as np
from command_line import benchmark_parser, run
from jaxtyping import Float
from scipy.optimize import least_squares
from tables import Figure, print_table

from spinmeround.diffusion import camera
from spinmeround.diffusion.camera import ModelRig
from spinmeround.orbits import FOCAL_WIDTHS, PRINCIPAL_POINT, orbit_cameras

SPANS = (1, 2, 4, 8)
"""Frames between two pictures that are matched."""
SIZE_PX = 512
_GRID_STEP_PX, _BORDER_PX = 6, 8
_FORWARD_BACKWARD_PX, _MIN_GRADIENT = 0.5, 60.0
_ROBUST_PX = 0.5

Matches = Mapping[int, Float[np.ndarray, "n _"]]
"""By span: x and y in one frame and in the later one, pixels; for the longest span also those midway, in between."""


@dataclass(frozen=True)
class Camera:
    """A camera that circles the head's axis at a constant elevation, looking at one point of the axis.

    Attributes:
        roll_deg: roll of the axis in the picture.
    """

    focal_widths: float
    principal_x: float
    principal_y: float
    elevation_deg: float
    roll_deg: float = 0.0

    @property
    def intrinsics_px(self) -> Float[np.ndarray, "3 3"]:
        """For pictures of 512 pixels."""
        focal = self.focal_widths * SIZE_PX
        return np.array([[focal, 0, self.principal_x * SIZE_PX], [0, focal, self.principal_y * SIZE_PX], [0, 0, 1]])


NOMINAL = Camera(FOCAL_WIDTHS, *PRINCIPAL_POINT, 0.0)
MODEL = Camera(camera.FOCAL_WIDTHS, *camera.PRINCIPAL_POINT, camera.ELEVATION_DEG)


def matches_of(video: str) -> Matches:
    """Track textured points of the head from each frame while forward and backward flow agree."""
    frames = datasets.turn_frames(video)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    inside = [cv2.erode(datasets.near_white_mask(f).astype(np.uint8), np.ones((15, 15), np.uint8)) for f in frames]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    neighbours = list(zip(greys, greys[1:] + greys[:1], strict=True))
    forward = [flow.calc(a, b, None) for a, b in neighbours]
    backward = [flow.calc(b, a, None) for a, b in neighbours]
    found: dict[int, list[Float[np.ndarray, "n _"]]] = {span: [] for span in SPANS}
    for first in range(len(frames)):
        points = _textured(greys[first], inside[first])
        track = points
        for step in range(1, max(SPANS) + 1):
            index = (first + step - 1) % len(frames)
            motion = _look_up(forward[index], points)
            moved = points + motion
            discrepancy = np.linalg.norm(motion + _look_up(backward[index], moved), axis=1)
            kept = (discrepancy < _FORWARD_BACKWARD_PX) & (_look_up(inside[(index + 1) % len(frames)], moved) > 0.99)
            track, points = track[kept], moved[kept]
            if not len(points):
                break
            if step in found:
                found[step].append(np.concatenate([track, points], axis=1) + 0.5)
            if step == max(SPANS) // 2:
                track = np.concatenate([track, points], axis=1)
    return {span: np.concatenate(parts) for span, parts in found.items()}


def _textured(grey: np.ndarray, inside: np.ndarray) -> Float[np.ndarray, "n 2"]:
    grid = slice(_BORDER_PX, SIZE_PX - _BORDER_PX, _GRID_STEP_PX)
    y, x = np.mgrid[grid, grid]
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))[y, x]
    chosen = (inside[y, x] > 0) & (gradient > _MIN_GRADIENT)
    return np.stack([x[chosen], y[chosen]], axis=1).astype(np.float32)


def _look_up(field: np.ndarray, points: Float[np.ndarray, "n 2"]) -> np.ndarray:
    table = points[None].astype(np.float32)
    return cv2.remap(field.astype(np.float32), table, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)[0]


def sampson_distances_px(assumed: Camera, matches: Float[np.ndarray, "n _"], *, span: int) -> Float[np.ndarray, "n"]:
    """Return signed Sampson distances of matches to their epipolar lines, pixels of a 512-pixel picture."""
    poses = orbit_cameras([0, datasets.DEGREES_PER_FRAME * span], [assumed.elevation_deg] * 2, size_px=SIZE_PX)
    roll = np.eye(4)
    roll[:3, :3] = cv2.Rodrigues(np.radians([0, 0, assumed.roll_deg]))[0]
    here, later = roll @ poses.camera_from_world
    later_from_here = later @ np.linalg.inv(here)
    x, y, z = later_from_here[:3, 3]
    inverse = np.linalg.inv(assumed.intrinsics_px)
    fundamental = inverse.T @ np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ later_from_here[:3, :3] @ inverse
    ones = np.ones((len(matches), 1))
    start, end = np.hstack([matches[:, :2], ones]), np.hstack([matches[:, -2:], ones])
    line, line_back = start @ fundamental.T, end @ fundamental
    slope = (line[:, :2] ** 2).sum(1) + (line_back[:, :2] ** 2).sum(1)
    return (end * line).sum(1) / np.sqrt(np.maximum(slope, 1e-30))


def calibrate(turns: Sequence[Matches], *, focal_widths: float, principal_y: float) -> tuple[Camera, float, float]:
    """Fit elevation, horizontal principal point and roll to the videos.

    Returns:
        the camera, the standard error of its elevation in degrees, and the final robust cost.
    """

    def camera_at(values: Float[np.ndarray, "3"]) -> Camera:
        return Camera(focal_widths, 0.5 + values[0], principal_y, 10 * values[1], values[2])

    def distances(values: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n"]:
        assumed = camera_at(values)
        # Every point is tracked over several spans; long spans are the fewest and the most informative.
        return np.concatenate(
            [
                sampson_distances_px(assumed, turn[span][::3], span=span) / np.sqrt(span)
                for turn in turns
                for span in SPANS
            ]
        )

    best = least_squares(distances, np.zeros(3), loss="cauchy", f_scale=_ROBUST_PX)
    covariance = np.linalg.inv(best.jac.T @ best.jac) * 2 * best.cost / len(best.fun)
    return camera_at(best.x), float(10 * np.sqrt(covariance[1, 1])), float(best.cost)


def medians(assumed: Camera, matches: Matches) -> list[float]:
    """Return the median absolute distance by span."""
    return [float(np.median(np.abs(sampson_distances_px(assumed, matches[span], span=span)))) for span in SPANS]


def middle_view_error_px(assumed: Camera, triples: Float[np.ndarray, "n 6"]) -> float:
    """Triangulate from two pictures 60 degrees apart, project into the one midway; return the median error, pixels."""
    half = datasets.DEGREES_PER_FRAME * max(SPANS) / 2
    around = orbit_cameras([0, half, 2 * half], [assumed.elevation_deg] * 3, size_px=SIZE_PX)
    projections = assumed.intrinsics_px @ around.camera_from_world[:, :3]
    outer = cv2.triangulatePoints(projections[0], projections[2], triples[:, :2].T, triples[:, 4:].T)
    x, y, depth = projections[1] @ outer
    return float(np.median(np.linalg.norm(np.stack([x / depth, y / depth], 1) - triples[:, 2:4], axis=1)))


def measure(*, quick: bool) -> list[Figure]:
    """Measure all videos, or one if quick."""
    videos = datasets.TURNS[-1:] if quick else datasets.TURNS
    matches = {video: matches_of(video) for video in videos}
    everything = list(matches.values())
    rows = []
    for focal_widths in (3.3, camera.FOCAL_WIDTHS, 4.2647, 5.0, 6.0):
        for principal_y in (0.45, 0.5, camera.PRINCIPAL_POINT[1]):
            found, error, cost = calibrate(everything, focal_widths=focal_widths, principal_y=principal_y)
            place = f"{found.elevation_deg:.2f} ± {error:.2f}"
            rows.append([f"{focal_widths:.3f}", f"{principal_y:.3f}", place, f"{found.principal_x:.3f}",
                         f"{found.roll_deg:+.2f}", f"{cost:.0f}"])  # fmt: skip
    header = ["assumed focal, widths", "assumed principal y", "elevation", "principal x", "roll", "cost"]
    print_table(header, rows, title="fitted to all videos")

    rows = []
    for name, assumed in (("nominal", NOMINAL), ("model", MODEL)):
        for video, found_matches in matches.items():
            rows.append([name, video, *[f"{m:.2f}" for m in medians(assumed, found_matches)]])
    header = ["camera", "video", *[f"{datasets.DEGREES_PER_FRAME * span:g}°" for span in SPANS]]
    print_table(header, rows, title="median distance of matches to their epipolar lines, pixels of 512")

    model_intrinsics = {"focal_widths": camera.FOCAL_WIDTHS, "principal_y": camera.PRINCIPAL_POINT[1]}
    rows, worst = [], 0.0
    for video, held_out in matches.items():
        others = [m for other, m in matches.items() if other != video] or everything
        found, _, _ = calibrate(others, **model_intrinsics)
        lines, lines_nominal = medians(found, held_out)[-1], medians(NOMINAL, held_out)[-1]
        middle, middle_nominal = (middle_view_error_px(c, held_out[max(SPANS)]) for c in (found, NOMINAL))
        worst = max(worst, lines / lines_nominal)
        values = (found.elevation_deg, lines, lines_nominal, middle, middle_nominal)
        rows.append([video, *[f"{value:.2f}" for value in values]])
    header = ["held-out video", "elevation", "60° lines", "nominal", "middle view", "nominal"]
    print_table(header, rows, title="camera fitted to the other videos, pixels of 512")
    rig = ModelRig(np.eye(4)).cameras([(0.0, 0.0)], size_px=SIZE_PX)
    assert np.allclose(rig.intrinsics_px[0], MODEL.intrinsics_px)
    note = "matches 60° apart to their epipolar lines, worst video"
    return [Figure("model camera, held-out videos", worst, 0.5, unit=" of nominal's error", note=note)]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="one turn"), title="camera of the model's pictures")


if __name__ == "__main__":
    main()
