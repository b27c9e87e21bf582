"""Normal maps: analytic bumps come back through a coarse mesh, seams do not show, rays meet the right sheet."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh
from jaxtyping import Float

from spinmeround.geometry import vertex_normals
from spinmeround.recon.texture.atlas import unwrap
from spinmeround.recon.texture.normal_map import fine_normals, with_normal_map
from spinmeround.tangent_space import tangent_corners, texel_frames
from spinmeround.types import Mesh, TexturedMesh

_RADIUS, _DEPTH, _WAVES = 0.25, 0.0015, 40.0


def _bumpy(subdivisions: int) -> Mesh:
    """A ball whose radius waves with height."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    directions = np.array(ball.vertices)
    return Mesh(directions * _radius(directions[:, 1:2]), np.array(ball.faces))


def _radius(height: np.ndarray) -> np.ndarray:
    return _RADIUS + _DEPTH * np.sin(_WAVES * height)


def _true_normals(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Of the wavy ball: the gradient of |p| - radius(y / |p|)."""
    length = np.linalg.norm(points, axis=1, keepdims=True)
    direction = points / length
    height = direction[:, 1:2]
    slope = _DEPTH * _WAVES * np.cos(_WAVES * height)
    gradient = direction - slope * (np.array([0.0, 1.0, 0.0]) - height * direction) / length
    return gradient / np.linalg.norm(gradient, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def baked() -> TexturedMesh:
    fine = _bumpy(6)
    ball = trimesh.creation.icosphere(subdivisions=3, radius=_RADIUS)
    coarse = Mesh(np.array(ball.vertices), np.array(ball.faces))
    atlas = unwrap(coarse, 512)
    albedo = np.full((512, 512, 3), 0.5, np.float32)
    return with_normal_map(TexturedMesh(coarse.vertices, coarse.faces, atlas.uv, atlas.uv_faces, albedo), fine)


def _shaded(mesh: TexturedMesh, faces: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points on faces, and the normals a renderer has there: the map in 8 bits, filtered, in blended frames."""
    normals = vertex_normals(mesh.vertices, mesh.faces)
    corners = tangent_corners(mesh, normals)

    def mixed(values: np.ndarray) -> np.ndarray:
        return (values[corners.faces[faces]] * weights[..., None]).sum(1)

    point, normal, tangent, uv = (
        mixed(values)
        for values in (mesh.vertices[corners.vertex], normals[corners.vertex], corners.tangents, mesh.uv[corners.uv])
    )
    size = len(mesh.normal_map)
    eight_bits = np.round((mesh.normal_map + 1) / 2 * 255).astype(np.float32) / 255 * 2 - 1
    grid = (uv * [size, -size] + [-0.5, size - 0.5]).astype(np.float32)
    x, y, z = cv2.remap(eight_bits, grid[:, None], None, cv2.INTER_LINEAR)[:, 0].T[..., None]
    bitangent = tangent[:, 3:] * np.cross(normal, tangent[:, :3])
    shaded = x * tangent[:, :3] + y * bitangent + z * normal
    return point, shaded / np.linalg.norm(shaded, axis=1, keepdims=True)


def _angle_deg(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((one * two).sum(-1), -1, 1)))


def test_known_bumps_come_back(baked):
    rng = np.random.default_rng(0)
    faces = rng.integers(len(baked.faces), size=20_000)
    points, shaded = _shaded(baked, faces, rng.dirichlet(np.ones(3), len(faces)))
    without = points / np.linalg.norm(points, axis=1, keepdims=True)
    error, before = _angle_deg(shaded, _true_normals(points)), _angle_deg(without, _true_normals(points))
    assert np.median(before) > 6
    assert np.median(error) < 0.6
    assert np.percentile(error, 95) < 2


def test_seams_do_not_show(baked):
    """Both sides of each cut through the picture shade alike."""
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for face, corners in enumerate(baked.faces):
        for k in range(3):
            a, b = int(corners[k]), int(corners[(k + 1) % 3])
            edges.setdefault((min(a, b), max(a, b)), []).append((face, k))
    torn = []
    for (low, _), sides in edges.items():
        ends = []
        for face, k in sides:
            pair = baked.uv_faces[face, [k, (k + 1) % 3]]
            ends.append(tuple(pair if baked.faces[face, k] == low else pair[::-1]))
        if ends[0] != ends[1]:
            torn.append((low, sides))
    assert len(torn) > 20
    shaded = []
    for side in range(2):
        faces, weights = [], []
        for low, sides in torn:
            face, k = sides[side]
            for share in (0.25, 0.5, 0.75):
                weight = np.zeros(3)
                weight[k] = share if baked.faces[face, k] == low else 1 - share
                weight[(k + 1) % 3] = 1 - weight[k]
                faces.append(face)
                weights.append(weight)
        points, normals = _shaded(baked, np.array(faces), np.array(weights))
        shaded.append((points, normals))
    np.testing.assert_allclose(shaded[0][0], shaded[1][0], atol=1e-9)
    difference = _angle_deg(shaded[0][1], shaded[1][1])
    assert np.median(difference) < 1
    assert np.percentile(difference, 95) < 4.5


def test_a_mesh_that_is_fine_enough_gets_a_flat_map():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=_RADIUS)
    mesh = Mesh(np.array(ball.vertices), np.array(ball.faces))
    atlas = unwrap(mesh, 128)
    textured = TexturedMesh(mesh.vertices, mesh.faces, atlas.uv, atlas.uv_faces, np.zeros((128, 128, 3), np.float32))
    flat = with_normal_map(textured, mesh).normal_map
    np.testing.assert_allclose(np.linalg.norm(flat, axis=2), 1, atol=1e-5)
    assert flat[..., 2].min() > np.cos(np.radians(1e-2))


def test_the_map_has_the_size_of_the_texture_and_no_gaps(baked):
    assert baked.normal_map.shape == baked.albedo.shape
    np.testing.assert_allclose(np.linalg.norm(baked.normal_map, axis=2), 1, atol=1e-5)


def test_between_charts_the_nearest_texel_goes_on(baked):
    frames = texel_frames(baked, vertex_normals(baked.vertices, baked.faces))
    beside = ~frames.covered & (cv2.dilate(frames.covered.astype(np.uint8), np.ones((3, 3))) > 0)
    neighbours = np.stack([np.roll(baked.normal_map, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    known = np.stack([np.roll(frames.covered, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    same = ((neighbours == baked.normal_map).all(-1) & known).any(0)
    assert same[beside].all()


def _square(height: float, *, up: bool = True) -> Mesh:
    vertices = np.array([[-1, height, -1], [-1, height, 1], [1, height, 1], [1, height, -1]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, faces if up else faces[:, ::-1])


def test_rays_meet_what_is_nearest_on_either_side_and_looks_their_way():
    sheets = [_square(0.3), _square(-0.1), _square(0.02, up=False)]
    fine = Mesh(
        np.concatenate([s.vertices for s in sheets]), np.concatenate([s.faces + 4 * k for k, s in enumerate(sheets)])
    )
    points = np.array([[0.1, 0.0, 0.2], [0.1, 0.25, 0.2], [0.1, 0.9, 0.2], [3.0, 0.0, 0.0]])
    normals, distance = fine_normals(fine, points, np.tile([0.0, 2.0, 0.0], (4, 1)), reach=0.5)
    np.testing.assert_allclose(distance, [0.1, 0.05, np.inf, np.inf], atol=1e-6)
    np.testing.assert_allclose(normals[:2], [[0, 1, 0], [0, 1, 0]], atol=1e-6)


def test_rays_agree_with_all_faces_asked_one_by_one():
    rng = np.random.default_rng(3)
    fine = _bumpy(3)
    points = rng.normal(size=(300, 3))
    points *= (_RADIUS + rng.uniform(-0.02, 0.02, (300, 1))) / np.linalg.norm(points, axis=1, keepdims=True)
    directions = points / _RADIUS + 0.3 * rng.normal(size=(300, 3))
    _, distance = fine_normals(fine, points, directions, reach=0.015)
    expected = _distance_by_hand(fine, points, directions)
    expected[expected > 0.015] = np.inf
    np.testing.assert_allclose(distance, expected, rtol=1e-4, atol=1e-7)
    assert 100 < np.isfinite(distance).sum() < 290


def _distance_by_hand(fine: Mesh, points: np.ndarray, directions: np.ndarray) -> np.ndarray:
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    a, b, c = (fine.vertices[fine.faces[:, k]] for k in range(3))
    found = np.full(len(points), np.inf)
    for i, (point, way) in enumerate(zip(points, unit, strict=True)):
        matrices = np.stack([b - a, c - a, np.broadcast_to(-way, a.shape)], axis=2)
        u, v, t = np.linalg.solve(matrices, (point - a)[..., None])[..., 0].T
        outward = np.cross(b - a, c - a) @ way > 0
        met = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & outward
        found[i] = np.abs(t[met]).min(initial=np.inf)
    return found
