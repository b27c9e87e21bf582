"""The true cameras of the model's pictures, and where they stand around the head of a photo.

What the model is *told* about cameras is the legacy of its training and lives in ``pose_map``; what its pictures *show*
was measured on published turns (docs/CAMERA.md): a pinhole 2.7 head units away, that looks down by 6.1 degrees on the
axis it turns about where the model was told elevation 0, with the focal length and the principal point of EG3D's camera
(Chan et al., arXiv 2112.07945) after the padded crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spinmeround.diffusion.inputs import Pose
from spinmeround.diffusion.portrait_crop import PAD_SIDE, PAD_TOP
from spinmeround.errors import InputError
from spinmeround.geometry import camera_centres, invert_rigid
from spinmeround.orbits import orbit_cameras
from spinmeround.types import Cameras, Portrait

FOCAL_WIDTHS = 4.2647 / (1 + 2 * PAD_SIDE)
PRINCIPAL_POINT = (0.5, (0.5 + PAD_TOP) / (1 + PAD_TOP))
ELEVATION_DEG = 6.1
"""Of the camera above the turn's equator where the model was told elevation 0."""

_WORLD_FROM_AXIS = np.array([0.0, -0.078, 0.0])
"""Puts heads where the other priors have them: published turns triangulate to eyes at (0, 0.062, 0.157) of the rig."""
_DOUBTFUL_DEG = 5.0
_STEEPEST_DEG = 85.0


@dataclass(frozen=True)
class ModelRig:
    """The model's cameras around one head.

    The rig's frame has its +Y on the axis the model turns about and the first photo's camera at azimuth 0; the world's
    has the head upright, facing +Z.

    Attributes:
        world_from_rig: rigid.
    """

    world_from_rig: Float[np.ndarray, "4 4"]

    def cameras(self, poses: Sequence[Pose], *, size_px: int) -> Cameras:
        """The cameras of the model's pictures for poses as the model counts them, in the world.

        Raises:
            InputError: an elevation too steep to have an up direction.
        """
        azimuths, elevations = [a for a, _ in poses], [e + ELEVATION_DEG for _, e in poses]
        for azimuth, elevation in zip(azimuths, elevations, strict=True):
            if not (np.isfinite(azimuth) and abs(elevation) <= _STEEPEST_DEG):
                raise InputError(
                    f"no camera of the model at azimuth {azimuth:g} and {elevation:g} degrees above its equator: "
                    f"elevations lie within ±{_STEEPEST_DEG:g}"
                )
        in_rig = orbit_cameras(azimuths, elevations, size_px=size_px, focal_widths=FOCAL_WIDTHS)
        intrinsics_px = in_rig.intrinsics_px.copy()
        intrinsics_px[:, :2, 2] = np.array(PRINCIPAL_POINT) * size_px
        return Cameras(in_rig.camera_from_world @ invert_rigid(self.world_from_rig), intrinsics_px, size_px, size_px)

    def toward(self, directions_deg: Sequence[tuple[float, float]]) -> tuple[Pose, ...]:
        """Poses whose cameras stand in these directions (azimuth, elevation) of the head.

        Their pictures lean a little where the photo was taken from above or below: the model keeps its own axis.
        """
        azimuths, elevations = np.radians(np.array(directions_deg, np.float64)).T
        in_world = np.stack(
            [np.sin(azimuths) * np.cos(elevations), np.sin(elevations), np.cos(azimuths) * np.cos(elevations)], axis=1
        )
        return _poses(in_world @ self.world_from_rig[:3, :3])

    def poses(self, cameras: Cameras) -> tuple[Pose, ...]:
        """The model's poses for cameras of this rig.

        Raises:
            ValueError: one of the cameras is not of this rig: the model draws with no other.
        """
        from_origin = camera_centres(cameras) - self.world_from_rig[:3, 3]
        poses = _poses(from_origin @ self.world_from_rig[:3, :3])
        own = self.cameras(poses, size_px=cameras.width_px)
        same_poses = np.allclose(own.camera_from_world, cameras.camera_from_world, atol=1e-4)
        if not same_poses or not np.allclose(own.intrinsics_px, cameras.intrinsics_px, rtol=1e-4):
            raise ValueError("the model draws with the cameras of its own rig alone; ask ModelRig for them")
        return poses


def rig_of(portrait: Portrait) -> ModelRig:
    """The rig around the head of the first photo: the model takes that photo's camera for its azimuth 0."""
    yaw_deg, pitch_deg, _ = portrait.head_pose_deg
    lean = np.radians(_without_doubt(-float(pitch_deg) - ELEVATION_DEG))
    yaw = np.radians(float(yaw_deg))
    upright = np.array([[1, 0, 0], [0, np.cos(lean), np.sin(lean)], [0, -np.sin(lean), np.cos(lean)]])
    forward = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    world_from_rig = np.eye(4)
    world_from_rig[:3, :3] = forward @ upright
    world_from_rig[:3, 3] = _WORLD_FROM_AXIS
    return ModelRig(world_from_rig)


def photo_poses(portraits: Sequence[Portrait]) -> tuple[Pose, ...]:
    """Where each photo was taken from, as the model counts: the first at (0, 0), the others relative to it."""
    first = portraits[0].head_pose_deg
    relative = [portrait.head_pose_deg - first for portrait in portraits]
    return tuple((round(float(turn[0]), 2) + 0.0, round(_without_doubt(-float(turn[1])), 2) + 0.0) for turn in relative)


def _poses(toward: Float[np.ndarray, "n 3"]) -> tuple[Pose, ...]:
    """Azimuth and told elevation of directions in the rig's frame, free of rounding so that they can be compared."""
    azimuths = np.degrees(np.arctan2(toward[:, 0], toward[:, 2]))
    elevations = np.degrees(np.arcsin(np.clip(toward[:, 1] / np.linalg.norm(toward, axis=1), -1, 1))) - ELEVATION_DEG
    azimuths, elevations = np.round(azimuths, 6) + 0.0, np.round(elevations, 6) + 0.0
    return tuple((180.0 if a == -180 else float(a), float(e)) for a, e in zip(azimuths, elevations, strict=True))


def _without_doubt(angle_deg: float) -> float:
    """A pitch with its first degrees taken away: that much of it is only the shape of a face."""
    return angle_deg**3 / (angle_deg**2 + _DOUBTFUL_DEG**2)
