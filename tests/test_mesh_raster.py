"""The z-buffer against every face tested at every pixel."""

import numpy as np
import pytest

from spinmeround.mesh_raster import rasterize_pixels

WIDTH, HEIGHT = 90, 70


def every_face_at_every_pixel(pixels, faces):
    """The nearest face and its depth, by barycentric coordinates of all pixel centres."""
    column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    nearest, depth = np.full((HEIGHT, WIDTH), -1), np.full((HEIGHT, WIDTH), np.inf)
    for index, corners in enumerate(pixels[faces]):
        edges = np.vstack([corners[:, :2].T, np.ones(3)])
        if abs(np.linalg.det(edges)) < 1e-12:
            continue
        weights = np.linalg.solve(edges, np.stack([column.ravel(), row.ravel(), np.ones(column.size)]))
        inside = (weights > -1e-9).all(0).reshape(HEIGHT, WIDTH)
        z = 1 / np.maximum(weights.T @ (1 / corners[:, 2]), 1e-12).reshape(HEIGHT, WIDTH)
        closer = inside & (z < depth)
        nearest[closer], depth[closer] = index, z[closer]
    return nearest, depth


@pytest.mark.parametrize("thickness", [0.4, 3.0, 60.0])
def test_needles_and_large_faces_are_drawn_where_they_are(thickness):
    rng = np.random.default_rng(0)
    first = rng.uniform([-10, -10], [WIDTH + 10, HEIGHT + 10], (60, 2))
    corners = np.stack([first, first + rng.normal(0, 25, (60, 2)), first + rng.normal(0, thickness, (60, 2))], axis=1)
    pixels = np.dstack([corners, rng.uniform(1, 2, (60, 3))]).reshape(-1, 3)
    faces = np.arange(180).reshape(-1, 3)
    drawn = rasterize_pixels(pixels, faces, WIDTH, HEIGHT)
    nearest, depth = every_face_at_every_pixel(pixels, faces)
    assert (nearest >= 0).mean() > 0.01
    # A pixel centre on an edge falls to either side by rounding.
    assert (drawn.face != nearest).mean() < 1e-3
    agree = (drawn.face == nearest) & (nearest >= 0)
    np.testing.assert_allclose(drawn.depth[agree], depth[agree], rtol=1e-5)


def test_faces_in_front_of_thousands_are_drawn_and_those_behind_hide_nothing():
    rng = np.random.default_rng(1)
    corners = rng.uniform([0, 0], [WIDTH, HEIGHT], (4000, 1, 2)) + rng.normal(0, 12, (4000, 3, 2))
    pixels = np.dstack([corners, rng.uniform(1, 2, (4000, 3))]).reshape(-1, 3)
    faces = np.arange(12000).reshape(-1, 3)
    drawn = rasterize_pixels(pixels, faces, WIDTH, HEIGHT)
    nearest, depth = every_face_at_every_pixel(pixels, faces)
    assert (nearest > 2000).mean() > 0.3
    assert (drawn.face != nearest).mean() < 1e-3
    np.testing.assert_allclose(drawn.depth, depth, rtol=1e-5)
