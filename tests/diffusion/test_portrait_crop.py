"""A photo lands where the model's training pictures have heads, however it was turned, scaled and shifted before."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spinmeround import weights
from spinmeround.diffusion.portrait_crop import MODEL_PX, model_from_crop, model_picture, warp_similarity
from spinmeround.errors import WeightsError
from spinmeround.portrait.pose import canonical_face_cm

LEFT_EYE, RIGHT_EYE, MOUTH, CHIN = (263, 362, 386, 374), (33, 133, 159, 145), (61, 291), (152,)
WITHIN = 0.02 * MODEL_PX


@pytest.fixture(scope="module", autouse=True)
def models() -> None:
    try:
        weights.fetch()
    except WeightsError as error:
        pytest.skip(f"the models are not to be had: {error}")


def places(landmarks_px: np.ndarray) -> np.ndarray:
    return np.stack([landmarks_px[list(part)].mean(0) for part in (LEFT_EYE, RIGHT_EYE, MOUTH, CHIN)])


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def average_face(yaw_deg: float = 0.0, scale_px: float = 18.0) -> np.ndarray:
    """The landmark model's mean face, turned and drawn from far away."""
    face = canonical_face_cm()
    face = np.concatenate([face, np.zeros((10, 3))])  # irises are not looked at
    angle = np.radians(yaw_deg)
    x = face[:, 0] * np.cos(angle) - face[:, 2] * np.sin(angle)
    return np.stack([256 + scale_px * x, 256 - scale_px * face[:, 1]], axis=1).astype(np.float32)


@pytest.fixture(scope="module", params=["video_217", "video_10055", "video_e285"])
def first_frame(request, test_data) -> np.ndarray:
    path = test_data / "spin_videos" / f"{request.param}.mp4"
    read, frame = cv2.VideoCapture(str(path)).read()
    assert read
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(("turn_deg", "scale"), [(0, 1.0), (17, 0.8), (-25, 1.4), (-12, 2.0)])
def test_a_published_crop_returns_to_itself(first_frame, turn_deg, scale):
    from spinmeround.io.photo import Photo
    from spinmeround.portrait import make_portrait
    from spinmeround.portrait.landmarks import find_faces

    truth = places(find_faces(first_frame.astype(np.float32) / 255)[0].landmarks_px)
    side = int(MODEL_PX * scale * 1.9)
    canvas_from_frame = cv2.getRotationMatrix2D((256, 256), turn_deg, scale)
    canvas_from_frame[:, 2] += (side / 2 - 256) * np.array([1.0, 0.9])
    canvas = cv2.warpAffine(first_frame, canvas_from_frame, (side, side), borderValue=(255, 255, 255))
    portrait = make_portrait(Photo(canvas.astype(np.float32) / 255)).portrait
    model_from_frame = (
        model_from_crop(portrait.landmarks_px) @ portrait.crop_from_source @ np.vstack([canvas_from_frame, [0, 0, 1]])
    )
    off = np.linalg.norm(moved(model_from_frame, truth) - truth, axis=1)
    assert (off < WITHIN).all(), off / MODEL_PX
    picture = model_picture(portrait)
    assert picture.shape == (MODEL_PX, MODEL_PX, 3)
    difference = np.abs(picture - first_frame.astype(np.float32) / 255)[200:420, 180:340]
    assert difference.mean() < 0.06


def test_the_crop_turns_scales_and_shifts_with_the_photo():
    face = average_face(20)
    crop = model_from_crop(face)
    angle, scale = 0.4, 1.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    again = model_from_crop((face @ turn.T + [300, -40]).astype(np.float32))
    np.testing.assert_allclose(
        moved(again, places(face) @ turn.T + [300, -40]), moved(crop, places(face)), atol=0.02 * MODEL_PX
    )


@pytest.mark.parametrize("yaw_deg", [-45, -20, 20, 45])
def test_the_head_stays_in_its_place_when_it_turns(yaw_deg):
    """The middle of the head, not of the face, is what the crop holds: the same size, upright, the face moves aside."""
    front, turned = (moved(model_from_crop(average_face(a)), places(average_face(a))) for a in (0, yaw_deg))
    np.testing.assert_allclose(turned[:, 1], front[:, 1], atol=0.03 * MODEL_PX)
    assert np.sign(turned[:2, 0].mean() - 256) == -np.sign(yaw_deg)
    depth_px = abs(turned[:2, 0].mean() - 256) / np.sin(np.radians(abs(yaw_deg)))
    assert 0.15 * MODEL_PX < depth_px < 0.3 * MODEL_PX


def test_beyond_the_picture_it_is_white_and_pixels_keep_their_centres():
    picture = np.zeros((40, 60, 3), np.float32)
    shifted = warp_similarity(picture, np.array([[1, 0, 10.0], [0, 1, 0], [0, 0, 1]]), size_px=64)
    assert (shifted[:, :9] == 1).all()
    assert (shifted[:40, 10:64] == 0).all()
    assert (shifted[41:] == 1).all()
    ramp = np.repeat(((np.arange(256) + 0.5) / 256)[None, :, None], 256, axis=0).repeat(3, axis=2).astype(np.float32)
    half = warp_similarity(ramp, np.diag([0.5, 0.5, 1.0]), size_px=128)
    np.testing.assert_allclose(half[64, 4:-4, 0], ((np.arange(128) + 0.5) / 128)[4:-4], atol=1e-5)
