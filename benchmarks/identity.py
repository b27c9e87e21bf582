"""How far apart two faces are to a network that has nothing to do with this project: dlib's, in 128 dimensions.

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

NOT_DETECTED = 1.0
"""The distance a picture counts with when no face is found in it: further than two strangers usually are (0.86)."""

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
        raise ModuleNotFoundError("the likeness needs face-recognition-models: pip install 'spinmeround[dev]'")
    models = Path(spec.origin).parent / "models"
    return _Networks(
        dlib.get_frontal_face_detector(),
        dlib.cnn_face_detection_model_v1(str(models / "mmod_human_face_detector.dat")),
        dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat")),
        dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat")),
    )


def _largest_face(image: UInt8[np.ndarray, "h w 3"]) -> Any | None:
    """Gradient detector at one and two doublings, then the slower convolutional one that also sees profiles."""
    networks = _networks()
    for doublings in (0, 1):
        boxes = list(networks.gradients(image, doublings))
        if boxes:
            return max(boxes, key=lambda box: box.area())
    boxes = [found.rect for found in networks.convolutional(image, 0)]
    return max(boxes, key=lambda box: box.area()) if boxes else None


def descriptor(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "128"] | None:
    """The largest face of an RGB picture as 128 numbers, none without a face; small pictures are enlarged."""
    scale = _SMALLEST_SIDE_PX / min(image.shape[:2])
    if scale > 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    image = np.ascontiguousarray(image)
    box = _largest_face(image)
    if box is None:
        return None
    networks = _networks()
    return np.array(networks.descriptor.compute_face_descriptor(image, networks.landmarks(image, box)))


def distance(a: Float[np.ndarray, "128"] | None, b: Float[np.ndarray, "128"] | None) -> float:
    """Euclidean distance of two descriptors, ``NOT_DETECTED`` when one is missing."""
    return NOT_DETECTED if a is None or b is None else float(np.linalg.norm(a - b))
