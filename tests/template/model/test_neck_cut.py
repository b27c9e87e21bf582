"""The cut through the neck: closed, flat, and everything above it untouched."""

import numpy as np
import trimesh

from spinmeround.geometry import vertex_normals
from spinmeround.template.model import neck_cut


def test_a_closed_mesh_stays_closed_and_ends_at_the_plane():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    result = neck_cut.cut(np.array(ball.vertices), np.array(ball.faces))
    mesh = trimesh.Trimesh(result.vertices, result.faces, process=False)
    assert result.vertices[result.faces][..., 1].min() == neck_cut.HEIGHT
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    cap = np.pi * 0.2**2 * (3 * 0.6 - 0.2) / 3
    np.testing.assert_allclose(mesh.volume, ball.volume - cap, rtol=0.005)


def test_corners_take_what_was_given_where_they_lie():
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces)
    result = neck_cut.cut(vertices, faces)
    positions = result.at_corners(vertices[faces.ravel()])
    middle = len(result.vertices) - 1
    side = ~(result.faces == middle).any(1)
    np.testing.assert_allclose(positions[side], result.vertices[result.faces[side]], atol=1e-12)


def test_what_does_not_reach_the_plane_is_returned_as_it_is():
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.3)
    result = neck_cut.cut(np.array(ball.vertices), np.array(ball.faces))
    np.testing.assert_array_equal(result.faces, ball.faces)
    np.testing.assert_array_equal(result.vertices, ball.vertices)


def test_normals_do_not_bend_around_the_edge_of_a_creased_end():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.6)
    closed = neck_cut.cut(np.array(ball.vertices), np.array(ball.faces))
    result = neck_cut.split_crease(closed.vertices, closed.faces)
    np.testing.assert_array_equal(result.vertices[result.faces], closed.vertices[closed.faces])
    flat = (result.vertices[result.faces][..., 1] == neck_cut.HEIGHT).all(1)
    normals = vertex_normals(result.vertices, result.faces)
    np.testing.assert_allclose(normals[np.unique(result.faces[flat])] - [0, -1, 0], 0, atol=1e-9)
    side = np.unique(result.faces[~flat])
    radial = result.vertices[side] / np.linalg.norm(result.vertices[side], axis=1, keepdims=True)
    assert (normals[side] * radial).sum(1).min() > 0.99
