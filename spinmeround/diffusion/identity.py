"""The ArcFace embedding that conditions the model, computed from a portrait or read from a file."""

from __future__ import annotations

import dataclasses
import importlib.util
import tokenize
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from spinmeround.diffusion.inputs import IDENTITY_SIZE, identity_problem
from spinmeround.errors import InputError, MissingDependencyError, WeightsError
from spinmeround.types import Portrait

MODEL_FILE = "glintr100.onnx"
_FACE_PX = 112
_ALIASING_SCALE, _BLUR_TARGET_PX = 0.5, 0.4
"""Scale below which the picture is blurred before it is resampled, and the blur in pixels of the result."""
_NPY = b"\x93NUMPY"

_TEMPLATE_PX = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace's training pictures have the eyes, the tip of the nose and the mouth corners, left in the picture
first; pixel centres at whole numbers (Deng et al., arXiv 1801.07698)."""

# By MediaPipe's numbers, as the whole package counts landmarks.
_EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
_NOSE_TIP = 4
_MOUTH_CORNERS = (61, 291)


class ArcFace:
    """InsightFace's recognition network, run by onnxruntime on the CPU.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        WeightsError: the file is no such network.
    """

    def __init__(self, path: Path) -> None:
        check_runtime()
        import onnxruntime  # pyright: ignore[reportMissingImports]

        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each way a file can be wrong
            raise WeightsError(f"{path} is no network that onnxruntime can run ({error}); fetch it again") from error
        self._path = path

    def embed(self, portrait: Portrait) -> Float[np.ndarray, "512"]:
        """Compute the unit embedding of the face of a portrait."""
        face = aligned_face(portrait)
        batch = np.ascontiguousarray(face.transpose(2, 0, 1)[None] * 2 - 1, np.float32)
        (found,) = self._session.run(None, {self._session.get_inputs()[0].name: batch})
        embedding = np.asarray(found, np.float64).reshape(-1)
        length = float(np.linalg.norm(embedding))
        if embedding.shape != (IDENTITY_SIZE,) or not np.isfinite(length) or length == 0:
            raise WeightsError(f"{self._path} gave no embedding of {IDENTITY_SIZE} numbers; it is not {MODEL_FILE}")
        return (embedding / length).astype(np.float32)


def check_runtime() -> None:
    """Check that onnxruntime is installed, without loading it.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingDependencyError(
            'onnxruntime, which reads the identity of a face, is not installed: pip install "spinmeround[identity]", '
            "or give an embedding of your own (identity), a file that numpy.save wrote"
        )


def aligned_face(portrait: Portrait) -> Float[np.ndarray, "112 112 3"]:
    """Align the face to ArcFace's template by the least-squares similarity of five points (Umeyama 1991)."""
    points = np.asarray(portrait.landmarks_px, np.float64)
    five = np.stack(
        [
            points[list(_EYES[0])].mean(0),
            points[list(_EYES[1])].mean(0),
            points[_NOSE_TIP],
            *points[list(_MOUTH_CORNERS)],
        ]
    )
    matrix = _similarity(five - 0.5, _TEMPLATE_PX)
    scale = float(np.hypot(*matrix[:, 0]))
    # Blurred first where it shrinks much, against aliasing: warpAffine interpolates between four pixels only.
    blurred = portrait.rgb
    if scale < _ALIASING_SCALE:
        blurred = cv2.GaussianBlur(portrait.rgb, (0, 0), _BLUR_TARGET_PX / scale)
    face = cv2.warpAffine(blurred.astype(np.float32), matrix, (_FACE_PX, _FACE_PX), flags=cv2.INTER_LINEAR)
    return np.clip(face, 0, 1)


def read_identity(path: Path) -> Float[np.ndarray, "512"]:
    """Read an embedding of unit length.

    Raises:
        InputError: the file cannot be read, or is not 512 finite numbers of unit length.
    """
    try:
        with path.open("rb") as file:
            values = np.lib.format.open_memmap(path, mode="r") if file.read(6) == _NPY else None
    except OSError as error:
        raise InputError(
            f"{path}: {(error.strerror or str(error)).lower()}; give a file that numpy.save wrote"
        ) from error
    except (ValueError, TypeError, SyntaxError, OverflowError, tokenize.TokenError) as error:
        raise InputError(f"{path} is damaged or no array of numbers ({error}); save one with numpy.save") from error
    if values is None:
        raise InputError(f"{path} is no .npy file; save the embedding with numpy.save")
    if values.shape in ((1, IDENTITY_SIZE), (IDENTITY_SIZE, 1)):
        values = values.reshape(-1)
    problem = identity_problem(values)
    if problem is not None:
        raise InputError(f"{path}: {problem}")
    return np.asarray(values, np.float32)


def identified(portraits: Sequence[Portrait], embeddings: Sequence[Float[np.ndarray, "512"]]) -> list[Portrait]:
    """Give the portraits of one person the normalised mean of their embeddings."""
    mean = np.mean(embeddings, axis=0)
    unit = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return [dataclasses.replace(portrait, identity=unit) for portrait in portraits]


def _similarity(source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """Fit the similarity from ``source`` to ``target`` by least squares; in complex numbers, z -> a z + b."""
    z, w = source @ [1, 1j], target @ [1, 1j]
    centred = z - z.mean()
    a = (centred.conj() @ (w - w.mean())) / (centred.conj() @ centred).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
