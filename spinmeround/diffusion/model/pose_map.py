"""The ray encoding the model was trained with, bit for bit; no camera may be derived from it.

The weights were trained with rays that are wrong as geometry: the focal length in units of the picture is used as
pixels of a 64 × 64 grid, pixel centres are not half a pixel in, directions are not normalised, and the camera stands on
the far side of the head, so that its rays point away from it. The network has learned to read exactly these numbers,
and any correction would be noise to it. So this file repeats them to the last bit, and its results may only be used as
the network's input. The true cameras of the pictures are in ``diffusion.camera``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinmeround.diffusion.inputs import Pose

_FIELD_OF_VIEW_DEG, _DIAGONAL, _DISTANCE = 18.837, 1.414, 2.7
"""Of EG3D's cameras (Chan et al., arXiv 2112.07945; ``FOV_to_intrinsics`` there)."""
_PI = 3.14159
"""As the training code has it; the focal length depends on these digits."""
_ORIGIN_OCTAVES, _DIRECTION_OCTAVES = 15, 8
"""Of 3DiM's ray encoding (Watson et al., arXiv 2210.04628)."""


def model_angles_deg(poses: Sequence[Pose]) -> Float[np.ndarray, "v 3"]:
    """Convert azimuth and elevation to the model's own rotation angles about x, y and z.

    The two agree wherever one of azimuth and elevation is 0. The model rotates a head in front of a fixed camera, first
    about x and then about y, so that a camera that stays upright needs a third rotation when both are not 0.

    Args:
        poses: as in CONVENTIONS.md.
    """
    return np.array([_euler_angles_deg(azimuth, elevation) for azimuth, elevation in poses], dtype=np.float64).reshape(
        -1, 3
    )


def _euler_angles_deg(azimuth_deg: float, elevation_deg: float) -> tuple[float, float, float]:
    if elevation_deg == 0:
        return 0.0, azimuth_deg, 0.0
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    right, up, ahead = (
        math.sin(azimuth) * math.cos(elevation),
        math.sin(elevation),
        math.cos(azimuth) * math.cos(elevation),
    )
    side = math.copysign(1.0, math.cos(azimuth))
    turn_y = math.atan2(right, side * math.hypot(up, ahead))
    turn_x = math.atan2(side * up, side * ahead)
    turn_z = math.atan2(-side * math.sin(azimuth) * math.sin(elevation), abs(math.cos(azimuth)))
    return math.degrees(turn_x), math.degrees(turn_y), math.degrees(turn_z)


def pose_matrix(angles_deg: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """Return the matrix [R | t] of the rays, R = Rz · Ry · Rx with Ry of opposite sign to the usual."""
    x, y, z = angles_deg.float() * np.pi / 180
    about_x, about_y, about_z = torch.eye(3), torch.eye(3), torch.eye(3)
    about_x[1:, 1:] = _rotation_2d(x)
    about_y[0::2, 0::2] = _rotation_2d(y)
    about_z[:2, :2] = _rotation_2d(z)
    matrix = torch.eye(4)
    matrix[:3, :3] = about_z @ about_y @ about_x
    matrix[2, 3] = _DISTANCE
    return matrix


def pose_map(angles_deg: Float[Tensor, "3"], *, height: int = 64, width: int = 64) -> Float[Tensor, "height width 144"]:
    """Encode the rays of one view: the network's input for a pose.

    Args:
        angles_deg: the model's own angles about x, y and z; see ``model_angles_deg``.
        height, width: of the latents. The published code uses 64 × 64 only.
    """
    inverse = pose_matrix(angles_deg).inverse()
    focal = torch.tensor(1 / (math.tan(_FIELD_OF_VIEW_DEG * _PI / 360) * _DIAGONAL))
    row, column = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    local = torch.stack(
        [(column - width * 0.5) / focal, -(row - height * 0.5) / focal, -torch.ones_like(column)], dim=-1
    )
    directions = (local[..., None, :] * inverse[:3, :3]).sum(-1)
    origins = inverse[:3, 3].expand(directions.shape)
    return torch.cat(
        [_fourier_features(origins, _ORIGIN_OCTAVES), _fourier_features(directions, _DIRECTION_OCTAVES)], dim=-1
    )


def pose_maps(
    angles_deg: Float[Tensor, "v 3"], *, height: int = 64, width: int = 64
) -> Float[Tensor, "v 144 height width"]:
    """Encode the rays of several views, channel-first as the network takes them."""
    maps = [pose_map(angles, height=height, width=width) for angles in angles_deg]
    return torch.stack(maps).permute(0, 3, 1, 2)


def _rotation_2d(angle: Float[Tensor, ""]) -> Float[Tensor, "2 2"]:
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)


def _fourier_features(x: Float[Tensor, "h w 3"], octaves: int) -> Float[Tensor, "h w c"]:
    """Concatenate the value, its sines at doubling frequencies, and its cosines as sines a quarter period later."""
    scaled = (x[..., None, :] * 2 ** torch.arange(octaves)[:, None]).flatten(-2)
    return torch.cat([x, torch.sin(torch.cat([scaled, scaled + np.pi / 2], dim=-1))], dim=-1)
