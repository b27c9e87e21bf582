"""Residuals of the head fit and their derivatives: points on the morphable surface, a pinhole pose, robust terms."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Integer
from scipy.spatial.transform import Rotation

POSE_SIZE = 7
"""Unknowns of a pose: rotation vector (3), translation (3), logarithm of the focal length (1)."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points attached to the surface of the head model, with their displacement by each parameter.

    Attributes:
        corners: coarse vertices of the face that holds each point.
        barycentric: weights of those vertices.
        mean: positions on the mean head, world frame.
        plus: displacement by each shape parameter at +1.
        minus: displacement by each shape parameter at -1.
        expression: displacement by each expression at 1.
    """

    corners: Integer[np.ndarray, "m 3"]
    barycentric: Float[np.ndarray, "m 3"]
    mean: Float[np.ndarray, "m 3"]
    plus: Float[np.ndarray, "m 3 k"]
    minus: Float[np.ndarray, "m 3 k"]
    expression: Float[np.ndarray, "m 3 e"]

    def __len__(self) -> int:
        return len(self.mean)

    @staticmethod
    def of_vertices(
        mean: Float[np.ndarray, "n 3"],
        plus: Float[np.ndarray, "n 3 k"],
        minus: Float[np.ndarray, "n 3 k"],
        expression: Float[np.ndarray, "n 3 e"],
    ) -> SurfacePoints:
        """Return all vertices of a mesh as points."""
        corners = np.repeat(np.arange(len(mean))[:, None], 3, axis=1)
        barycentric = np.tile([1.0, 0.0, 0.0], (len(mean), 1))
        return SurfacePoints(corners, barycentric, mean, plus, minus, expression)

    def at_barycentric(
        self, corners: Integer[np.ndarray, "s 3"], barycentric: Float[np.ndarray, "s 3"]
    ) -> SurfacePoints:
        """Return points inside triangles of the mesh; ``self`` must hold all its vertices."""

        def interpolated(field: Float[np.ndarray, "n 3 *c"]) -> Float[np.ndarray, "s 3 *c"]:
            return np.einsum("sc,sc...->s...", barycentric, field[corners])

        moved = (interpolated(field) for field in (self.mean, self.plus, self.minus, self.expression))
        return SurfacePoints(corners, np.asarray(barycentric, np.float64), *moved)

    def replaced(
        self, rows: Integer[np.ndarray, "r"], source: SurfacePoints, chosen: Integer[np.ndarray, "r"]
    ) -> SurfacePoints:
        """Return the points with some of them replaced by points ``chosen`` from ``source``."""
        replaced_fields = []
        for field in fields(self):
            values = getattr(self, field.name).copy()
            values[rows] = getattr(source, field.name)[chosen]
            replaced_fields.append(values)
        return SurfacePoints(*replaced_fields)

    def positions(self, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]) -> Float[np.ndarray, "m 3"]:
        """Return the positions, world frame; linear in each shape parameter on either side of zero."""
        moved = self.mean + self.plus @ np.maximum(shape, 0) + self.minus @ np.maximum(-shape, 0)
        return moved + self.expression @ expression

    def jacobian(self, shape: Float[np.ndarray, "k"]) -> Float[np.ndarray, "m 3 b"]:
        """Return the derivative of ``positions`` by (shape, expression); at parameter 0 the mean of both sides."""
        up = np.where(shape > 0, 1.0, np.where(shape < 0, 0.0, 0.5))
        return np.concatenate([self.plus * up - self.minus * (1 - up), self.expression], axis=2)


@dataclass(frozen=True)
class Pose:
    """A pinhole camera while it is being fitted.

    Attributes:
        rotation: camera from world, OpenCV camera axes.
        translation: of the same transform, head units.
        log_focal: logarithm of the focal length in pixels.
        centre_px: principal point.
    """

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    log_focal: float
    centre_px: Float[np.ndarray, "2"]

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return float(np.exp(self.log_focal))

    def moved(self, step: Float[np.ndarray, "7"]) -> Pose:
        """Return the pose after a step in (rotation vector, applied on the left; translation; log focal)."""
        rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ self.rotation
        return Pose(rotation, self.translation + step[3:6], self.log_focal + step[6], self.centre_px)

    def camera_points(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3"]:
        """Transform world points to the camera frame."""
        return points @ self.rotation.T + self.translation

    def project(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 2"]:
        """Project world points to pixels."""
        camera = self.camera_points(points)
        return self.focal_px * camera[:, :2] / camera[:, 2:] + self.centre_px

    def jacobian_by_point(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 2 3"]:
        """Return the derivative of ``project`` by the points, world frame."""
        return self._by_camera(points) @ self.rotation

    def jacobian(
        self, points: Float[np.ndarray, "m 3"], point_jacobian: Float[np.ndarray, "m 3 b"]
    ) -> Float[np.ndarray, "m 2 c"]:
        """Return the derivative of ``project`` by the parameters that move the points, then by the pose."""
        by_camera = self._by_camera(points)
        by_rotation = -by_camera @ _cross_matrices(points @ self.rotation.T)
        by_focal = (self.project(points) - self.centre_px)[..., None]
        return np.concatenate([(by_camera @ self.rotation) @ point_jacobian, by_rotation, by_camera, by_focal], axis=2)

    def _by_camera(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 2 3"]:
        camera = self.camera_points(points)
        scale = self.focal_px / camera[:, 2]
        out = np.zeros((len(points), 2, 3))
        out[:, 0, 0] = out[:, 1, 1] = scale
        out[:, :, 2] = -scale[:, None] * camera[:, :2] / camera[:, 2:]
        return out


@dataclass(frozen=True)
class PointTerm:
    """Residuals of surface points that should project to given pixels.

    Attributes:
        target_px: those pixels.
        whiten: maps a pixel error to standard deviations; of rank one where a point may slide along a contour.
        robust: errors beyond so many standard deviations count ever less (Cauchy).
        weight: of each point, less than 1 where neighbours are correlated.
    """

    points: SurfacePoints
    target_px: Float[np.ndarray, "m 2"]
    whiten: Float[np.ndarray, "m 2 2"]
    robust: float
    weight: Float[np.ndarray, "m"]

    def residuals(
        self, pose: Pose, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]
    ) -> Float[np.ndarray, "m 2"]:
        """Return the whitened pixel errors."""
        error_px = pose.project(self.points.positions(shape, expression)) - self.target_px
        return np.einsum("mij,mj->mi", self.whiten, error_px)

    def cost(self, pose: Pose, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]) -> float:
        """Return the Cauchy cost, equal to half the weighted sum of squares for small errors."""
        squared = (self.residuals(pose, shape, expression) ** 2).sum(1) / self.robust**2
        return float(0.5 * self.robust**2 * (self.weight * np.log1p(squared)).sum())

    def normal_equations(
        self, pose: Pose, shape: Float[np.ndarray, "k"], expression: Float[np.ndarray, "e"]
    ) -> tuple[Float[np.ndarray, "b b"], Float[np.ndarray, "b"]]:
        """Return the Gauss-Newton matrix and gradient by (shape, expression, pose), Cauchy weights held fixed."""
        positions = self.points.positions(shape, expression)
        residual = np.einsum("mij,mj->mi", self.whiten, pose.project(positions) - self.target_px)
        jacobian = self.whiten @ pose.jacobian(positions, self.points.jacobian(shape))
        robust_weight = self.weight / (1 + (residual**2).sum(1) / self.robust**2)
        root = np.sqrt(np.repeat(robust_weight, 2))[:, None]
        flat = jacobian.reshape(len(root), jacobian.shape[2]) * root
        return flat.T @ flat, flat.T @ (residual.reshape(-1, 1) * root)[:, 0]


def isotropic_whitening(sigma_px: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m 2 2"]:
    """Return the whitening by one standard deviation per point."""
    return np.eye(2) / sigma_px[:, None, None]


def contour_whitening(
    normal_px: Float[np.ndarray, "m 2"], sigma_across_px: Float[np.ndarray, "m"], along: float = 0.0
) -> Float[np.ndarray, "m 2 2"]:
    """Return the whitening of errors along unit normals; those along the contour count by the factor ``along``."""
    outer = normal_px[:, :, None] * normal_px[:, None, :]
    return (outer + along * (np.eye(2) - outer)) / sigma_across_px[:, None, None]


def scaled_orthographic_pose(
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    distance: float,
    centre_px: Float[np.ndarray, "2"],
) -> Pose:
    """Return a first pose from the best affine camera: its rows made orthogonal, at a given distance from the points.

    Args:
        points: world frame.
        distance: of the camera from the points' centre, head units.
        centre_px: principal point.
    """
    middle, middle_px = points.mean(0), pixels.mean(0)
    affine = np.linalg.lstsq(points - middle, pixels - middle_px, rcond=None)[0].T
    left, values, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])
    scale = float(values.mean())
    camera = np.append((middle_px - centre_px) / scale, distance)
    return Pose(
        rotation, camera - rotation @ middle, float(np.log(scale * distance)), np.asarray(centre_px, np.float64)
    )


def _cross_matrices(vectors: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3 3"]:
    """Return matrices K with K @ w = vector x w."""
    out = np.zeros((len(vectors), 3, 3))
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = -vectors[:, 2], vectors[:, 1], -vectors[:, 0]
    return out - np.swapaxes(out, 1, 2)
