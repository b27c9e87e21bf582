"""Tangent space: frames on a plane are what they must be, mirrored pictures split, directions go there and back."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.tangent_space import tangent_corners, texel_frames
from spinmeround.types import TexturedMesh

_UP = np.tile([0.0, 0.0, 1.0], (6, 1))


def _strip(u: list[float], *, turned: float = 0.0, size_px: int = 16) -> TexturedMesh:
    """Two squares side by side in the plane z = 0, facing +Z; ``u`` of their three columns."""
    x, y = np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0])
    cosine, sine = np.cos(turned), np.sin(turned)
    vertices = np.stack([cosine * x - sine * y, sine * x + cosine * y, 0 * x], axis=-1).reshape(-1, 3)
    faces = np.array([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]])
    uv = np.stack(np.broadcast_arrays(u, [[0.1], [0.9]]), axis=-1).reshape(-1, 2)
    return TexturedMesh(vertices, faces, uv, faces, np.zeros((size_px, size_px, 3), np.float32))


@pytest.mark.parametrize("turned", [0.0, 0.7, 3.0])
def test_tangents_follow_u_and_bitangents_v(turned):
    corners = tangent_corners(_strip([0.1, 0.5, 0.9], turned=turned), _UP)
    assert len(corners.vertex) == 6
    along = [np.cos(turned), np.sin(turned), 0, 1]
    np.testing.assert_allclose(corners.tangents, np.tile(along, (6, 1)), atol=1e-12)


def test_a_picture_that_turns_back_splits_the_vertices_of_the_fold():
    mesh = _strip([0.1, 0.9, 0.1])
    corners = tangent_corners(mesh, _UP)
    assert sorted(np.bincount(corners.vertex)) == [1, 1, 1, 1, 2, 2]
    face_tangents = corners.tangents[corners.faces]
    np.testing.assert_allclose(face_tangents[:2], np.broadcast_to([1.0, 0, 0, 1], (2, 3, 4)), atol=1e-12)
    np.testing.assert_allclose(face_tangents[2:], np.broadcast_to([-1.0, 0, 0, -1], (2, 3, 4)), atol=1e-12)
    np.testing.assert_array_equal(corners.vertex[corners.faces], mesh.faces)


def test_faces_without_a_picture_have_tangents_too():
    mesh = _strip([0.5, 0.5, 0.5])
    corners = tangent_corners(mesh, _UP)
    np.testing.assert_allclose(np.linalg.norm(corners.tangents[:, :3], axis=1), 1)
    np.testing.assert_allclose(corners.tangents[:, 2], 0)


def test_texels_lie_where_their_coordinates_say():
    frames = texel_frames(_strip([0.1, 0.5, 0.9], size_px=20), _UP)
    assert frames.covered.sum() == 16 * 16 == len(frames.points)
    row, column = np.nonzero(frames.covered)
    np.testing.assert_allclose(frames.points[:, 0], ((column + 0.5) / 20 - 0.1) / 0.4, atol=1e-5)
    np.testing.assert_allclose(frames.points[:, 1], (1 - (row + 0.5) / 20 - 0.1) / 0.8, atol=1e-5)
    np.testing.assert_allclose(frames.bitangents, np.tile([0.0, 1, 0], (256, 1)), atol=1e-6)


@pytest.mark.parametrize("u", [[0.1, 0.5, 0.9], [0.9, 0.5, 0.1], [0.1, 0.9, 0.1]])
def test_directions_go_there_and_back_in_crooked_frames(u):
    rng = np.random.default_rng(0)
    normals = _UP + 0.3 * rng.normal(size=(6, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    frames = texel_frames(_strip(u, size_px=32), normals)
    given = frames.normals + 0.15 * rng.normal(size=frames.normals.shape)
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    inside = frames.from_world(given)
    np.testing.assert_allclose(frames.to_world(inside), given, atol=2e-6)
    np.testing.assert_allclose(frames.from_world(3 * frames.normals)[:, 2], 1, atol=1e-6)


def test_what_points_away_from_the_surface_is_flat():
    frames = texel_frames(_strip([0.1, 0.5, 0.9], size_px=8), _UP)
    away = np.tile([0.6, 0.0, -0.8], (len(frames.points), 1))
    np.testing.assert_array_equal(frames.from_world(away), np.tile([0.0, 0, 1], (len(away), 1)))
    np.testing.assert_array_equal(frames.from_world(0 * away), np.tile([0.0, 0, 1], (len(away), 1)))


def test_coordinates_beyond_the_picture_begin_it_anew():
    frames = texel_frames(_strip([0.6, 1.0, 1.4], size_px=20), _UP)
    _, column = np.nonzero(frames.covered)
    assert set(column) == {*range(8), *range(12, 20)}
    u = (column + 0.5) / 20
    np.testing.assert_allclose(frames.points[:, 0], (np.where(u < 0.5, u + 1, u) - 0.6) / 0.4, atol=1e-5)


def test_where_faces_share_a_texel_the_one_that_is_not_mirrored_has_it():
    for u in ([0.1, 0.9, 0.1], [0.9, 0.1, 0.9]):
        frames = texel_frames(_strip(u), _UP)
        np.testing.assert_allclose(frames.tangents, np.tile([1.0, 0, 0], (len(frames.points), 1)), atol=1e-6)
