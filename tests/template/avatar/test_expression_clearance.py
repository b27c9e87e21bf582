"""No expression brings the skin of the face over hair that lies on it."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.geometry import vertex_normals
from spinmeround.template.avatar.build import rigid_part
from spinmeround.template.avatar.expression_clearance import clear_of_expressions
from spinmeround.template.avatar.skeleton import HEAD
from spinmeround.template.hair.volume import outer_skin
from spinmeround.template.model.expression_transfer import personal_morphs
from spinmeround.template.model.head_model import HeadModel, load_head_model
from spinmeround.types import AvatarPart, TexturedMesh
from tests.template.avatar.depths import MM, deepest_mm


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="module")
def morphs(model) -> np.ndarray:
    return personal_morphs(model, model.mean)


def on_the_cheeks(model: HeadModel, height: float) -> AvatarPart:
    """Hair beside the face from the temples to the jaw, everywhere as high over the skin."""
    dense = model.dense(model.mean).astype(np.float64)
    x, y, _ = dense.T
    normals = vertex_normals(dense, model.dense_faces)
    beside = outer_skin(model) & (np.sign(x) * normals[:, 0] > 0.5) & (y < 0.05) & (y > -0.3) & (dense[:, 2] > 0)
    beside &= np.abs(x) > 0.12
    points = (dense + height * normals)[beside]
    one = np.zeros((1, 3), np.int64)
    mesh = TexturedMesh(points, one, np.zeros((1, 2)), one, np.zeros((2, 2, 3), np.float32))
    return rigid_part("hair", mesh, HEAD)


def test_hair_on_the_cheeks_stays_over_the_skin_in_every_expression(model, morphs):
    hair = on_the_cheeks(model, 1 / MM)
    cleared = clear_of_expressions(hair, model, model.dense(model.mean), morphs)
    assert len(morphs) == 52
    assert deepest_mm(model, morphs, hair.mesh.vertices) < -3, "the face would reach it"
    assert deepest_mm(model, morphs, cleared.mesh.vertices) > -2
    moved = np.linalg.norm(cleared.mesh.vertices - hair.mesh.vertices, axis=1) * MM
    assert np.median(moved) < 4


@pytest.mark.parametrize("height_mm", [-2.0, 30.0])
def test_roots_and_hair_away_from_the_face_stay(model, morphs, height_mm):
    hair = on_the_cheeks(model, height_mm / MM)
    cleared = clear_of_expressions(hair, model, model.dense(model.mean), morphs)
    np.testing.assert_array_equal(cleared.mesh.vertices, hair.mesh.vertices)
