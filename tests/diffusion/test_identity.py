"""The face where ArcFace expects it, and embeddings that are none."""

from __future__ import annotations

import dataclasses
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from spinmeround.diffusion import identity
from spinmeround.diffusion.identity import ArcFace, aligned_face, identified, read_identity
from spinmeround.errors import InputError, MissingDependencyError, WeightsError
from tests.pipelines.fakes import portrait

FIVE = np.array([[300.0, 320], [420, 330], [352, 400], [310, 470], [402, 478]])
COLOURS = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]


@pytest.fixture
def face():
    """A crop with a coloured spot at each of the five points."""
    landmarks = np.zeros((478, 2), np.float32)
    for part, point in zip([*identity._EYES, [identity._NOSE_TIP], *[[c] for c in identity._MOUTH_CORNERS]], FIVE):  # noqa: B905
        landmarks[list(part)] = point
    y, x = np.mgrid[:768, :768] + 0.5
    rgb = np.zeros((768, 768, 3), np.float32)
    for point, colour in zip(FIVE, COLOURS, strict=True):
        rgb += np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 100)[..., None] * colour
    return dataclasses.replace(portrait(768), rgb=np.clip(rgb, 0, 1).astype(np.float32), landmarks_px=landmarks)


def test_five_points_land_on_arcfaces_template(face):
    aligned = aligned_face(face)
    assert aligned.shape == (112, 112, 3)
    y, x = np.mgrid[:112, :112]
    offsets = []
    for (tx, ty), colour in zip(identity._TEMPLATE_PX, COLOURS, strict=True):
        near = ((x - tx) ** 2 + (y - ty) ** 2 < 14**2) * aligned[..., colour.argmax()]
        offsets.append([(near * x).sum() / near.sum() - tx, (near * y).sum() / near.sum() - ty])
    offsets = np.array(offsets)
    assert np.abs(offsets).max() < 4
    np.testing.assert_allclose(offsets.mean(0), 0, atol=0.4, err_msg="a least-squares fit has no mean error")


def test_the_alignment_is_exact_for_a_turned_template():
    angle, scale = 0.3, 2.5
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    there = identity._TEMPLATE_PX @ turn.T + [40, 300]
    matrix = identity._similarity(there, identity._TEMPLATE_PX)
    np.testing.assert_allclose(there @ matrix[:, :2].T + matrix[:, 2], identity._TEMPLATE_PX, atol=1e-9)


class Network:
    """Stands in for onnxruntime: remembers what it was given."""

    answer = np.arange(1, 513, dtype=np.float32)[None]
    seen: np.ndarray

    def __init__(self, path, providers):
        assert providers == ["CPUExecutionProvider"]
        if "broken" in path:
            raise RuntimeError("Protobuf parsing failed")

    def get_inputs(self):
        return [SimpleNamespace(name="input.1")]

    def run(self, outputs, feed):
        Network.seen = feed["input.1"]
        return [self.answer]


@pytest.fixture
def runtime(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Network, __spec__=SimpleNamespace())
    )


@pytest.mark.usefixtures("runtime")
def test_the_network_sees_rgb_from_minus_one_to_one(face, tmp_path):
    embedding = ArcFace(tmp_path / "glintr100.onnx").embed(face)
    assert Network.seen.shape == (1, 3, 112, 112)
    assert Network.seen.dtype == np.float32
    np.testing.assert_allclose(Network.seen[0].transpose(1, 2, 0), aligned_face(face) * 2 - 1)
    assert np.linalg.norm(embedding) == pytest.approx(1)
    np.testing.assert_allclose(embedding[1] / embedding[0], 2, rtol=1e-5)


@pytest.mark.usefixtures("runtime")
def test_a_network_that_is_none(face, tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="no network that onnxruntime can run"):
        ArcFace(tmp_path / "broken.onnx")
    for answer in (np.zeros((1, 512), np.float32), np.ones((1, 128), np.float32), np.full((1, 512), np.nan)):
        monkeypatch.setattr(Network, "answer", answer)
        with pytest.raises(WeightsError, match="no embedding of 512"):
            ArcFace(tmp_path / "glintr100.onnx").embed(face)


def test_without_onnxruntime_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(identity.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "spinmeround\[identity\]", or .*embedding'):
        ArcFace(tmp_path / "glintr100.onnx")


def unit(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=512)
    return values / np.linalg.norm(values)


@pytest.mark.parametrize("values", [unit(), unit().astype(np.float32), unit()[None]])
def test_an_embedding_of_ones_own(values, tmp_path):
    np.save(tmp_path / "me.npy", values)
    read = read_identity(tmp_path / "me.npy")
    np.testing.assert_allclose(read, values.reshape(-1), atol=1e-7)
    assert read.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (unit()[:511], r"is 512 fractions, got float64 of shape \(511,\)"),
        (unit() * 1.01, "has length 1.01, expected 1; divide it by its length"),
        (np.zeros(512), "has length 0, expected 1"),
        (np.where(np.arange(512) == 3, np.nan, unit()), "holds NaN or infinity"),
        (np.ones(512, int), r"got int64 of shape \(512,\)"),
        (np.array([{"a": 1}], dtype=object), "no array of numbers .*Python objects"),
    ],
)
def test_embeddings_that_are_none(values, told, tmp_path):
    np.save(tmp_path / "me.npy", values)
    with pytest.raises(InputError, match=told):
        read_identity(tmp_path / "me.npy")


def test_files_that_are_no_arrays(tmp_path):
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(unit()))
    np.savez(tmp_path / "many.npy.npz", a=unit())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "many.npy.npz").read_bytes()[:100])
    for name in ("text.npy", "pickle.npy", "many.npy.npz", "cut.npz"):
        with pytest.raises(InputError, match=rf"{name} is no \.npy file; save the embedding with numpy\.save"):
            read_identity(tmp_path / name)
    with pytest.raises(InputError, match=r"none\.npy: no such file"):
        read_identity(tmp_path / "none.npy")
    np.save(tmp_path / "whole.npy", unit())
    whole = (tmp_path / "whole.npy").read_bytes()
    # A head that promises more than there is, up to more than memory holds.
    for name, content in (
        ("cut.npy", whole[:500]),
        ("huge.npy", whole.replace(b"(512,), }" + b" " * 12, b"(512000000000,), } ".ljust(21))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is damaged"):
            read_identity(tmp_path / name)


def test_several_photos_agree_on_one_unit_embedding():
    portraits = identified([portrait(), portrait()], [unit(1), unit(2)])
    mean = unit(1) + unit(2)
    for one in portraits:
        np.testing.assert_allclose(one.identity, mean / np.linalg.norm(mean), atol=1e-6)
