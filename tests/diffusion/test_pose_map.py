"""The model's angles against true cameras; the rays themselves are held against recordings in ``test_parity``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spinmeround.diffusion.model.pose_map import model_angles_deg, pose_map, pose_matrix
from spinmeround.orbits import orbit_cameras


@pytest.mark.parametrize("azimuth", [-180.0, -135.0, -90.0, -10.0, 0.0, 45.0, 90.0, 120.0, 180.0, 315.0])
@pytest.mark.parametrize("elevation", [-60.0, -5.0, 0.0, 20.0, 85.0])
def test_turns_are_those_of_an_upright_camera(azimuth, elevation):
    """The matrix behind the rays turns as a camera that stands there and looks at the head."""
    (angles,) = model_angles_deg([(azimuth, elevation)])
    camera = orbit_cameras([azimuth], [elevation], size_px=8).camera_from_world[0]
    expected = np.diag([1, -1, -1]) @ camera[:3, :3]  # the model's camera looks along -z
    np.testing.assert_allclose(pose_matrix(torch.tensor(angles))[:3, :3], expected, atol=1e-6)


def test_pure_turns_keep_their_numbers():
    angles = model_angles_deg([(315.0, 0.0), (180.0, 0.0), (0.0, 30.0), (0.0, -20.0)])
    np.testing.assert_allclose(angles, [[0, 315, 0], [0, 180, 0], [30, 0, 0], [-20, 0, 0]], atol=1e-12)
    assert (angles[:2] == [[0, 315, 0], [0, 180, 0]]).all()


def test_rays_are_144_channels_of_any_size():
    rays = pose_map(torch.zeros(3), height=3, width=5)
    assert rays.shape == (3, 5, 144)
    assert torch.isfinite(rays).all()
