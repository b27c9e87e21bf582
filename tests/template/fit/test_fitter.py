"""The whole fit on heads of the model itself, whose truth is known, and its parts on plain shapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spinmeround.errors import FitError
from spinmeround.geometry import METRES_PER_UNIT, project
from spinmeround.mesh_raster import rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.template.fit.canonical_frame import (
    canonical_from_fitted,
    face_weight,
    pose_in_canonical,
    similarity_free_surface,
)
from spinmeround.template.fit.fitter import fit_head
from spinmeround.template.fit.observations import FACE_OVAL, MorphableSurface, PosedSurface, landmark_term
from spinmeround.template.fit.residuals import Pose
from spinmeround.template.fit.silhouette import Silhouette, head_silhouette, matte_edges, skin_silhouette_iou
from spinmeround.template.model.head_model import landmark_points, load_head_model
from spinmeround.types import Portrait

SIZE = 512


@pytest.fixture(scope="module")
def model():
    return load_head_model()


def _portrait(landmarks_px, blendshapes, alpha, **changes) -> Portrait:
    none = np.zeros_like(alpha)
    fields = {
        "rgb": np.ones((*alpha.shape, 3), np.float32),
        "alpha": alpha,
        "hair": none,
        "clothes": none,
        "headwear": none,
        "foreground": np.ones((*alpha.shape, 3), np.float32),
        "observed": np.ones(alpha.shape, bool),
        "landmarks_px": landmarks_px,
        "blendshapes": blendshapes,
        "head_pose_deg": np.zeros(3),
        "crop_from_source": np.eye(3),
    }
    return Portrait(**{**fields, **changes})


def _photograph(model, vertices, expression, azimuth_deg, elevation_deg) -> Portrait:
    """Landmarks with the noise of a detector (one pixel) and the true mask."""
    camera = orbit_cameras([azimuth_deg], [elevation_deg], size_px=SIZE)
    landmarks = landmark_points(model, vertices)
    pixels = project(landmarks, camera.camera_from_world[0], camera.intrinsics_px[0])[:, :2]
    noise = np.random.default_rng(abs(int(azimuth_deg))).standard_normal((478, 2))
    alpha = (rasterize(vertices, model.faces, camera, 0).face >= 0).astype(np.float32)
    return _portrait(pixels + 0.7 * noise, expression, alpha)


def _person(model, seed):
    """Neutral and posed vertices of a person well away from the mean, in the canonical place."""
    rng = np.random.default_rng(seed)
    principal = np.array([name.startswith("pca_") for name in model.shape_names])
    shape = np.where(principal, rng.standard_normal(len(principal)), 0.0)
    local = rng.choice(np.flatnonzero(~principal), 10, replace=False)
    shape[local] = shape[model.shape_mirror[local]] = 0.4
    expression = np.zeros(52)
    expression[model.expression_names.index("jawOpen")] = 0.3
    expression[model.expression_names.index("eyeLookInLeft")] = 0.4
    neutral = model.vertices(shape).astype(np.float64)
    scale, rotation, translation = canonical_from_fitted(model, neutral)
    neutral = scale * neutral @ rotation.T + translation
    return neutral, neutral + np.tensordot(expression, model.expression_basis, 1), expression


def _face_error_mm(model, found, truth) -> float:
    seen = face_weight(model) > 0
    return float(np.median(np.linalg.norm(found - truth, axis=1)[seen])) * METRES_PER_UNIT * 1000


def test_shape_camera_and_expression_of_a_known_head(model):
    neutral, posed, expression = _person(model, 2)
    reported = []
    views = [_photograph(model, posed, expression, azimuth, 4.0) for azimuth in (12.0, -30.0)]
    head = fit_head(views[:1], model, progress=reported.append)
    one = _face_error_mm(model, head.neutral, neutral)
    # Landmarks of real photos err together, so the fit trusts them less than this independent noise would allow.
    assert one < 0.7 * _face_error_mm(model, model.mean, neutral)
    assert one < 1.6
    photo = head.photos[0]
    assert photo.landmark_error_iod < 0.012
    assert photo.silhouette_iou > 0.98
    assert photo.expression[model.expression_names.index("jawOpen")] == pytest.approx(0.3, abs=0.12)
    assert head.posed(0).shape == model.mean.shape
    forward = -photo.camera.camera_from_world[0, 2, :3]
    assert np.degrees(np.arctan2(forward[0], forward[2])) == pytest.approx(12, abs=3)
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    both = fit_head(views, model)
    assert _face_error_mm(model, both.neutral, neutral) < one
    assert np.array_equal(fit_head(views[:1], model).neutral, head.neutral), "the same bytes again"


def test_fitted_heads_stand_in_the_canonical_place(model):
    _, posed, expression = _person(model, 5)
    head = fit_head([_photograph(model, posed, expression, 20.0, 0.0)], model)
    scale, rotation, translation = canonical_from_fitted(model, head.neutral)
    assert scale == pytest.approx(1, abs=1e-9)
    assert Rotation.from_matrix(rotation).magnitude() < 1e-9
    assert np.abs(translation).max() < 1e-9


def test_eyes_follow_the_irises(model):
    posed = model.vertices(np.zeros(len(model.shape_names))).astype(np.float64)
    look = np.zeros(52)
    for name in ("eyeLookInLeft", "eyeLookOutRight"):
        look[model.expression_names.index(name)] = 0.6
    turned = posed + np.tensordot(look, model.expression_basis, 1)
    # The detector's scores say nothing here; only the irises do.
    portrait = _photograph(model, turned, np.zeros(52), 0.0, 0.0)
    found = fit_head([portrait], model).photos[0].expression
    for name in ("eyeLookInLeft", "eyeLookOutRight"):
        assert found[model.expression_names.index(name)] == pytest.approx(0.6, abs=0.2)
    assert found[model.expression_names.index("eyeLookOutLeft")] < 0.1


def test_no_photo_and_no_face_are_refused(model):
    with pytest.raises(FitError, match="at least one photo, got none"):
        fit_head([], model)
    scattered = np.random.default_rng(0).uniform(0, SIZE, (478, 2))
    nonsense = _portrait(scattered, np.zeros(52), np.ones((SIZE, SIZE), np.float32))
    with pytest.raises(FitError, match="photo 1: the head model stays"):
        fit_head([nonsense], model)


def test_shape_changes_hold_no_motion_of_the_face(model):
    surface = similarity_free_surface(model)
    weight = face_weight(model)[:, None, None]
    assert np.abs((weight * surface.plus).sum(0) / weight.sum()).max() < 1e-9
    growth = (weight * surface.plus * model.mean[:, :, None]).sum((0, 1)) / weight.sum()
    assert np.abs(growth).max() < 1e-9
    turn = np.cross(model.mean[:, :, None], surface.minus, axis=1)
    assert np.abs((weight * turn).sum(0) / weight.sum()).max() < 1e-9


def test_moving_head_and_camera_together_changes_no_pixel():
    rng = np.random.default_rng(0)
    points = 0.2 * rng.standard_normal((20, 3))
    pose = Pose(np.diag([1.0, -1.0, -1.0]), np.array([0.02, 0.1, 3.0]), 7.5, np.array([256.0, 256.0]))
    scale, rotation, translation = 1.2, Rotation.from_rotvec([0.1, -0.2, 0.05]).as_matrix(), np.array([0.1, 0, -0.05])
    moved = pose_in_canonical(pose, scale, rotation, translation)
    assert np.allclose(moved.project(scale * points @ rotation.T + translation), pose.project(points))


def test_contour_of_a_turned_head_slides_along_the_occluding_contour(model):
    surface = MorphableSurface.from_vertices(model, similarity_free_surface(model))
    rotation = np.diag([1.0, -1.0, -1.0]) @ Rotation.from_euler("Y", -40, degrees=True).as_matrix()
    pose = Pose(rotation, np.array([0.0, 0.0, 3.0]), float(np.log(2000)), np.array([256.0, 256.0]))
    shape, still = np.zeros(len(model.shape_names)), np.zeros(52)
    posed = PosedSurface.from_state(surface, pose, shape, still)
    blank = _portrait(pose.project(surface.landmarks.mean), still, np.ones((SIZE, SIZE), np.float32))
    term = landmark_term(surface, blank, pose, posed, slide=True)
    hidden = FACE_OVAL[posed.landmark_facing[FACE_OVAL] < 0.25]
    assert len(hidden) > 5
    rank = np.linalg.matrix_rank(term.whiten[hidden], tol=1e-9)
    assert (rank == 1).sum() > len(hidden) // 2
    anywhere = np.setdiff1d(np.arange(478), FACE_OVAL)
    assert (np.linalg.matrix_rank(term.whiten[anywhere]) == 2).all()


def _ball() -> tuple[np.ndarray, np.ndarray, Pose]:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.25)
    pose = Pose(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 3.0]), float(np.log(1500)), np.array([256.0, 256.0]))
    return np.asarray(ball.vertices), np.asarray(ball.faces), pose


def _disc(radius_px: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.clip(radius_px + 0.5 - np.hypot(x - 256, y - 256), 0, 1).astype(np.float32)


def test_silhouette_normals_point_outward_and_edges_are_found_where_they_are():
    vertices, faces, pose = _ball()
    silhouette = head_silhouette(vertices, faces, pose, SIZE)
    radial = (silhouette.pixel - 256) / np.linalg.norm(silhouette.pixel - 256, axis=1, keepdims=True)
    assert ((silhouette.normal * radial).sum(1) > 0.97).all()
    radius = 1500 * 0.25 / np.sqrt(9 - 0.25**2)
    portrait = _portrait(np.zeros((478, 2)), np.zeros(52), _disc(radius + 7))
    edges = matte_edges(portrait, silhouette, reach_px=20)
    assert edges.skin.all()
    assert np.median(edges.shift_px) == pytest.approx(7, abs=0.8)
    assert not matte_edges(portrait, silhouette, reach_px=3).skin.any(), "too far to be seen"


def test_hair_clothes_and_the_photo_border_are_no_edges_of_skin():
    vertices, faces, pose = _ball()
    silhouette = head_silhouette(vertices, faces, pose, SIZE)
    disc = _disc(130.0)
    top = np.where(np.arange(SIZE)[:, None] < 200, disc, 0)
    bottom = np.where(np.arange(SIZE)[:, None] > 330, disc, 0)
    observed = np.ones(disc.shape, bool)
    observed[:, :140] = False
    portrait = _portrait(
        np.zeros((478, 2)), np.zeros(52), disc * observed, hair=top * observed, clothes=bottom * observed,
        observed=observed,
    )  # fmt: skip
    edges = matte_edges(portrait, silhouette, reach_px=20)
    up, down = silhouette.pixel[:, 1] < 180, silhouette.pixel[:, 1] > 350
    right = (silhouette.pixel[:, 0] > 370) & (np.abs(silhouette.pixel[:, 1] - 256) < 30)
    left = (silhouette.pixel[:, 0] < 142) & (np.abs(silhouette.pixel[:, 1] - 256) < 30)
    assert edges.hair[up & (silhouette.pixel[:, 0] > 180)].all()
    assert not edges.skin[up].any()
    assert not (edges.skin | edges.hair)[down].any()
    assert edges.skin[right].all()
    assert not (edges.skin | edges.hair)[left].any()


def test_silhouette_iou_counts_bare_skin_alone():
    disc = _disc(100.0) > 0.5
    hair = np.where(np.arange(SIZE)[:, None] < 256, _disc(140.0), 0).astype(np.float32)
    alpha = np.maximum(hair, _disc(100.0))
    portrait = _portrait(np.zeros((478, 2)), np.zeros(52), alpha, hair=hair)
    assert skin_silhouette_iou(portrait, disc, lowest_row=512) == 1.0
    smaller = _disc(90.0) > 0.5
    assert skin_silhouette_iou(portrait, smaller, lowest_row=512) == pytest.approx(0.81, abs=0.01)


def test_points_of_a_silhouette_can_be_chosen():
    silhouette = Silhouette(np.arange(3), np.eye(3), np.zeros((3, 2)), np.zeros((3, 2)))
    assert silhouette.take(np.array([True, False, True])).face.tolist() == [0, 2]
