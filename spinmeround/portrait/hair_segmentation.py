"""Which pixels are hair: MediaPipe's hair network, or the package's own where that cannot be had."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float

from spinmeround import weights
from spinmeround.errors import WeightsError
from spinmeround.portrait import tflite
from spinmeround.portrait.head_map import HeadMap
from spinmeround.types import HeadCrop, Licence

log = logging.getLogger(__name__)

MODEL = "hair_segmentation.tflite"
INNER = (0.14, 0.86)
"""Square around the head, in fractions of the crop's side, that networks see a second time at a larger scale."""
_INNER_MARGIN = 0.09
"""Width of the border over which the result inside is blended in, in fractions of the crop's side."""
_INNER_WEIGHT = 0.7
"""Of the result at the larger scale, against the other's."""
_NETWORK_PX = 512
"""Side of the network's input and output."""


@runtime_checkable
class HairNetwork(Protocol):
    """A network that finds hair."""

    @property
    def licences(self) -> Sequence[Licence]:
        """Models the network stands on."""
        ...

    def probability(self, crop: HeadCrop) -> Float[np.ndarray, "s s"]:
        """Return the probability of hair at each pixel of a crop; beards may count."""
        ...


class MediaPipeHair:
    """``HairNetwork``: MediaPipe's hair segmentation (Tkachenka et al., "Real-time Hair Segmentation", 2019).

    Raises:
        WeightsError: its file is not to be had.
    """

    def __init__(self) -> None:
        self._model = tflite.load(MODEL)
        self.licences = (Licence("model", MODEL, weights.entry(MODEL).licence),)

    def probability(self, crop: HeadCrop) -> Float[np.ndarray, "s s"]:
        """Return the probability of hair at each pixel of a crop, beards included."""
        return at_two_scales(crop.rgb, self._run)

    def _run(self, rgb: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "s s"]:
        size, shape = (_NETWORK_PX, _NETWORK_PX), (1, _NETWORK_PX, _NETWORK_PX, 2)
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        # The fourth channel is the mask of a video's previous frame; a photo has none.
        previous = np.zeros((*size, 1), np.float32)
        logits = [self._model(np.dstack([each, previous]))[shape][0] for each in (small, small[:, ::-1])]
        straight, mirrored = (1 / (1 + np.exp(each[..., 0] - each[..., 1])) for each in logits)
        return cv2.resize((straight + mirrored[:, ::-1]) / 2, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def at_two_scales(rgb: Float[np.ndarray, "s s 3"], run: tflite.PictureToMask) -> Float[np.ndarray, "s s"]:
    """Run a network on a crop, and on its inner square at a larger scale, which counts more where it sees.

    A network sees a head best that fills its input, and needs the surroundings for hair that reaches far.
    """
    side = rgb.shape[0]
    fused = run(rgb)
    low, high = round(side * INNER[0]), round(side * INNER[1])
    inner = run(rgb[low:high, low:high])
    margin = round(side * _INNER_MARGIN)
    weight = np.zeros_like(inner)
    weight[margin:-margin, margin:-margin] = _INNER_WEIGHT
    weight = cv2.blur(weight, (margin, margin))
    centre = fused[low:high, low:high]
    centre += weight * (inner - centre)
    return fused


class BuiltinHair:
    """``HairNetwork``: the small network that ships with the package."""

    licences = (Licence("model", "spinmeround/portrait/hair_network.npz", "Apache-2.0 (trained on synthetic people)"),)

    def __init__(self) -> None:
        from spinmeround.portrait.hair_network import OwnHairNetwork  # imports torch

        self._network = OwnHairNetwork()

    def probability(self, crop: HeadCrop) -> Float[np.ndarray, "s s"]:
        """Return the probability of hair of the head at each pixel of a crop."""
        head = HeadMap.of(crop.face, picture_px=len(crop.rgb), side_px=len(crop.rgb))
        return np.where(crop.observed, self._network.hair_probability(crop.rgb, head), 0).astype(np.float32)


class RememberingHair:
    """A ``HairNetwork`` that is asked twice about each crop, by the matte and by the segmentation, and runs once."""

    def __init__(self, network: HairNetwork) -> None:
        self._network = network
        self.licences = network.licences
        self._last: tuple[HeadCrop, Float[np.ndarray, "s s"]] | None = None

    def probability(self, crop: HeadCrop) -> Float[np.ndarray, "s s"]:
        """Return the probability of hair at each pixel of a crop, beards included."""
        last = self._last
        if last is None or last[0] is not crop:
            self._last = last = crop, self._network.probability(crop)
        return last[1]


@functools.cache
def hair_network(name: str) -> HairNetwork:
    """Return a network by its name: ``mediapipe``, or ``builtin``, which ships with the package.

    Raises:
        WeightsError: the file of MediaPipe's is not to be had.
    """
    return RememberingHair(MediaPipeHair() if name == "mediapipe" else BuiltinHair())


@functools.cache
def choose_hair_network() -> tuple[str, str]:
    """Return the name of the best network that can be had, and why it is that one."""
    try:
        weights.path(MODEL)
    except WeightsError as error:
        log.debug("%s", error)
        return "builtin", f"the better network could not be fetched; to get it: spmr-weights fetch {MODEL}"
    return "mediapipe", "the best that can be had"


def default_hair_network() -> HairNetwork:
    """Return the best network that can be had."""
    return hair_network(choose_hair_network()[0])
