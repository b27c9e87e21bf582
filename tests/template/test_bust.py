"""The cut through the neck: closed, flat, and everything above it untouched."""

import numpy as np
import trimesh

from spinmeround.template import bust


def test_a_closed_mesh_stays_closed_and_ends_at_the_plane():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    vertices, faces, corners = bust.cut(np.array(ball.vertices), np.array(ball.faces))
    result = trimesh.Trimesh(vertices, faces, process=False)
    assert vertices[faces][..., 1].min() == bust.HEIGHT
    assert trimesh.Trimesh(vertices, faces, process=True).is_watertight
    cap = np.pi * 0.2**2 * (3 * 0.6 - 0.2) / 3
    np.testing.assert_allclose(result.volume, ball.volume - cap, rtol=0.02)
    kept = corners[: len(faces)] // 3
    above = (vertices[faces][..., 1] > bust.HEIGHT).all(1)
    np.testing.assert_array_equal(faces[above], np.array(ball.faces)[kept[above, 0]])


def test_what_does_not_reach_the_plane_is_returned_as_it_is():
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.3)
    vertices, faces, corners = bust.cut(np.array(ball.vertices), np.array(ball.faces))
    np.testing.assert_array_equal(faces, ball.faces)
    np.testing.assert_array_equal(vertices, ball.vertices)
    np.testing.assert_array_equal(corners.ravel(), np.arange(faces.size))
