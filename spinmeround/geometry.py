"""Rigid maths, projection, rays and the frames. numpy only; every function is pure.

World is glTF's (+Y up, +Z out of the face, +X the subject's left), cameras are OpenCV's. ``a_from_b`` maps
coordinates of frame b to frame a, so that frames cancel when transforms are chained.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

from spinmeround.types import Cameras

METRES_PER_UNIT = 0.23 / 0.56
"""A head 0.56 head units high is 0.23 m high: the unit of the camera rig in ``orbits``."""
MILLIMETRE = 1e-3 / METRES_PER_UNIT
"""One millimetre of a head 0.23 m high, in head units."""


def look_at(eye: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """OpenCV ``camera_from_world`` at ``eye`` that sees ``target`` in its centre, world +Y upward in the picture.

    Raises:
        ValueError: ``eye`` and ``target`` coincide or lie above one another.
    """
    forward = np.asarray(target, np.float64) - eye
    right = np.cross(forward, [0.0, 1.0, 0.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError(f"no horizontal direction from {eye} to {target}: the camera would have no up")
    forward /= np.linalg.norm(forward)
    right /= np.linalg.norm(right)
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    camera_from_world[:3, 3] = -camera_from_world[:3, :3] @ eye
    return camera_from_world


def invert_rigid(a_from_b: Float[np.ndarray, "*b 4 4"]) -> Float[np.ndarray, "*b 4 4"]:
    """Inverse of rigid transforms, exact up to rounding."""
    b_from_a = np.zeros_like(a_from_b)
    rotation = np.swapaxes(a_from_b[..., :3, :3], -1, -2)
    b_from_a[..., :3, :3] = rotation
    b_from_a[..., :3, 3] = -(rotation @ a_from_b[..., :3, 3:])[..., 0]
    b_from_a[..., 3, 3] = 1
    return b_from_a


def camera_centres(cameras: Cameras) -> Float[np.ndarray, "v 3"]:
    """Positions of the cameras in the world."""
    return invert_rigid(cameras.camera_from_world)[:, :3, 3]


def select(cameras: Cameras, index: int | slice | list[int] | Integer[np.ndarray, "n"]) -> Cameras:
    """A subset of the cameras, in the order asked for."""
    chosen = [index] if isinstance(index, int) else index
    return Cameras(
        cameras.camera_from_world[chosen], cameras.intrinsics_px[chosen], cameras.width_px, cameras.height_px
    )


def resized(cameras: Cameras, width_px: int, height_px: int) -> Cameras:
    """The same cameras with pictures of another size; the field of view stays."""
    intrinsics_px = cameras.intrinsics_px.copy()
    intrinsics_px[:, 0] *= width_px / cameras.width_px
    intrinsics_px[:, 1] *= height_px / cameras.height_px
    return Cameras(cameras.camera_from_world, intrinsics_px, width_px, height_px)


def framed(cameras: Cameras, radius: float, *, size_px: int) -> Cameras:
    """The same cameras with square pictures cropped and zoomed to a ball around the world's origin.

    Args:
        radius: of the ball, world units; the crop is as wide as the ball's silhouette at the origin's depth.
    """
    intrinsics_px = cameras.intrinsics_px.copy()
    for index in range(len(cameras)):
        x, y, depth = project(np.zeros((1, 3)), cameras.camera_from_world[index], cameras.intrinsics_px[index])[0]
        half_px = radius * cameras.intrinsics_px[index, 0, 0] / depth
        intrinsics_px[index, :2, 2] += half_px - np.array([x, y])
        intrinsics_px[index, :2] *= size_px / (2 * half_px)
    return Cameras(cameras.camera_from_world, intrinsics_px, size_px, size_px)


def project(
    points_world: Float[np.ndarray, "n 3"],
    camera_from_world: Float[np.ndarray, "4 4"],
    intrinsics_px: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "n 3"]:
    """World points to (x px, y px, depth along the camera's +Z). Points behind the camera have depth <= 0."""
    # Written out: BLAS takes ten times as long for a product of many points with a matrix as small as these.
    world = points_world.T
    x, y, depth = (r[0] * world[0] + r[1] * world[1] + r[2] * world[2] + r[3] for r in camera_from_world[:3])
    safe = np.where(np.abs(depth) < 1e-12, 1e-12, depth)
    across, down = ((k[0] * x + k[1] * y + k[2] * depth) / safe for k in intrinsics_px[:2])
    return np.stack([across, down, depth], axis=1)


def pixel_rays_world(
    camera_from_world: Float[np.ndarray, "4 4"], intrinsics_px: Float[np.ndarray, "3 3"], width_px: int, height_px: int
) -> Float[np.ndarray, "h w 3"]:
    """Directions through all pixel centres, world frame, with unit *depth* (camera z = 1), not unit length."""
    x, y = np.meshgrid(np.arange(width_px) + 0.5, np.arange(height_px) + 0.5)
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1)
    return pixels @ np.linalg.inv(intrinsics_px).T @ camera_from_world[:3, :3]


def ray_normal_equations(
    origins: Float[np.ndarray, "r *n 3"], directions: Float[np.ndarray, "r *n 3"], weight: Float[np.ndarray, "r *n"]
) -> tuple[Float[np.ndarray, "*n 3 3"], Float[np.ndarray, "*n 3"]]:
    """Return the normal equations ``matrix @ x = right`` of the point x that is nearest to r weighted lines.

    The point minimises the weighted sum of squared distances: sum w (I - d dᵀ) x = sum w (I - d dᵀ) o. The matrix is
    singular when all lines are parallel; how to solve it is left to the caller.

    Args:
        origins: a point on each line.
        directions: unit vectors.
        weight: of the lines, at least 0.
    """
    across = _across(directions)
    right = (weight[..., None] * np.einsum("r...ij,r...j->r...i", across, origins)).sum(axis=0)
    return (weight[..., None, None] * across).sum(axis=0), right


def distances_to_lines(
    points: Float[np.ndarray, "*n 3"], origins: Float[np.ndarray, "r *n 3"], directions: Float[np.ndarray, "r *n 3"]
) -> Float[np.ndarray, "r *n"]:
    """Return how far points lie from the lines through ``origins`` along the unit vectors ``directions``."""
    return np.linalg.norm(np.einsum("r...ij,r...j->r...i", _across(directions), points - origins), axis=-1)


def _across(directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Return the projections onto the planes perpendicular to unit vectors."""
    return np.eye(3) - directions[..., :, None] * directions[..., None, :]


def face_normals(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    """Normals of length twice the triangle's area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Area-weighted unit vertex normals; 0 at vertices no face uses."""
    weighted = face_normals(vertices, faces)
    total = np.empty((len(vertices), 3))
    for axis in range(3):
        total[:, axis] = sum(np.bincount(faces[:, k], weighted[:, axis], len(vertices)) for k in range(3))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)


def ribbon_vertices(
    centres: Float[np.ndarray, "n 3"],
    tangents: Float[np.ndarray, "n 3"],
    half_widths: Float[np.ndarray, "n"],
    eye: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "v 3"]:
    """Return the two edges of curves that turn their width to ``eye``: vertices 2 i and 2 i + 1 beside centre i."""
    side = np.cross(tangents, eye - centres)
    side *= (half_widths / np.maximum(np.linalg.norm(side, axis=1), 1e-9))[:, None]
    return np.stack([centres - side, centres + side], axis=1).reshape(-1, 3)


def scatter_on_faces(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    count: int,
    *,
    density: Float[np.ndarray, "f"] | float = 1.0,
    rng: np.random.Generator,
) -> tuple[Integer[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
    """Return faces and barycentric weights of ``count`` points spread over a mesh, by area times density.

    Stratified along the cumulative sum over the faces: neighbouring faces are often neighbours in a mesh file too, and
    then the points clump far less than independent ones.

    Raises:
        ValueError: the mesh has no area.
    """
    total = np.cumsum(np.linalg.norm(face_normals(vertices, faces), axis=1) * density)
    if len(total) == 0 or not total[-1] > 0:
        raise ValueError(f"a mesh of {len(faces)} faces without area")
    steps = (np.arange(count) + rng.random(count)) / count * total[-1]
    face = np.minimum(np.searchsorted(total, steps, side="right"), len(total) - 1)
    # Uniform on the triangle: fold the unit square at its diagonal.
    a, b = rng.random(count), rng.random(count)
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    return face, np.stack([1 - a - b, a, b], axis=1)
