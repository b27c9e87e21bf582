"""Registration: the template lies on an unseen surface, regular, with everything in place, and can move there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spinmeround.geometry import project, vertex_normals
from spinmeround.mesh_raster import rasterize_pixels
from spinmeround.orbits import orbit_cameras
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES, FaceMesh
from spinmeround.template.model.expression_transfer import eyeball, personal_morphs
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points, load_head_model
from spinmeround.template.registration import landmarks
from spinmeround.template.registration.fitter import RegisteredHead, register_template
from spinmeround.template.registration.inner_parts import LidClearance
from spinmeround.template.registration.model_fit import Regions
from spinmeround.template.registration.target import Similarity, Target, umeyama, without_boundary
from spinmeround.types import Mesh, Views
from tests.template.unseen_heads import MM, Stranger, stranger


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


def smile() -> np.ndarray:
    actions = np.zeros(52)
    for name, amount in (("mouthSmileLeft", 0.6), ("mouthSmileRight", 0.6), ("jawOpen", 0.3), ("eyeBlinkLeft", 0.9)):
        actions[BLENDSHAPE_NAMES.index(name)] = amount
    return actions


@pytest.fixture(scope="module")
def still(model) -> tuple[Stranger, RegisteredHead]:
    given = stranger(model, 1)
    return given, register_template(model, given.surface, given.landmarks)


@pytest.fixture(scope="module")
def smiling(model) -> tuple[Stranger, RegisteredHead]:
    given = stranger(model, 2, expression=smile())
    return given, register_template(model, given.surface, given.landmarks)


@pytest.fixture(scope="module", params=["still", "smiling"])
def somebody(request) -> tuple[Stranger, RegisteredHead]:
    return request.getfixturevalue(request.param)


def test_it_lies_on_the_face_of_the_surface(model, somebody):
    given, head = somebody
    assert head.report["face_distance_mm"]["median"] < 0.3
    ours = head.world_from_head(model.dense(head.posed))
    away = np.linalg.norm(ours - model.dense(given.posed), axis=1) * MM
    face = Regions.of(model).outer_skin & (model.masks["face"] > 0.5)
    assert np.median(away[face]) < 1.5


def test_it_stays_regular(somebody):
    report = somebody[1].report
    assert report["flipped_faces"] == 0
    assert report["area_ratio"]["least"] > 0.4
    assert report["area_ratio"]["most"] < 2.5
    assert report["worst_quality"] > 0.3


def test_landmarks_are_where_they_were_seen(model, somebody):
    given, head = somebody
    ours = head.world_from_head(landmark_points(model, head.posed, range(468)))
    true = landmark_points(model, given.posed, range(468))
    assert np.median(np.linalg.norm(ours - true, axis=1)) * MM < 1.2


def test_eyes_and_teeth_are_in_place(model, somebody):
    given, head = somebody
    ours = head.world_from_head(head.posed)
    for name in ("eye_left", "eye_right", "teeth_upper", "teeth_lower"):
        piece = model.part == PARTS.index(name)
        assert np.linalg.norm(ours[piece].mean(0) - given.posed[piece].mean(0)) * MM < 3.0, name
    for side in ("eye_left", "eye_right"):
        inside, points, _ = LidClearance.of(model, model.mean.astype(np.float64), side).penetrations(
            model, head.neutral
        )
        assert np.linalg.norm(model.dense(head.neutral)[inside] - points, axis=1).max(initial=0) * MM < 1.5


def test_the_upright_head_looks_ahead(model, somebody):
    given, head = somebody
    turn = head.world_from_head.rotation
    true = umeyama(model.mean.astype(np.float64), given.neutral, np.ones(len(model.mean))).rotation
    angle = np.degrees(np.arccos(np.clip((np.trace(turn @ true.T) - 1) / 2, -1, 1)))
    assert angle < 3
    assert head.world_from_head.scale == 1


def test_at_rest_the_expression_is_gone(model, smiling):
    given, head = smiling
    lips = (61, 291, 13, 14, 17)
    true = landmark_points(model, given.neutral, lips)
    ours, posed = (head.world_from_head(landmark_points(model, v, lips)) for v in (head.neutral, head.posed))
    at_rest, before = (np.linalg.norm(v - true, axis=1).mean() * MM for v in (ours, posed))
    assert before > 4 and at_rest < 0.4 * before


def test_lids_that_are_open_stay_as_they_are(model, still):
    _, head = still
    for upper, lower in ((386, 374), (159, 145)):
        rest, posed = (np.diff(landmark_points(model, v, (lower, upper))[:, 1])[0] for v in (head.neutral, head.posed))
        assert abs(rest - posed) * MM < 1.0


def test_lids_meet_and_the_jaw_opens(model, somebody):
    _, head = somebody
    morphs = personal_morphs(model, head.neutral)
    rest = model.dense(head.neutral)
    for side in ("Left", "Right"):
        part = f"eye_{side.lower()}"
        shut = rest + morphs[BLENDSHAPE_NAMES.index(f"eyeBlink{side}")]
        assert seen_mm(model, rest, head.neutral, part) > 4
        assert seen_mm(model, shut, head.neutral, part) < 0.5
    jaw = BLENDSHAPE_NAMES.index("jawOpen")
    chin = np.linalg.norm(model.dense(model.mean) - landmark_points(model, model.mean, [152]), axis=1).argmin()
    assert -45 < morphs[jaw, chin, 1] * MM < -15


def seen_mm(model: HeadModel, vertices: np.ndarray, neutral: np.ndarray, part: str) -> float:
    """Height of the eye between its lids from the front."""
    centre, radius = eyeball(model, neutral, part)
    size, span = 300, 2.2 * radius
    x, y = ((vertices - centre)[:, :2] / span * (1, -1) + 0.5).T * size
    drawn = rasterize_pixels(np.stack([x, y, 5 - vertices[:, 2]], 1), model.dense_faces, size, size)
    owner = np.where(drawn.face >= 0, model.dense_part[np.maximum(drawn.face, 0)], -1)
    return float((owner == PARTS.index(part)).sum(0).max() * span / size * MM)


def test_without_landmarks_shape_alone_is_enough(model):
    given = stranger(model, 3)
    head = register_template(model, given.surface, None)
    assert head.report["face_distance_mm"]["median"] < 0.4
    numbers = range(468)
    ours = head.world_from_head(landmark_points(model, head.posed, numbers))
    away = np.linalg.norm(ours - landmark_points(model, given.posed, numbers), axis=1) * MM
    assert np.median(away) < 3


def test_the_same_surface_gives_the_same_head(model, still):
    given, head = still
    np.testing.assert_array_equal(register_template(model, given.surface, given.landmarks).neutral, head.neutral)


def test_a_surface_matches_nothing_where_it_ends():
    x, z = np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij")
    corner = (6 * np.arange(5)[:, None] + np.arange(5)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 6], 1), np.stack([corner + 1, corner + 7, corner + 6], 1)]
    )
    surface = Mesh(np.stack([x.ravel(), 0 * x.ravel(), z.ravel()], 1), faces)
    sheet = Target(surface)
    queries = np.array([[2.0, 0.3, 2.0], [-0.4, 0.1, 2.0], [2.0, 0.3, 3.0]])
    up = np.array([[0.0, 1.0, 0.0]] * 2 + [[0.0, -1.0, 0.0]])
    matches = sheet.match(queries, up)
    assert matches.found.tolist() == [True, False, False]
    np.testing.assert_allclose(matches.point[0], [2, 0, 2])
    left = surface.vertices[without_boundary(surface).faces]
    assert len(left) == 18 and left[..., ::2].min() == 1 and left[..., ::2].max() == 4


def test_similarities_undo_and_find_themselves():
    rng = np.random.default_rng(0)
    motion = Similarity(1.0, np.eye(3), np.zeros(3)).after_step(np.array([0.3, -0.2, 0.4, 1.0, 2.0, 3.0, 0.25]))
    points = rng.normal(size=(20, 3))
    np.testing.assert_allclose(motion.inverse()(motion(points)), points, atol=1e-12)
    found = umeyama(points, motion(points), np.ones(20))
    assert found.scale == pytest.approx(np.exp(0.25))
    np.testing.assert_allclose(found.rotation, motion.rotation, atol=1e-9)


def test_on_a_hull_that_is_too_large_landmarks_shape_the_face(model):
    given = stranger(model, 5)
    out = vertex_normals(given.surface.vertices, given.surface.faces)
    hull = Mesh(given.surface.vertices + 8 / MM * out, given.surface.faces)
    head = register_template(model, hull, dataclasses.replace(given.landmarks, surface_trusted=False))
    numbers = range(468)
    ours = head.world_from_head(landmark_points(model, head.posed, numbers))
    away = np.linalg.norm(ours - landmark_points(model, given.posed, numbers), axis=1) * MM
    assert np.median(away) < 2.5
    assert head.is_face
    assert head.report["face_distance_mm"]["median"] > 5
    elsewhere = head.report | {"face_distance_mm": {"median": 41.0, "p95": 65.0}}
    assert not dataclasses.replace(head, report=elsewhere).is_face


def test_landmarks_are_where_rays_meet_if_the_surface_is_not(model, monkeypatch):
    truth = landmark_points(model, model.mean.astype(np.float64), range(478))
    cameras = orbit_cameras([0.0, 25.0, -25.0, 10.0, -35.0], [0.0, 5.0, 0.0, -8.0, 0.0], size_px=256)

    def seen(picture: np.ndarray) -> list[FaceMesh]:
        index = round(float(picture[0, 0, 0]) * 100)
        pixels = project(truth, cameras.camera_from_world[index], cameras.intrinsics_px[index])
        scale = cameras.intrinsics_px[index, 0, 0]
        flat = pixels[:, :2].astype(np.float32)
        return [FaceMesh(flat, ((pixels[:, 2] - 2.7) * scale / 2.7).astype(np.float32), np.zeros(52, np.float32), 1.0)]

    monkeypatch.setattr(landmarks, "find_faces", seen)
    rgb = np.ones((5, 256, 256, 3), np.float32) * np.arange(5, dtype=np.float32)[:, None, None, None] / 100
    alpha = np.ones((5, 256, 256), np.float32)
    views = Views(cameras, rgb, np.zeros_like(rgb), alpha, alpha)
    skin = Mesh(model.dense(model.mean).astype(np.float64), model.dense_faces)
    there = landmarks.find_surface_landmarks(views, skin)
    assert there is not None and there.surface_trusted
    assert there.view_count >= 4
    bounds = Mesh(1.15 * skin.vertices, skin.faces)
    met = landmarks.find_surface_landmarks(views, bounds)
    assert met is not None and not met.surface_trusted
    np.testing.assert_allclose(met.points, truth, atol=1e-3)
