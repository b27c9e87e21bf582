"""Distance of two faces in the 128-dimensional embedding of dlib's face network, which is no part of the package.

dlib calls two faces the same person below 0.6. The network was trained on other data than anything here (King 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from pictures import read_rgb

NOT_DETECTED = 1.0
"""Distance of a picture in which no face is found; two different people are usually 0.86 apart."""

_SMALLEST_SIDE_PX = 512


@dataclass(frozen=True)
class _Networks:
    gradients: Any
    convolutional: Any
    landmarks: Any
    descriptor: Any


@cache
def _networks() -> _Networks:
    import dlib

    # The package is only looked at, not imported: its import needs the pkg_resources that newer setuptools dropped.
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError('the likeness needs face-recognition-models: pip install "spinmeround[dev]"')
    models = Path(spec.origin).parent / "models"
    return _Networks(
        dlib.get_frontal_face_detector(),
        dlib.cnn_face_detection_model_v1(str(models / "mmod_human_face_detector.dat")),
        dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat")),
        dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat")),
    )


def _largest_face(image: UInt8[np.ndarray, "h w 3"]) -> Any | None:
    """Detect with the HOG detector at the picture's own and twice its size, then with the CNN, which finds profiles."""
    networks = _networks()
    for doublings in (0, 1):
        boxes = list(networks.gradients(image, doublings))
        if boxes:
            return max(boxes, key=lambda box: box.area())
    boxes = [found.rect for found in networks.convolutional(image, 0)]
    return max(boxes, key=lambda box: box.area()) if boxes else None


def descriptor(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "128"] | None:
    """Return the embedding of an RGB picture's largest face, None without a face; small pictures are enlarged."""
    scale = _SMALLEST_SIDE_PX / min(image.shape[:2])
    if scale > 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    image = np.ascontiguousarray(image)
    box = _largest_face(image)
    if box is None:
        return None
    networks = _networks()
    return np.array(networks.descriptor.compute_face_descriptor(image, networks.landmarks(image, box)))


def descriptor_of_photo(photo: Path) -> Float[np.ndarray, "128"]:
    """Return the embedding of a photo's largest face.

    Raises:
        ValueError: no face is found.
    """
    found = descriptor(read_rgb(photo))
    if found is None:
        raise ValueError(f"dlib finds no face in {photo}: no distance can be measured from it")
    return found


def distance(a: Float[np.ndarray, "128"] | None, b: Float[np.ndarray, "128"] | None) -> float:
    """Return the Euclidean distance of two descriptors, ``NOT_DETECTED`` if one is missing."""
    return NOT_DETECTED if a is None or b is None else float(np.linalg.norm(a - b))
