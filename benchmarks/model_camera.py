"""The camera of the published pictures: calibrated on three real turns, held against the nominal one on held-out data.

    python benchmarks/model_camera.py [--quick]

Optical flow (DIS, Kroeger et al. 2016) is chained over up to eight frames of 7.5 degrees. An assumed camera gives
epipolar lines, and Sampson's distance of the matches to them says how well the assumption does; over 60 degrees wrong
cameras are several pixels off. The elevation, the principal point across and a lean of the axis are fitted with a
robust loss for each assumed focal length and height of the principal point, which the motion hardly tells apart.
Each turn in its turn is held out: the camera fitted to the others says where a point seen in two pictures 60 degrees
apart must lie in the one between.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import datasets
import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from tables import Figure, print_figures, print_table

from spinmeround.diffusion import camera
from spinmeround.diffusion.camera import ModelRig
from spinmeround.orbits import FOCAL_WIDTHS, PRINCIPAL_POINT, orbit_cameras

SPANS = (1, 2, 4, 8)
"""Frames between two pictures that are matched."""
SIZE_PX = 512
_GRID_STEP_PX, _BORDER_PX = 6, 8
_THERE_AND_BACK_PX, _LEAST_GRADIENT = 0.5, 60.0
_ROBUST_PX = 0.5

Matches = Mapping[int, Float[np.ndarray, "n _"]]
"""By span: x and y in one frame and in the later one, pixels; for the longest span also, in the middle, half way."""


@dataclass(frozen=True)
class Camera:
    """A camera that is carried around the head's axis at a constant height, looking at one point of it.

    Attributes:
        lean_deg: of the axis in the picture.
    """

    focal_widths: float
    principal_x: float
    principal_y: float
    elevation_deg: float
    lean_deg: float = 0.0

    @property
    def intrinsics_px(self) -> Float[np.ndarray, "3 3"]:
        """For pictures of 512 pixels."""
        focal = self.focal_widths * SIZE_PX
        return np.array([[focal, 0, self.principal_x * SIZE_PX], [0, focal, self.principal_y * SIZE_PX], [0, 0, 1]])


NOMINAL = Camera(FOCAL_WIDTHS, *PRINCIPAL_POINT, 0.0)
MODEL = Camera(camera.FOCAL_WIDTHS, *camera.PRINCIPAL_POINT, camera.ELEVATION_DEG)


def matches_of(video: str) -> Matches:
    """Points on textured parts of the head, followed from each frame as long as the flow returns to them."""
    frames = datasets.turn_frames(video)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    inside = [cv2.erode(datasets.near_white_mask(f).astype(np.uint8), np.ones((15, 15), np.uint8)) for f in frames]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    neighbours = list(zip(greys, greys[1:] + greys[:1], strict=True))
    there = [flow.calc(a, b, None) for a, b in neighbours]
    back = [flow.calc(b, a, None) for a, b in neighbours]
    found: dict[int, list[Float[np.ndarray, "n _"]]] = {span: [] for span in SPANS}
    for first in range(len(frames)):
        points = _textured(greys[first], inside[first])
        track = points
        for step in range(1, max(SPANS) + 1):
            index = (first + step - 1) % len(frames)
            motion = _look_up(there[index], points)
            moved = points + motion
            returned = np.linalg.norm(motion + _look_up(back[index], moved), axis=1)
            kept = (returned < _THERE_AND_BACK_PX) & (_look_up(inside[(index + 1) % len(frames)], moved) > 0.99)
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
    chosen = (inside[y, x] > 0) & (gradient > _LEAST_GRADIENT)
    return np.stack([x[chosen], y[chosen]], axis=1).astype(np.float32)


def _look_up(field: np.ndarray, points: Float[np.ndarray, "n 2"]) -> np.ndarray:
    table = points[None].astype(np.float32)
    return cv2.remap(field.astype(np.float32), table, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)[0]


def epipolar_px(assumed: Camera, matches: Float[np.ndarray, "n _"], *, span: int) -> Float[np.ndarray, "n"]:
    """Signed Sampson distances, pixels of 512."""
    poses = orbit_cameras([0, datasets.DEGREES_PER_FRAME * span], [assumed.elevation_deg] * 2, size_px=SIZE_PX)
    lean = np.eye(4)
    lean[:3, :3] = cv2.Rodrigues(np.radians([0, 0, assumed.lean_deg]))[0]
    here, later = lean @ poses.camera_from_world
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
    """The elevation, principal x and lean that fit the turns best.

    Returns:
        the camera, the standard error of its elevation in degrees, and the robust cost that is left.
    """

    def camera_at(values: Float[np.ndarray, "3"]) -> Camera:
        return Camera(focal_widths, 0.5 + values[0], principal_y, 10 * values[1], values[2])

    def distances(values: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n"]:
        assumed = camera_at(values)
        # Every point is followed over several spans: long ones are few and say most, short ones are many.
        return np.concatenate(
            [epipolar_px(assumed, turn[span][::3], span=span) / np.sqrt(span) for turn in turns for span in SPANS]
        )

    best = least_squares(distances, np.zeros(3), loss="cauchy", f_scale=_ROBUST_PX)
    covariance = np.linalg.inv(best.jac.T @ best.jac) * 2 * best.cost / len(best.fun)
    return camera_at(best.x), float(10 * np.sqrt(covariance[1, 1])), float(best.cost)


def medians(assumed: Camera, matches: Matches) -> list[float]:
    """Median distance by span."""
    return [float(np.median(np.abs(epipolar_px(assumed, matches[span], span=span)))) for span in SPANS]


def between_px(assumed: Camera, threes: Float[np.ndarray, "n 6"]) -> float:
    """Points triangulated from two pictures 60 degrees apart, projected into the one between: median error, pixels."""
    half = datasets.DEGREES_PER_FRAME * max(SPANS) / 2
    around = orbit_cameras([0, half, 2 * half], [assumed.elevation_deg] * 3, size_px=SIZE_PX)
    projections = assumed.intrinsics_px @ around.camera_from_world[:, :3]
    outer = cv2.triangulatePoints(projections[0], projections[2], threes[:, :2].T, threes[:, 4:].T)
    x, y, depth = projections[1] @ outer
    return float(np.median(np.linalg.norm(np.stack([x / depth, y / depth], 1) - threes[:, 2:4], axis=1)))


def measure(*, quick: bool) -> list[Figure]:
    """All turns, or one when quick."""
    videos = datasets.TURNS[-1:] if quick else datasets.TURNS
    matches = {video: matches_of(video) for video in videos}
    everything = list(matches.values())
    rows = []
    for focal_widths in (3.3, camera.FOCAL_WIDTHS, 4.2647, 5.0, 6.0):
        for principal_y in (0.45, 0.5, camera.PRINCIPAL_POINT[1]):
            found, error, cost = calibrate(everything, focal_widths=focal_widths, principal_y=principal_y)
            place = f"{found.elevation_deg:.2f} ± {error:.2f}"
            rows.append([f"{focal_widths:.3f}", f"{principal_y:.3f}", place, f"{found.principal_x:.3f}",
                         f"{found.lean_deg:+.2f}", f"{cost:.0f}"])  # fmt: skip
    header = ["assumed focal, widths", "assumed principal y", "elevation", "principal x", "lean", "cost"]
    print_table(header, rows, title="fitted to all turns")

    rows = []
    for name, assumed in (("nominal", NOMINAL), ("model", MODEL)):
        for video, found_matches in matches.items():
            rows.append([name, video, *[f"{m:.2f}" for m in medians(assumed, found_matches)]])
    header = ["camera", "turn", *[f"{datasets.DEGREES_PER_FRAME * span:g}°" for span in SPANS]]
    print_table(header, rows, title="median distance of matches to their epipolar lines, pixels of 512")

    own = {"focal_widths": camera.FOCAL_WIDTHS, "principal_y": camera.PRINCIPAL_POINT[1]}
    rows, worst = [], 0.0
    for video, held_out in matches.items():
        others = [m for other, m in matches.items() if other != video] or everything
        found, _, _ = calibrate(others, **own)
        lines, lines_nominal = medians(found, held_out)[-1], medians(NOMINAL, held_out)[-1]
        between, between_nominal = (between_px(c, held_out[max(SPANS)]) for c in (found, NOMINAL))
        worst = max(worst, lines / lines_nominal)
        values = (found.elevation_deg, lines, lines_nominal, between, between_nominal)
        rows.append([video, *[f"{value:.2f}" for value in values]])
    header = ["held-out turn", "elevation", "60° lines", "nominal", "picture between", "nominal"]
    print_table(header, rows, title="camera fitted to the other turns, pixels of 512")
    rig = ModelRig(np.eye(4)).cameras([(0.0, 0.0)], size_px=SIZE_PX)
    assert np.allclose(rig.intrinsics_px[0], MODEL.intrinsics_px)
    note = "matches 60° apart to their epipolar lines, worst turn"
    return [Figure("model camera, held-out turns", worst, 0.5, unit=" of nominal's error", note=note)]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one turn")
    print_figures(measure(quick=parser.parse_args().quick), title="camera of the model's pictures")


if __name__ == "__main__":
    main()
