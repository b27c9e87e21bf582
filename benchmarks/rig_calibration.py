"""Which camera the published turns were seen with: what the motion between neighbouring frames says.

    python benchmarks/rig_calibration.py [--quick]

Optical flow (DIS, Kroeger et al. 2016) between neighbours gives matches, an assumed camera gives epipolar lines, and
the median distance between them (Sampson's) says how well the assumption does. Elevation and principal point can
stand in for each other, focal length hardly matters.
"""

from __future__ import annotations

import argparse

import cv2
import datasets
import numpy as np
from jaxtyping import Float
from tables import print_table

from spinmeround.orbits import FOCAL_WIDTHS, orbit_cameras

ELEVATIONS_DEG = (-2.0, 0.0, 2.0, 4.0, 6.0)
PRINCIPAL_POINTS_Y = (0.35, 0.40, 0.425, 0.45, 0.475, 0.50)
_GRID_STEP_PX, _BORDER_PX = 6, 8
_THERE_AND_BACK_PX, _LEAST_MOTION_PX, _LEAST_GRADIENT = 0.5, 4.0, 60.0

Matches = list[tuple[int, Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]]
"""Frame, homogeneous points in it, the same points in the next frame."""


def matches_of(video: str) -> Matches:
    """Points on textured parts of the head that the flow takes there and back again."""
    frames = datasets.turn_frames(video)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    inside = [cv2.erode(datasets.near_white_mask(f).astype(np.uint8), np.ones((15, 15), np.uint8)) for f in frames]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    out = []
    for k, (grey, following) in enumerate(zip(greys, greys[1:] + greys[:1], strict=True)):
        there, back = flow.calc(grey, following, None), flow.calc(following, grey, None)
        size = len(grey)
        y, x = np.mgrid[_BORDER_PX : size - _BORDER_PX : _GRID_STEP_PX, _BORDER_PX : size - _BORDER_PX : _GRID_STEP_PX]
        on_head = inside[k][y, x] > 0
        x, y = x[on_head], y[on_head]
        motion = there[y, x]
        x2, y2 = (x + motion[:, 0]).astype(np.float32), (y + motion[:, 1]).astype(np.float32)
        returned = motion + cv2.remap(back, x2[None], y2[None], cv2.INTER_LINEAR)[0]
        gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))[y, x]
        good = (np.linalg.norm(returned, axis=1) < _THERE_AND_BACK_PX) & (gradient > _LEAST_GRADIENT)
        good &= np.linalg.norm(motion, axis=1) > _LEAST_MOTION_PX
        ones = np.ones(good.sum())
        out.append((k, np.stack([x[good] + 0.5, y[good] + 0.5, ones], 1), np.stack([x2[good], y2[good], ones], 1)))
        out[-1][2][:, :2] += 0.5
    return out


def epipolar_error_px(matches: Matches, *, elevation_deg: float, principal_y: float, focal_widths: float) -> float:
    """Median Sampson distance for one assumed rig, pixels of 512."""
    size = 512
    cameras = orbit_cameras([datasets.DEGREES_PER_FRAME * k for k in range(49)], [elevation_deg] * 49, size_px=size)
    intrinsics = np.array([[focal_widths * size, 0, size / 2], [0, focal_widths * size, principal_y * size], [0, 0, 1]])
    inverse = np.linalg.inv(intrinsics)
    distances = []
    for k, here, there in matches:
        next_from_this = cameras.camera_from_world[k + 1] @ np.linalg.inv(cameras.camera_from_world[k])
        x, y, z = next_from_this[:3, 3]
        fundamental = inverse.T @ np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ next_from_this[:3, :3] @ inverse
        line, line_back = here @ fundamental.T, there @ fundamental
        slope = (line[:, :2] ** 2).sum(1) + (line_back[:, :2] ** 2).sum(1)
        distances.append(np.abs((there * line).sum(1)) / np.sqrt(np.maximum(slope, 1e-30)))
    return float(np.median(np.concatenate(distances)))


def main() -> None:
    """Prints the error of every assumed rig."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one turn")
    turns = datasets.TURNS[-1:] if parser.parse_args().quick else datasets.TURNS
    matches = {video: matches_of(video) for video in turns}
    rows = []
    for elevation in ELEVATIONS_DEG:
        for principal_y in PRINCIPAL_POINTS_Y:
            rig = {"elevation_deg": elevation, "principal_y": principal_y, "focal_widths": FOCAL_WIDTHS}
            errors = [epipolar_error_px(found, **rig) for found in matches.values()]
            rows.append([f"{elevation:g}", f"{principal_y:g}", *[f"{e:.3f}" for e in errors], f"{np.mean(errors):.3f}"])
    header = ["elevation, degrees", "principal point, heights", *turns, "mean"]
    print_table(header, rows, title="median distance of matches to their epipolar lines, pixels of 512")


if __name__ == "__main__":
    main()
