"""Rigid maths and cameras: laws, and the frames of CONVENTIONS.md."""

import numpy as np
import pytest

from spinmeround import geometry, orbits


def test_inverse_undoes():
    transform = geometry.look_at(np.array([0.3, -0.2, 2.0]), np.array([0.1, 0.0, 0.2]))
    np.testing.assert_allclose(geometry.invert_rigid(transform) @ transform, np.eye(4), atol=1e-12)


def test_camera_looks_at_its_target_with_world_up_upward():
    transform = geometry.look_at(np.array([0.0, 0.0, 2.7]), np.zeros(3))
    np.testing.assert_allclose(transform @ [0, 0, 0, 1], [0, 0, 2.7, 1], atol=1e-12)
    assert (transform @ [0, 0.1, 0, 1])[1] < 0, "up in the world is up in the picture, where y grows downward"
    assert (transform @ [0.1, 0, 0, 1])[0] > 0, "from the front, the subject's left is at the picture's right"


def test_no_up_direction_is_an_error():
    with pytest.raises(ValueError, match="no up"):
        geometry.look_at(np.array([0.0, 1.0, 0.0]), np.zeros(3))


def test_azimuth_brings_the_subjects_left_side_into_view():
    centre = geometry.camera_centres(orbits.orbit_cameras([90.0], [0.0], size_px=64))[0]
    np.testing.assert_allclose(centre, [orbits.RADIUS, 0, 0], atol=1e-9)


def test_rays_pass_through_the_pixels_that_project_to_them():
    cameras = orbits.orbit_cameras([30.0], [10.0], size_px=16)
    rays = geometry.pixel_rays_world(cameras.camera_from_world[0], cameras.intrinsics_px[0], 16, 16)
    points = geometry.camera_centres(cameras)[0] + 1.5 * rays[3, 7]
    found = geometry.project(points[None], cameras.camera_from_world[0], cameras.intrinsics_px[0])[0]
    np.testing.assert_allclose(found, [7.5, 3.5, 1.5], atol=1e-9)


def test_framed_centres_the_origin_and_keeps_directions():
    cameras = orbits.orbit_cameras([20.0, 200.0], [5.0, -5.0], size_px=100)
    framed = geometry.framed(cameras, 0.4, size_px=60)
    for index in range(2):
        pose, intrinsics_px = framed.camera_from_world[index], framed.intrinsics_px[index]
        np.testing.assert_allclose(geometry.project(np.zeros((1, 3)), pose, intrinsics_px)[0, :2], 30, atol=1e-9)
        edge = np.linalg.inv(pose)[:3, 0] * 0.4
        np.testing.assert_allclose(geometry.project(edge[None], pose, intrinsics_px)[0, :2], [60, 30], atol=1e-9)


def test_resized_keeps_the_field_of_view():
    cameras = orbits.orbit_cameras([0.0], [0.0], size_px=100)
    point = np.array([[0.1, 0.05, 0.0]])
    before = geometry.project(point, cameras.camera_from_world[0], cameras.intrinsics_px[0])[0, :2]
    half = geometry.resized(cameras, 50, 50)
    after = geometry.project(point, half.camera_from_world[0], half.intrinsics_px[0])[0, :2]
    np.testing.assert_allclose(after, before / 2)


def test_vertex_normals_of_a_tetrahedron_point_outward():
    vertices = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    normals = geometry.vertex_normals(vertices, faces)
    np.testing.assert_allclose(normals, vertices / np.sqrt(3), atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (4, 7)])
def test_the_point_nearest_to_lines_through_a_point_is_that_point(shape):
    rng = np.random.default_rng(0)
    points, directions = rng.normal(size=(*shape[1:], 3)), rng.normal(size=(*shape, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    origins = points + rng.normal(size=(*shape, 1)) * directions
    matrix, right = geometry.ray_normal_equations(origins, directions, rng.uniform(0.5, 2, shape))
    np.testing.assert_allclose(np.linalg.solve(matrix, right[..., None])[..., 0], points, atol=1e-9)
    np.testing.assert_allclose(geometry.distances_to_lines(points, origins, directions), 0, atol=1e-12)


def test_the_distance_to_a_line_is_that_of_its_foot():
    origin, direction = np.array([[1.0, 0.0, 5.0]]), np.array([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(geometry.distances_to_lines(np.array([4.0, 4.0, -2.0]), origin, direction), [5.0])
