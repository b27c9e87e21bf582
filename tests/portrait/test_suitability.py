"""What cannot be used is refused in one line that says why; what merely looks unusual is not."""

from __future__ import annotations

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

from spinmeround.errors import InputError, NoFaceError
from spinmeround.geometry import look_at, vertex_normals
from spinmeround.io.photo import Photo
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.portrait import make_portrait
from spinmeround.portrait.landmarks import find_faces
from spinmeround.portrait.pose import fit_head
from spinmeround.portrait.suitability import check_face
from spinmeround.types import Cameras


def _refusal(picture: np.ndarray, **options) -> str:
    with pytest.raises(InputError) as error:
        make_portrait(Photo(np.ascontiguousarray(picture, np.float32)), **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 160
    return str(error.value)


def _accepted(picture: np.ndarray) -> list[str]:
    mesh = find_faces(picture)[0]
    return check_face(picture, mesh, fit_head(mesh), "photo")


def _cartoon(ink_only: bool) -> np.ndarray:
    picture = np.full((700, 700, 3), 1.0 if ink_only else 0.75)
    ink = (0.1, 0.08, 0.06)
    skin = (1.0, 1.0, 1.0) if ink_only else (0.98, 0.82, 0.68)

    def ellipse(centre, axes, colour, thickness=-1, start=0, end=360):
        cv2.ellipse(picture, centre, axes, 0, start, end, colour, thickness, cv2.LINE_AA)

    ellipse((350, 330), (190, 230), ink)
    ellipse((350, 370), (165, 215), skin)
    for x in (285, 415):
        ellipse((x, 345), (34, 18), (1, 1, 1))
        ellipse((x, 345), (34, 18), ink, 3)
        ellipse((x, 345), (14, 16), ink)
        ellipse((x, 312), (38, 12), ink, 7, 190, 350)
    cv2.polylines(picture, [np.array([[350, 350], [335, 425], [362, 428]])], False, ink, 3, cv2.LINE_AA)
    ellipse((350, 480), (55, 22), ink if ink_only else (0.8, 0.3, 0.3), 8, 10, 170)
    return picture.astype(np.float32)


@pytest.mark.parametrize("ink_only", [False, True])
def test_drawings(models, ink_only):
    assert len(find_faces(_cartoon(ink_only))) == 1, "the detector takes it for a face"
    assert "as in a drawing" in _refusal(_cartoon(ink_only))


def test_edges_of_a_photo_are_a_drawing(astronaut):
    large = cv2.resize((astronaut[:320, 60:380] * 255).astype(np.uint8), (960, 960))
    lines = 1 - cv2.Canny(cv2.GaussianBlur(large, (0, 0), 2), 30, 60)[..., None].repeat(3, axis=2) / 255
    message = _refusal(lines)
    assert "as in a drawing" in message or "no face found" in message


@pytest.mark.parametrize("material", [(0.8, 0.8, 0.78), (0.45, 0.3, 0.12)])
def test_statues(models, test_data, material):
    scan = trimesh.load(test_data / "scans" / "igea.ply", process=False)
    vertices, faces = np.array(scan.vertices), np.array(scan.faces)
    vertices = (vertices - (vertices.max(0) + vertices.min(0)) / 2) / np.ptp(vertices[:, 1])
    camera = look_at(np.array([0.2, 0.1, 3.0]), np.zeros(3))[None]
    intrinsics = np.array([[[1500.0, 0, 384], [0, 1500, 384], [0, 0, 1]]])
    buffer = rasterize(vertices, faces, Cameras(camera, intrinsics, 768, 768), 0)
    normals = interpolate(vertex_normals(vertices, faces), faces, buffer)
    shade = 0.15 + 0.85 * np.clip(normals @ (np.array([0.4, 0.5, 0.8]) / 1.02), 0, 1)
    stone = np.where((buffer.face >= 0)[..., None], shade[..., None] * np.array(material), [0.3, 0.35, 0.5])
    assert "one material" in _refusal(np.clip(stone, 0, 1) ** 0.625)


@pytest.mark.parametrize("video", ["video_10055", "video_217", "video_e285"])
def test_back_of_a_head_and_profile(models, test_data, video):
    turn = [iio.imread(test_data / "spin_videos" / f"{video}.mp4", index=k)[..., :3] / 255 for k in (24, 36)]
    assert "no face found" in _refusal(turn[0])
    message = _refusal(turn[1])
    assert "no face found" in message or "one eye is hidden" in message


def test_hidden_eye(models, test_data):
    frame = iio.imread(test_data / "spin_videos" / "video_10055.mp4", index=40)[..., :3] / 255
    assert "turned aside by about 6" in _refusal(frame)


def test_face_cut_by_the_border(astronaut):
    for cut in (astronaut[:, 225:], astronaut[:, :225], astronaut[150:], astronaut[:125]):
        message = _refusal(cut)
        assert "cut by the border" in message or "no face found" in message


def test_tiny_face(astronaut):
    assert "at least 40 are needed" in _refusal(cv2.resize(astronaut, (160, 160), interpolation=cv2.INTER_AREA))


def test_no_face_and_wrong_number(astronaut):
    assert "no face found" in _refusal(astronaut[280:])
    assert "face 2 was asked for; faces found: 1" in _refusal(astronaut, face=2)
    with pytest.raises(NoFaceError):
        make_portrait(Photo(np.zeros((80, 80, 3), np.float32)))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("grey", lambda x: x.mean(-1, keepdims=True).repeat(3, axis=2)),
        ("sepia", lambda x: x.mean(-1, keepdims=True) * np.array([1, 0.85, 0.65])),
        ("dark", lambda x: x * 0.2),
        ("dark and grey", lambda x: x.mean(-1, keepdims=True).repeat(3, axis=2) * 0.25),
        ("noisy", lambda x: (x + np.random.default_rng(0).normal(0, 0.06, x.shape)).clip(0, 1)),
        ("half size", lambda x: cv2.resize(x, (256, 256), interpolation=cv2.INTER_AREA)),
        ("poor JPEG", lambda x: cv2.imdecode(cv2.imencode(".jpg", x * 255, [1, 25])[1], 1) / 255),
    ],
)
def test_unusual_photos_are_accepted(astronaut, kind, change):
    assert _accepted(np.round(change(astronaut) * 255).astype(np.float32) / 255) == [], kind
