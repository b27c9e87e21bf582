"""The true cameras of the model's pictures, and their rig around the head of a photo.

The pose *encoding* of the model is not geometry and lives in ``pose_map``. The cameras that its pictures *show* were
measured on published turns (docs/CAMERA.md): a pinhole 2.7 head units from the axis of the turn, that looks down by 6.1
degrees where the encoded elevation is 0, with the focal length and the principal point of EG3D's camera
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
"""True elevation of the camera where the encoded elevation is 0."""

_WORLD_FROM_AXIS = np.array([0.0, -0.078, 0.0])
"""Head units. Moves heads to the world's origin: published turns have the eyes at (0, 0.062, 0.157) of the rig."""
_PITCH_NOISE_DEG = 5.0
"""Pitch up to which an estimate is mostly the shape of the face, not a lean of the head."""
_POSITION_TOLERANCE, _INTRINSICS_TOLERANCE = 1e-4, 1e-4
"""Absolute (head units) and relative: up to which a camera is of the rig."""
_STEEPEST_DEG = 85.0


@dataclass(frozen=True)
class ModelRig:
    """The model's cameras around one head.

    The rig's frame has +Y along the axis of the turn and the first photo's camera at azimuth 0. In the world the head
    is upright and faces +Z.

    Attributes:
        world_from_rig: rigid.
    """

    world_from_rig: Float[np.ndarray, "4 4"]

    def cameras(self, poses: Sequence[Pose], *, size_px: int) -> Cameras:
        """Return the cameras of the model's pictures, in the world, for the model's own poses.

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
        """Return the poses whose cameras are in these directions (azimuth, elevation) of the head.

        Their pictures are rolled a little if the photo was taken from above or below: the model keeps its own axis.
        """
        azimuths, elevations = np.radians(np.array(directions_deg, np.float64)).T
        in_world = np.stack(
            [np.sin(azimuths) * np.cos(elevations), np.sin(elevations), np.cos(azimuths) * np.cos(elevations)], axis=1
        )
        return _poses(in_world @ self.world_from_rig[:3, :3])

    def poses(self, cameras: Cameras) -> tuple[Pose, ...]:
        """Return the model's poses for cameras of this rig.

        Raises:
            ValueError: one of the cameras is not of this rig; the model has no other.
        """
        from_origin = camera_centres(cameras) - self.world_from_rig[:3, 3]
        poses = _poses(from_origin @ self.world_from_rig[:3, :3])
        own = self.cameras(poses, size_px=cameras.width_px)
        same_poses = np.allclose(own.camera_from_world, cameras.camera_from_world, atol=_POSITION_TOLERANCE)
        same_intrinsics = np.allclose(own.intrinsics_px, cameras.intrinsics_px, rtol=_INTRINSICS_TOLERANCE)
        if not same_poses or not same_intrinsics:
            raise ValueError("the model draws with the cameras of its own rig alone; ask ModelRig for them")
        return poses


def rig_of(portrait: Portrait) -> ModelRig:
    """Return the rig around the head of the first photo, whose camera is at the model's azimuth 0."""
    yaw_deg, pitch_deg, _ = portrait.head_pose_deg
    lean = np.radians(_shrink(-float(pitch_deg) - ELEVATION_DEG))
    yaw = np.radians(float(yaw_deg))
    upright = np.array([[1, 0, 0], [0, np.cos(lean), np.sin(lean)], [0, -np.sin(lean), np.cos(lean)]])
    forward = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    world_from_rig = np.eye(4)
    world_from_rig[:3, :3] = forward @ upright
    world_from_rig[:3, 3] = _WORLD_FROM_AXIS
    return ModelRig(world_from_rig)


def photo_poses(portraits: Sequence[Portrait]) -> tuple[Pose, ...]:
    """Return the model's pose of each photo: the first at (0, 0), the others relative to it."""
    first = portraits[0].head_pose_deg
    relative = [portrait.head_pose_deg - first for portrait in portraits]
    return tuple((round(float(pose[0]), 2) + 0.0, round(_shrink(-float(pose[1])), 2) + 0.0) for pose in relative)


def _poses(toward: Float[np.ndarray, "n 3"]) -> tuple[Pose, ...]:
    """Convert directions in the rig's frame to azimuth and encoded elevation, rounded so that they can be compared."""
    azimuths = np.degrees(np.arctan2(toward[:, 0], toward[:, 2]))
    elevations = np.degrees(np.arcsin(np.clip(toward[:, 1] / np.linalg.norm(toward, axis=1), -1, 1))) - ELEVATION_DEG
    azimuths, elevations = np.round(azimuths, 6) + 0.0, np.round(elevations, 6) + 0.0
    return tuple((180.0 if a == -180 else float(a), float(e)) for a, e in zip(azimuths, elevations, strict=True))


def _shrink(pitch_deg: float) -> float:
    """Shrink small pitch estimates toward 0, as a Wiener filter with noise of ``_PITCH_NOISE_DEG`` does."""
    return pitch_deg**3 / (pitch_deg**2 + _PITCH_NOISE_DEG**2)
