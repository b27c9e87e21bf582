"""The nearest vertex to each point of a grid, against a search tree."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spinmeround.template.hair.nearest_on_grid import Grid, nearest_vertices


@pytest.mark.parametrize("beyond", [0.0, 0.3])
def test_near_vertices_are_exact_and_far_ones_as_near_but_for_a_cell(beyond):
    """Vertices on a sphere, some of which lie beyond the grid."""
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(4000, 3))
    vertices *= 0.3 / np.linalg.norm(vertices, axis=1, keepdims=True)
    grid = Grid.covering(np.array([beyond - 0.35, -0.35, -0.35]), np.full(3, 0.5), 0.02)
    points = grid.points()
    distance, nearest = nearest_vertices(grid, points, vertices)
    exact, index = cKDTree(vertices).query(points)
    near = exact < 2 * grid.cell
    assert near.any() and (nearest[near] == index[near]).all()
    assert np.allclose(distance, np.linalg.norm(points - vertices[nearest], axis=1))
    # Vertices beyond the grid stand on its border.
    assert (distance - exact).max() < (3 if beyond else np.sqrt(3)) * grid.cell
