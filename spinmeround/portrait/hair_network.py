"""The package's own hair network: a small head on the features of the person network.

It stands in where MediaPipe's hair network cannot be fetched. ``tools/train_hair_network.py`` trains it on synthetic
people; NOTICE.md beside this file says what its weights are made of.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from spinmeround import weights
from spinmeround.portrait.head_map import HeadMap
from spinmeround.portrait.tflite import TfliteModel

OUTPUT_PX = 128
"""Side of the network's output, over the whole crop."""
WEIGHTS = Path(__file__).with_name("hair_network.npz")

_PERSON_MODEL = "selfie_segmentation.tflite"
_PERSON_PX = 256
_PERSON_LOGIT_TENSOR = 248
_FEATURE_TENSORS = {16: (157, 167), 32: (48, 193), 64: (25, 219), 128: (4, 245)}
"""Tensors of the person network that are read, by side: of its encoder and of its decoder. The weights registry pins
the file by its hash, so the numbers cannot change."""
_FEATURE_CHANNELS = {16: 160, 32: 48, 64: 32, 128: 32}


@dataclass(frozen=True)
class _PlaneSettings:
    """Scales that bring the maps beside the features to about unit range.

    Attributes:
        height, aside_cm, depth_cm, skull: range of the coordinates of ``HeadMap`` beyond which they are clipped.
        lab: of CIELAB, units.
        person_logit: of the person network's output.
    """

    height: float = 2.0
    aside_cm: float = 20.0
    depth_cm: float = 6.0
    skull: float = 2.5
    lab: float = 40.0
    person_logit: float = 8.0


_PLANES = _PlaneSettings()
PLANE_CHANNELS = 14
_TINY = 1e-4
"""Least weight of a mean colour."""


class HairInputs(NamedTuple):
    """What the network sees of one picture, or of a batch with a leading axis.

    Attributes:
        features: of the person network by side, 16 to 128, channels first.
        planes: colour, person, and place relative to the head.
    """

    features_16: Float[np.ndarray, "*b f16 16 16"]
    features_32: Float[np.ndarray, "*b f32 32 32"]
    features_64: Float[np.ndarray, "*b f64 64 64"]
    features_128: Float[np.ndarray, "*b f128 128 128"]
    planes: Float[np.ndarray, "*b p 128 128"]


class OwnHairNetwork:
    """Where hair is, by the network shipped with the package. Deterministic on one machine."""

    def __init__(self) -> None:
        self._head = load_head(WEIGHTS)

    def hair_probability(self, rgb: Float[np.ndarray, "s s 3"], head: HeadMap) -> Float[np.ndarray, "s s"]:
        """Return the probability of hair of the head; a beard, brows and headwear are not hair.

        Args:
            rgb: the crop, sRGB in [0, 1].
            head: the head's geometry in the crop, at any resolution.

        Raises:
            WeightsError: the person network is not to be had.
        """
        straight = hair_inputs(rgb, head)
        mirrored = hair_inputs(np.ascontiguousarray(rgb[:, ::-1]), head, mirrored=True)
        batch = [torch.from_numpy(np.stack(pair)) for pair in zip(straight, mirrored, strict=True)]
        with torch.inference_mode():
            logits, _ = self._head(*batch)
            probability = torch.sigmoid(logits[:, 0]).numpy()
        mean = (probability[0] + probability[1, :, ::-1]) / 2
        return cv2.resize(mean, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)


def hair_inputs(rgb: Float[np.ndarray, "s s 3"], head: HeadMap, *, mirrored: bool = False) -> HairInputs:
    """Return what the network sees of a crop.

    Args:
        head: the geometry in the crop as it was before it was mirrored.
        mirrored: whether ``rgb`` is the crop's mirror image.
    """
    small = cv2.resize(rgb, (_PERSON_PX, _PERSON_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    tensors = _person_features(small)
    features = [
        np.concatenate([tensors[index][0] for index in _FEATURE_TENSORS[side]], axis=-1).transpose(2, 0, 1)
        for side in _FEATURE_TENSORS
    ]
    logit = cv2.resize(tensors[_PERSON_LOGIT_TENSOR][0, ..., 0], (OUTPUT_PX, OUTPUT_PX), interpolation=cv2.INTER_AREA)
    colour = cv2.resize(small, (OUTPUT_PX, OUTPUT_PX), interpolation=cv2.INTER_AREA)
    place, skin = _place(head)
    if mirrored:
        place, skin = place[:, :, ::-1], skin[:, ::-1]
    lab = cv2.cvtColor(colour, cv2.COLOR_RGB2LAB)
    own = np.median(lab[skin], axis=0) if skin.any() else np.array([65.0, 12.0, 15.0])
    detail = lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 2.0)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2.0))
    planes = [
        *(np.moveaxis(lab - [50.0, 0.0, 0.0], -1, 0) / _PLANES.lab),
        *(np.moveaxis(lab - own, -1, 0) / _PLANES.lab),
        contrast / 10.0,
        np.clip(logit / _PLANES.person_logit, -1, 1),
        *place,
    ]
    coarse_to_fine = [np.ascontiguousarray(f, np.float32) for f in features]
    return HairInputs(*coarse_to_fine[:4], planes=np.stack(planes).astype(np.float32))


def _place(head: HeadMap) -> tuple[Float[np.ndarray, "6 128 128"], np.ndarray]:
    """Return where each pixel lies relative to the head, and which are certain skin."""
    ratio = OUTPUT_PX / head.side_px
    here = HeadMap(head.frame.moved(np.diag([ratio, ratio, 1.0])), head.landmarks_px * ratio, OUTPUT_PX)
    height = np.clip(here.height, -_PLANES.height, _PLANES.height)
    aside = np.minimum(np.abs(here.aside_cm), _PLANES.aside_cm)
    depth = np.clip(here.depth_in_face_cm, -_PLANES.depth_cm, _PLANES.depth_cm)
    skull = np.minimum(here.skull, _PLANES.skull)
    maps = [height, aside / 10.0, depth / _PLANES.depth_cm, skull - 1, here.ear, here.features]
    return np.stack(maps).astype(np.float32), here.certain_skin


@functools.cache
def _person_model() -> TfliteModel:
    return TfliteModel(weights.path(_PERSON_MODEL).read_bytes(), keep_all_tensors=True)


def _person_features(rgb: Float[np.ndarray, "256 256 3"]) -> dict[int, Float[np.ndarray, "1 h w c"]]:
    wanted = [index for indices in _FEATURE_TENSORS.values() for index in indices]
    return _person_model().tensors(rgb, [*wanted, _PERSON_LOGIT_TENSOR])


class _Mix(nn.Module):
    """A convolution of 1×1, as a product of matrices: several times faster on a CPU than torch's own."""

    def __init__(self, channels_in: int, channels_out: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in) / channels_in**0.5)
        self.bias = nn.Parameter(torch.zeros(channels_out, 1)) if bias else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        mixed = torch.bmm(self.weight.expand(len(x), -1, -1), x.flatten(2))
        if self.bias is not None:
            mixed = mixed + self.bias
        return mixed.unflatten(2, x.shape[2:])


class _Block(nn.Module):
    """Residual block: a depthwise convolution, then a mix of the channels."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.across = nn.Conv2d(channels, channels, 5, padding=2 * dilation, dilation=dilation, groups=channels)
        self.mix = _Mix(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.mix(torch.relu(self.across(x)))


class _Scale(nn.Module):
    """One scale of the head: joins the features there with the planes and with what the coarser scale found."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, planes: int, coarser: int, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features, 1, 1))
        self.register_buffer("scale", torch.ones(features, 1, 1))
        self.of_features = _Mix(features, channels)
        self.of_planes = _Mix(planes, channels, bias=False)
        self.of_coarser = _Mix(coarser, channels, bias=False) if coarser else None
        self.body = nn.Sequential(*(_Block(channels, dilation) for dilation in dilations), nn.ReLU())

    def forward(self, features: Tensor, planes: Tensor, coarser: Tensor | None = None) -> Float[Tensor, "b c h w"]:
        x = self.of_features((features - self.mean) * self.scale) + self.of_planes(planes)
        if coarser is not None and self.of_coarser is not None:
            x = x + _doubled(self.of_coarser(coarser))
        return self.body(torch.relu(x))


class HairHead(nn.Module):
    """The trained part: features from coarse to fine, joined at each scale.

    At 64² it decides a first time. The colours of what it calls hair there, and of the rest, are what the last step at
    128² compares each pixel with.
    """

    def __init__(self) -> None:
        super().__init__()
        f, p = _FEATURE_CHANNELS, PLANE_CHANNELS
        self.at_16 = _Scale(f[16], p, 0, 64, (1, 2))
        self.at_32 = _Scale(f[32], p, 64, 64, (1, 2))
        self.at_64 = _Scale(f[64], p, 64, 48, (1,))
        self.coarse = _Mix(48, 1)
        self.at_128 = _Scale(f[128], p + 2, 48, 24, (1,))
        self.fine = _Mix(24, 1)

    def forward(
        self,
        features_16: Float[Tensor, "b f16 16 16"],
        features_32: Float[Tensor, "b f32 32 32"],
        features_64: Float[Tensor, "b f64 64 64"],
        features_128: Float[Tensor, "b f128 128 128"],
        planes: Float[Tensor, "b p 128 128"],
    ) -> tuple[Float[Tensor, "b 1 128 128"], Float[Tensor, "b 1 64 64"]]:
        """Return the logits of hair, and the first ones at 64²."""
        planes_64 = avg_pool2d(planes, 2)
        planes_32 = avg_pool2d(planes_64, 2)
        x = self.at_16(features_16, avg_pool2d(planes_32, 2))
        x = self.at_32(features_32, planes_32, x)
        x = self.at_64(features_64, planes_64, x)
        coarse = self.coarse(x)
        likeness = _colour_likeness(planes[:, :3], planes_64[:, :3], torch.sigmoid(coarse))
        x = self.at_128(features_128, torch.cat([planes, likeness], 1), x)
        return self.fine(x) + _doubled(coarse), coarse


def _doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _colour_likeness(
    lab: Float[Tensor, "b 3 h w"], lab_64: Float[Tensor, "b 3 64 64"], hair: Float[Tensor, "b 1 64 64"]
) -> Float[Tensor, "b 2 h w"]:
    """Return how near each colour is to the mean colour of hair and of the rest, in deviations of either, squashed."""
    near = []
    for weight in (hair**2, (1 - hair) ** 2):
        total = weight.sum((2, 3), keepdim=True) + _TINY
        mean = (lab_64 * weight).sum((2, 3), keepdim=True) / total
        variance = ((lab_64 - mean) ** 2 * weight).sum((2, 3), keepdim=True) / total + 0.01
        near.append(torch.exp(-((lab - mean) ** 2 / variance).sum(1, keepdim=True) / 4))
    return torch.cat(near, 1)


def load_head(path: Path) -> HairHead:
    """Load the trained part from an ``.npz`` of half-precision arrays; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    head = HairHead()
    head.load_state_dict(state)
    return head.eval()
