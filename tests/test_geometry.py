"""Laws of the rigid maths, cameras, scalar functions and images, and the frames of CONVENTIONS.md.

Properties are checked on drawn samples (hypothesis, the same ones in every run); single examples only settle what
a law cannot: signs, axes and constants.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spinmeround import geometry, images, numerics, orbits
from spinmeround.types import Cameras

SIZE_PX = 64
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
TETRAHEDRON_FACES = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


def points(count: int, reach: float = 2.0) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, (count, 3), elements=numbers(-reach, reach))


def rotations_from(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices of quaternions (w, x, y, z) of any length but 0."""
    w, x, y, z = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


@st.composite
def rotations(draw, count: int = 1) -> np.ndarray:
    """Rotations of every angle, the identity and half turns among them."""
    quaternions = draw(arrays(np.float64, (count, 4), elements=numbers(-1, 1)))
    assume((np.linalg.norm(quaternions, axis=1) > 0.1).all())
    return rotations_from(quaternions)


@st.composite
def rigid_transforms(draw, count: int = 1) -> np.ndarray:
    transforms = np.repeat(np.eye(4)[None], count, axis=0)
    transforms[:, :3, :3] = draw(rotations(count))
    transforms[:, :3, 3] = draw(points(count, reach=10))
    return transforms


@st.composite
def intrinsics(draw, count: int = 1, *, width_px: int = SIZE_PX, height_px: int = SIZE_PX) -> np.ndarray:
    """From wide angle to telephoto; the focal lengths differ and the principal point may lie off the centre."""
    fx, fy, cx, cy = draw(arrays(np.float64, (4, count), elements=numbers(0, 1)))
    matrices = np.repeat(np.eye(3)[None], count, axis=0)
    matrices[:, 0, 0], matrices[:, 1, 1] = (0.5 + 7.5 * fx) * width_px, (0.5 + 7.5 * fy) * width_px
    matrices[:, 0, 2], matrices[:, 1, 2] = cx * width_px, cy * height_px
    return matrices


@st.composite
def camera_sets(draw, count: int = 2) -> Cameras:
    width_px, height_px = draw(st.integers(8, 200)), draw(st.integers(8, 200))
    intrinsics_px = draw(intrinsics(count, width_px=width_px, height_px=height_px))
    return Cameras(draw(rigid_transforms(count)), intrinsics_px, width_px, height_px)


@st.composite
def meshes(draw) -> tuple[np.ndarray, np.ndarray]:
    """Triangle soups over a few vertices; faces may be degenerate or repeat, vertices may be unused."""
    count = draw(st.integers(3, 8))
    faces = draw(arrays(np.int64, (draw(st.integers(1, 8)), 3), elements=st.integers(0, count - 1)))
    return draw(points(count)), faces


# Rigid transforms


@given(rigid_transforms())
def test_inverse_undoes_from_either_side(transforms):
    (a_from_b,) = transforms
    b_from_a = geometry.invert_rigid(a_from_b)
    np.testing.assert_allclose(b_from_a @ a_from_b, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(a_from_b @ b_from_a, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(geometry.invert_rigid(b_from_a), a_from_b, atol=1e-12)
    np.testing.assert_allclose(b_from_a, np.linalg.inv(a_from_b), atol=1e-12)


@given(rigid_transforms(count=3), points(5))
def test_frames_cancel_along_a_chain(transforms, in_d):
    a_from_b, b_from_c, c_from_d = transforms
    homogeneous = np.concatenate([in_d, np.ones((5, 1))], axis=1).T
    step_by_step = a_from_b @ (b_from_c @ (c_from_d @ homogeneous))
    a_from_d = a_from_b @ b_from_c @ c_from_d
    np.testing.assert_allclose(a_from_d @ homogeneous, step_by_step, atol=1e-11)
    backwards = geometry.invert_rigid(c_from_d) @ geometry.invert_rigid(b_from_c) @ geometry.invert_rigid(a_from_b)
    np.testing.assert_allclose(geometry.invert_rigid(a_from_d), backwards, atol=1e-11)


@given(camera_sets())
def test_inverse_of_a_batch_is_the_inverse_of_each(cameras):
    each = [geometry.invert_rigid(pose) for pose in cameras.camera_from_world]
    np.testing.assert_array_equal(geometry.invert_rigid(cameras.camera_from_world), np.stack(each))
    at_the_origin = [
        pose[:3, :3] @ c for pose, c in zip(cameras.camera_from_world, geometry.camera_centres(cameras), strict=True)
    ]
    np.testing.assert_allclose(at_the_origin, -cameras.camera_from_world[:, :3, 3], atol=1e-11)


# look_at


def assert_looks_at(camera_from_world: np.ndarray, eye: np.ndarray, target: np.ndarray) -> None:
    rotation = camera_from_world[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(camera_from_world @ [*eye, 1], [0, 0, 0, 1], atol=1e-12)
    away = np.linalg.norm(target - eye)
    np.testing.assert_allclose(camera_from_world @ [*target, 1], [0, 0, away, 1], atol=1e-12)
    assert rotation[0, 1] == pytest.approx(0, abs=1e-12), "the picture's x stays level"
    assert rotation[1, 1] < 0, "up in the world is up in the picture, where y grows downward"


@given(*[arrays(np.float64, 3, elements=numbers(-5, 5))] * 2)
def test_look_at_puts_the_eye_at_zero_and_the_target_onto_z(eye, target):
    assume(np.linalg.norm((target - eye)[[0, 2]]) > 1e-2)
    assert_looks_at(geometry.look_at(eye, target), eye, target)


@given(numbers(-7, -1), numbers(0, 360), st.sampled_from([-2.0, 2.0]))
def test_look_at_holds_close_to_the_vertical(exponent, azimuth_deg, height):
    azimuth = np.radians(azimuth_deg)
    eye = np.array([10**exponent * np.sin(azimuth), height, 10**exponent * np.cos(azimuth)])
    assert_looks_at(geometry.look_at(eye, np.zeros(3)), eye, np.zeros(3))


@given(numbers(-3, 3), numbers(-3, 3), arrays(np.float64, 2, elements=numbers(-5, 5)))
def test_look_at_straight_up_or_down_or_nowhere_is_an_error(height, target_height, across):
    x, z = across
    with pytest.raises(ValueError, match="no up"):
        geometry.look_at(np.array([x, height, z]), np.array([x, target_height, z]))


def test_from_the_front_the_subjects_left_is_at_the_pictures_right():
    transform = geometry.look_at(np.array([0.0, 0.0, 2.7]), np.zeros(3))
    np.testing.assert_allclose(transform[:3], [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2.7]], atol=1e-12)


# Projection and rays


@given(rigid_transforms(), intrinsics(width_px=16, height_px=12), numbers(0.01, 50))
def test_a_point_on_a_pixels_ray_projects_to_its_centre_with_its_depth(poses, matrices_px, depth):
    camera_from_world, intrinsics_px = poses[0], matrices_px[0]
    rays = geometry.pixel_rays_world(camera_from_world, intrinsics_px, 16, 12)
    assert rays.shape == (12, 16, 3)
    centre = geometry.invert_rigid(camera_from_world)[:3, 3]
    found = geometry.project((centre + depth * rays).reshape(-1, 3), camera_from_world, intrinsics_px)
    rows, columns = np.mgrid[:12, :16]
    expected = np.stack([columns + 0.5, rows + 0.5, np.full((12, 16), depth)], axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(rigid_transforms(count=2), intrinsics(), points(6))
def test_moving_the_world_and_the_camera_together_changes_no_picture(transforms, matrices_px, moved):
    pose, world_from_moved = transforms
    (intrinsics_px,) = matrices_px
    in_world = moved @ world_from_moved[:3, :3].T + world_from_moved[:3, 3]
    before = geometry.project(in_world, pose, intrinsics_px)
    assume((np.abs(before[:, 2]) > 0.05).all())
    after = geometry.project(moved, pose @ world_from_moved, intrinsics_px)
    np.testing.assert_allclose(after, before, rtol=1e-8, atol=1e-7)


@given(intrinsics())
def test_a_point_in_the_cameras_centre_projects_to_finite_numbers(matrices_px):
    assert np.isfinite(geometry.project(np.zeros((1, 3)), np.eye(4), matrices_px[0])).all()


def test_depth_is_negative_behind_the_camera():
    in_front_and_behind = geometry.project(np.array([[0, 0, 1.0], [0, 0, -1.0]]), np.eye(4), np.eye(3))
    np.testing.assert_array_equal(in_front_and_behind[:, 2], [1, -1])


@given(camera_sets(), st.integers(8, 300), st.integers(8, 300), points(4))
def test_resized_scales_pixels_and_keeps_depth(cameras, width_px, height_px, in_world):
    other = geometry.resized(cameras, width_px, height_px)
    assert (other.width_px, other.height_px) == (width_px, height_px)
    for index in range(len(cameras)):
        pose = cameras.camera_from_world[index]
        before = geometry.project(in_world, pose, cameras.intrinsics_px[index])
        assume((np.abs(before[:, 2]) > 0.05).all())
        after = geometry.project(in_world, other.camera_from_world[index], other.intrinsics_px[index])
        expected = before * [width_px / cameras.width_px, height_px / cameras.height_px, 1]
        np.testing.assert_allclose(after, expected, rtol=1e-9, atol=1e-9)
    back = geometry.resized(other, cameras.width_px, cameras.height_px)
    np.testing.assert_allclose(back.intrinsics_px, cameras.intrinsics_px, rtol=1e-12)


@given(numbers(-180, 180), numbers(-80, 80), numbers(0.05, 1), st.integers(8, 300))
def test_framed_puts_the_ball_around_the_origin_from_edge_to_edge(azimuth_deg, elevation_deg, radius, size_px):
    cameras = orbits.orbit_cameras([azimuth_deg], [elevation_deg], size_px=100)
    framed = geometry.framed(cameras, radius, size_px=size_px)
    np.testing.assert_array_equal(framed.camera_from_world, cameras.camera_from_world)
    right, down = framed.camera_from_world[0, :2, :3] * radius
    on_silhouette = np.stack([np.zeros(3), right, -right, down, -down])
    found = geometry.project(on_silhouette, framed.camera_from_world[0], framed.intrinsics_px[0])[:, :2]
    middle = size_px / 2
    expected = [[middle, middle], [size_px, middle], [0, middle], [middle, size_px], [middle, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-8)


@given(camera_sets(count=4), st.permutations(range(4)))
def test_select_composes_like_indexing(cameras, order):
    chosen = geometry.select(cameras, list(order))
    np.testing.assert_array_equal(chosen.camera_from_world, cameras.camera_from_world[list(order)])
    np.testing.assert_array_equal(chosen.intrinsics_px, cameras.intrinsics_px[list(order)])
    assert (chosen.width_px, chosen.height_px) == (cameras.width_px, cameras.height_px)
    undone = geometry.select(chosen, np.argsort(order))
    np.testing.assert_array_equal(undone.camera_from_world, cameras.camera_from_world)
    for single in (geometry.select(cameras, 2), geometry.select(cameras, slice(2, 3))):
        assert len(single) == 1
        np.testing.assert_array_equal(single.camera_from_world[0], cameras.camera_from_world[2])


# Orbits


@given(numbers(-179.9, 180), numbers(-85, 85), numbers(0.5, 10))
def test_azimuth_and_elevation_are_read_back_from_the_camera(azimuth_deg, elevation_deg, radius):
    cameras = orbits.orbit_cameras([azimuth_deg], [elevation_deg], size_px=SIZE_PX, radius=radius)
    eye = geometry.camera_centres(cameras)[0]
    assert np.linalg.norm(eye) == pytest.approx(radius)
    assert np.degrees(np.arctan2(eye[0], eye[2])) == pytest.approx(azimuth_deg, abs=1e-7)
    assert np.degrees(np.arcsin(eye[1] / radius)) == pytest.approx(elevation_deg, abs=1e-6)
    assert_looks_at(cameras.camera_from_world[0], eye, np.zeros(3))
    origin = geometry.project(np.zeros((1, 3)), cameras.camera_from_world[0], cameras.intrinsics_px[0])[0]
    np.testing.assert_allclose(origin, [*np.multiply(orbits.PRINCIPAL_POINT, SIZE_PX), radius], atol=1e-8)


def test_azimuth_brings_the_subjects_left_side_into_view_and_elevation_lifts():
    cameras = orbits.orbit_cameras([90.0, 0.0], [0.0, 30.0], size_px=SIZE_PX)
    r = orbits.RADIUS
    np.testing.assert_allclose(geometry.camera_centres(cameras), [[r, 0, 0], [0, r / 2, r * np.sqrt(3) / 2]], atol=1e-9)


@pytest.mark.parametrize("name", orbits.ORBITS)
def test_a_rig_has_its_directions_in_order(name):
    eyes = geometry.camera_centres(orbits.named_orbit_cameras(name, size_px=SIZE_PX))
    azimuths_deg = np.degrees(np.arctan2(eyes[:, 0], eyes[:, 2]))
    elevations_deg = np.degrees(np.arcsin(eyes[:, 1] / orbits.RADIUS))
    expected_azimuths, expected_elevations = np.array(orbits.ORBITS[name]).T
    np.testing.assert_allclose((azimuths_deg - expected_azimuths + 180) % 360 - 180, 0, atol=1e-9)
    np.testing.assert_allclose(elevations_deg, expected_elevations, atol=1e-9)


@given(numbers(-179.9, 180), numbers(-60, 60), st.integers(0, 99))
def test_the_longest_focal_length_has_a_point_on_the_edge_and_none_outside(azimuth_deg, elevation_deg, seed):
    points = np.random.default_rng(seed).normal(size=(40, 3)) * 0.2
    directions = [azimuth_deg, 0.0], [elevation_deg, 0.0]
    longest = orbits.holding_focal_widths(points, orbits.orbit_cameras(*directions, size_px=SIZE_PX))
    cameras = orbits.orbit_cameras(*directions, size_px=SIZE_PX, focal_widths=longest)
    cameras_of_views = zip(cameras.camera_from_world, cameras.intrinsics_px, strict=True)
    seen = np.concatenate([geometry.project(points, *camera)[:, :2] for camera in cameras_of_views])
    assert min(seen.min(), SIZE_PX - seen.max()) == pytest.approx(0, abs=1e-7)


def test_orbits_refuse_what_has_no_camera():
    with pytest.raises(ValueError, match="2 azimuths but 1 elevations"):
        orbits.orbit_cameras([0.0, 1.0], [0.0], size_px=SIZE_PX)
    with pytest.raises(ValueError, match="within ±85"):
        orbits.orbit_cameras([0.0], [85.5], size_px=SIZE_PX)
    with pytest.raises(KeyError, match="orbit-9"):
        orbits.named_orbit_cameras("orbit-9", size_px=SIZE_PX)


# Normals


@given(meshes(), rotations(), arrays(np.float64, 3, elements=numbers(-5, 5)), numbers(0.1, 10))
def test_normals_turn_with_the_mesh_and_areas_scale(mesh, turns, offset, scale):
    (vertices, faces), (rotation,) = mesh, turns
    moved = scale * vertices @ rotation.T + offset
    normals = geometry.face_normals(vertices, faces)
    np.testing.assert_allclose(
        geometry.face_normals(moved, faces), scale**2 * normals @ rotation.T, atol=1e-10 * max(1, scale**2)
    )
    clear = np.linalg.norm(_summed_normals(vertices, faces), axis=1) > 1e-3  # elsewhere the sum has no clear direction
    turned = geometry.vertex_normals(vertices, faces) @ rotation.T
    np.testing.assert_allclose(geometry.vertex_normals(moved, faces)[clear], turned[clear], atol=1e-7)


@given(meshes(), st.randoms(use_true_random=False))
def test_normals_do_not_depend_on_the_order_of_faces_or_their_first_corner(mesh, random):
    vertices, faces = mesh
    order = list(range(len(faces)))
    random.shuffle(order)
    rolled = np.stack([np.roll(face, random.randrange(3)) for face in faces[order]])
    np.testing.assert_allclose(
        geometry.face_normals(vertices, rolled), geometry.face_normals(vertices, faces)[order], atol=1e-12
    )
    clear = np.linalg.norm(_summed_normals(vertices, faces), axis=1) > 1e-3
    np.testing.assert_allclose(
        geometry.vertex_normals(vertices, rolled)[clear], geometry.vertex_normals(vertices, faces)[clear], atol=1e-10
    )


@given(meshes(), st.randoms(use_true_random=False))
def test_normals_are_renumbered_with_the_vertices(mesh, random):
    vertices, faces = mesh
    order = np.array(random.sample(range(len(vertices)), len(vertices)))
    renumbered = geometry.vertex_normals(vertices[order], np.argsort(order)[faces])
    np.testing.assert_array_equal(renumbered, geometry.vertex_normals(vertices, faces)[order])


@given(meshes())
def test_reversed_faces_have_opposite_normals(mesh):
    vertices, faces = mesh
    normals = geometry.face_normals(vertices, faces)
    np.testing.assert_allclose(geometry.face_normals(vertices, faces[:, ::-1]), -normals, atol=1e-12)


@given(meshes())
def test_vertex_normals_are_unit_or_zero_and_zero_where_nothing_is_used(mesh):
    vertices, faces = mesh
    normals = geometry.vertex_normals(vertices, faces)
    total = np.linalg.norm(_summed_normals(vertices, faces), axis=1)
    np.testing.assert_allclose(np.linalg.norm(normals[total > 1e-9], axis=1), 1, atol=1e-9)
    unused = np.setdiff1d(np.arange(len(vertices)), faces)
    np.testing.assert_array_equal(normals[unused], 0)


@given(points(1), points(1), numbers(-2, 2))
def test_degenerate_triangles_have_no_normal_and_weigh_nothing(start, direction, along):
    """Corners that coincide or lie on one line."""
    on_a_line = np.concatenate([start, start + direction, start + along * direction])
    faces = np.array([[0, 1, 2], [0, 0, 1], [2, 2, 2]])
    assert np.abs(geometry.face_normals(on_a_line, faces)).max() < 1e-13
    vertices = np.concatenate([TETRAHEDRON, on_a_line])
    both = np.concatenate([TETRAHEDRON_FACES, faces[1:] + 4, [[1, 1, 2]]])
    expected = geometry.vertex_normals(TETRAHEDRON, TETRAHEDRON_FACES)
    np.testing.assert_array_equal(geometry.vertex_normals(vertices, both)[:4], expected)


def test_vertex_normals_of_a_tetrahedron_point_outward():
    normals = geometry.vertex_normals(TETRAHEDRON, TETRAHEDRON_FACES)
    np.testing.assert_allclose(normals, TETRAHEDRON / np.sqrt(3), atol=1e-12)
    doubled_areas = np.linalg.norm(geometry.face_normals(TETRAHEDRON, TETRAHEDRON_FACES), axis=1)
    np.testing.assert_allclose(doubled_areas, 2 * 2 * np.sqrt(3), atol=1e-12)


# Scalar functions


@given(numbers(0, 1), numbers(0, 1))
def test_smoothstep_is_monotone_and_point_symmetric(s, t):
    assert numerics.smoothstep(0.0) == 0
    assert numerics.smoothstep(1.0) == 1
    assert numerics.smoothstep(0.5) == 0.5
    low, high = sorted((s, t))
    assert numerics.smoothstep(low) <= numerics.smoothstep(high) + 1e-15
    assert 1 - numerics.smoothstep(t) == pytest.approx(numerics.smoothstep(1 - t), abs=1e-15)


@given(numbers(1e-6, 0.1))
def test_smoothstep_is_flat_at_both_ends(step):
    assert numerics.smoothstep(step) <= 3 * step**2
    assert 1 - numerics.smoothstep(1 - step) <= 3 * step**2 + 1e-15


@given(arrays(np.float64, 8, elements=numbers(-20, 20)), numbers(-10, 10), numbers(0.01, 10))
def test_smooth_ramp_rises_from_low_to_high_and_falls_when_reversed(value, low, width):
    high = low + width
    ramp = numerics.smooth_ramp(value, low, high)
    np.testing.assert_array_equal(numerics.smooth_ramp(np.array([low, high]), low, high), [0, 1])
    assert ((ramp >= 0) & (ramp <= 1)).all()
    np.testing.assert_array_equal(ramp[value <= low], 0)
    np.testing.assert_array_equal(ramp[value >= high], 1)
    assert (np.diff(ramp[np.argsort(value)]) >= -1e-15).all()
    np.testing.assert_allclose(numerics.smooth_ramp(value, high, low), 1 - ramp, atol=1e-9)


# Images


@given(arrays(np.uint8, (3, 4, 3)), arrays(np.uint16, (3, 4)))
def test_integers_survive_the_way_to_float_and_back(eight_bits, sixteen_bits):
    as_float = images.to_float(eight_bits)
    assert as_float.dtype == np.float32
    assert as_float.min() >= 0
    assert as_float.max() <= 1
    np.testing.assert_array_equal(images.to_uint8(as_float), eight_bits)
    np.testing.assert_array_equal(np.round(images.to_float(sixteen_bits) * 65535), sixteen_bits)


@given(arrays(np.float32, (3, 4, 3), elements=st.floats(-1, 2, width=32)))
def test_floats_are_clipped_and_rounded_to_the_nearest_integer(image):
    back = images.to_float(images.to_uint8(image))
    np.testing.assert_array_less(np.abs(back - np.clip(image, 0, 1)), 0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(images.to_float(image), image)


def test_other_kinds_of_numbers_are_no_image():
    with pytest.raises(TypeError, match="int64"):
        images.to_float(np.zeros((2, 2), np.int64))


UNIT_FLOATS = st.floats(0, 1, width=32)


@given(
    arrays(np.float32, (2, 3, 3), elements=UNIT_FLOATS),
    arrays(np.float32, (2, 3), elements=UNIT_FLOATS),
    st.tuples(*[UNIT_FLOATS] * 3),
)
def test_composite_is_between_its_layers(rgb, alpha, background):
    ones = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(images.composite(rgb, ones, background), rgb)
    np.testing.assert_array_equal(images.composite(rgb, 0 * ones, background), np.broadcast_to(background, rgb.shape))
    over = images.composite(rgb, alpha, background)
    plain = np.broadcast_to(np.float32(background), rgb.shape)
    assert (over >= np.minimum(rgb, plain) - 1e-6).all()
    assert (over <= np.maximum(rgb, plain) + 1e-6).all()
    batch = images.composite(np.stack([rgb, rgb]), np.stack([alpha, 1 - alpha]), background)
    np.testing.assert_array_equal(batch[0], over)
    np.testing.assert_allclose(batch.sum(0), rgb + plain, atol=1e-6)


@given(points(12, reach=1.0), arrays(np.bool_, 12))
def test_normals_are_read_back_from_their_picture(vectors, inside):
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    assume((length > 0.1).all())
    normals = (vectors / length).astype(np.float32).reshape(3, 4, 3)
    alpha = inside.astype(np.float32).reshape(3, 4)
    picture = images.normals_to_rgb(normals, alpha)
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture[alpha == 0], 0.5)
    np.testing.assert_allclose(images.rgb_to_normals(picture, alpha), normals * alpha[..., None], atol=1e-6)
    stored = images.to_float(images.to_uint8(picture))
    from_eight_bits = images.rgb_to_normals(stored, alpha)
    cosine = (from_eight_bits * normals).sum(-1)[alpha == 1]
    assert (cosine > np.cos(np.radians(0.5))).all(), "eight bits cost less than half a degree"


def test_the_picture_of_a_normal_has_its_axes_in_red_green_and_blue():
    towards_x_y_z = np.eye(3, dtype=np.float32)[None]
    picture = images.normals_to_rgb(towards_x_y_z, np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(picture[0], np.full((3, 3), 0.5) + np.eye(3) * 0.5)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_sample_is_exact_at_pixel_centres_and_clamped_outside(height, width, data):
    image = data.draw(arrays(np.float32, (height, width, 3), elements=UNIT_FLOATS))
    rows, columns = np.mgrid[:height, :width].reshape(2, -1)
    centres = np.stack([columns + 0.5, rows + 0.5], axis=1)
    np.testing.assert_array_equal(images.sample(image, centres), image[rows, columns])
    np.testing.assert_array_equal(images.sample(image[..., 0], centres), image[rows, columns, 0])
    beyond = np.array([[-3.0, -3.0], [width + 3.0, -3.0], [-3.0, height + 3.0], [width + 3.0, height + 3.0]])
    np.testing.assert_array_equal(images.sample(image, beyond), image[[0, 0, -1, -1], [0, -1, 0, -1]])


@given(arrays(np.float64, (20, 2), elements=numbers(0.5, 7.5)), points(1))
def test_sample_reproduces_a_linear_ramp_to_a_thirty_second_of_a_pixel(positions, slopes):
    across, down, level = slopes[0]
    y, x = np.mgrid[:8, :8] + 0.5
    found = images.sample((across * x + down * y + level).astype(np.float32), positions)
    expected = across * positions[:, 0] + down * positions[:, 1] + level
    np.testing.assert_allclose(found, expected, atol=(abs(across) + abs(down)) / 64 + 1e-5)


@given(numbers(0, 1), st.integers(1, 40), st.integers(1, 40))
def test_resize_keeps_a_plain_picture_plain(value, width_px, height_px):
    plain = np.full((16, 12, 3), value, np.float32)
    found = images.resize(plain, width_px, height_px)
    assert found.shape == (height_px, width_px, 3)
    np.testing.assert_allclose(found, value, atol=1e-6)


@given(arrays(np.float32, (12, 8), elements=UNIT_FLOATS))
def test_shrinking_averages_areas(image):
    blocks = image.reshape(6, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(images.resize(image, 4, 6), blocks, atol=1e-6)


def _summed_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Reference for the sum of the face normals at each vertex, one face after the other."""
    total = np.zeros_like(vertices)
    for face, normal in zip(faces, geometry.face_normals(vertices, faces), strict=True):
        for vertex in face:
            total[vertex] += normal
    return total


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
