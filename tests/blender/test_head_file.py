"""What is read from a head's .glb beside Blender's importer."""

from __future__ import annotations

import numpy as np
import pytest

from spinmeround.io import write_avatar
from spinmeround.types import Avatar, AvatarPart, Joint, TexturedMesh


def tetrahedron(poses: dict[str, dict[str, float]]) -> Avatar:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    mesh = TexturedMesh(vertices, faces, vertices[:, :2], faces, np.full((4, 4, 3), 0.5, np.float32))
    weights = np.zeros((4, 4))
    weights[:, 0] = 1
    morphs = {name: 0.1 * (k + 1) * vertices for k, name in enumerate(("jawOpen", "eyeBlinkLeft", "mouthPucker"))}
    skin = AvatarPart("skin", mesh, np.zeros((4, 4), np.int64), weights, morphs, 0.5)
    teeth = AvatarPart("teeth", mesh, np.zeros((4, 4), np.int64), weights, {"jawOpen": vertices}, 0.5)
    return Avatar((skin, teeth), (Joint("head", -1, np.zeros(3)),), tuple(morphs), poses)


def test_the_photos_expression_is_read(services, tmp_path):
    path = tmp_path / "head.glb"
    write_avatar(path, tetrahedron({"photo": {"jawOpen": 0.375, "mouthPucker": 1.0}, "other": {"jawOpen": 1.0}}))
    assert services("head_file").photo_expression(path) == {"jawOpen": 0.375, "eyeBlinkLeft": 0, "mouthPucker": 1.0}


def test_without_a_photo_there_is_none(services, tmp_path):
    path = tmp_path / "head.glb"
    write_avatar(path, tetrahedron({"other": {"jawOpen": 1.0}}))
    assert services("head_file").photo_expression(path) == {}


@pytest.mark.parametrize("content", [b"", b"glTF", b"<html>" * 20])
def test_what_is_no_glb_is_refused(services, tmp_path, content):
    path = tmp_path / "head.glb"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"head.glb is no .glb"):
        services("head_file").photo_expression(path)
