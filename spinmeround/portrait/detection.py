"""Face detection: two single-shot detectors over the tiles of a pyramid, so that small faces are found too.

Method: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (arXiv 1907.05047).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from spinmeround.portrait import tflite

BUNDLE = "face_landmarker.task"
LONG_RANGE = "face_detection_full_range_sparse.tflite"

MIN_SCORE = 0.5
_MAX_LOGIT = 100.0
"""Beyond it a score is 0 or 1, and the exponential could overflow."""


@dataclass(frozen=True)
class _TileSettings:
    """The pyramid of tiles.

    Attributes:
        least_px: smallest side of a tile, at which the detector's input is hardly larger than the picture.
        levels: of the pyramid, the whole picture included.
        border: fraction of a tile's side: a box nearer to the tile's border is taken to be cut by it.
    """

    least_px: int = 320
    levels: int = 4
    border: float = 0.02


@dataclass(frozen=True)
class _SuppressionSettings:
    """When two boxes are of one face.

    Attributes:
        iou: intersection over union.
        containment: intersection over the smaller box.
        least_area: against division by 0.
    """

    iou: float = 0.3
    containment: float = 0.7
    least_area: float = 1e-12


_TILES = _TileSettings()
_SUPPRESSION = _SuppressionSettings()


@dataclass(frozen=True)
class Detection:
    """A face box.

    Attributes:
        box_px: left, top, right, bottom in pixels of the picture; may reach over its border.
        keypoints_px: right eye, left eye, nose tip, mouth, right ear, left ear (the subject's right and left).
        score: in (0, 1).
    """

    box_px: Float[np.ndarray, "4"]
    keypoints_px: Float[np.ndarray, "6 2"]
    score: float

    @property
    def side_px(self) -> float:
        """The longer side of the box."""
        return float(max(self.box_px[2] - self.box_px[0], self.box_px[3] - self.box_px[1]))


@dataclass(frozen=True)
class _Detector:
    model: tflite.TfliteModel
    input_px: int
    anchors: Float[np.ndarray, "n 2"]

    def __call__(self, tile: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "k 17"]:
        """Detect in one tile: rows of score, box (4), keypoints (12), in units of the tile's side."""
        outputs = self.model(tile * 2 - 1)
        count = len(self.anchors)
        logits = np.clip(outputs[(1, count, 1)][0, :, 0], -_MAX_LOGIT, _MAX_LOGIT).astype(np.float64)
        scores = 1 / (1 + np.exp(-logits))
        keep = scores >= MIN_SCORE
        raw = outputs[(1, count, 16)][0][keep].astype(np.float64) / self.input_px
        anchors = self.anchors[keep]
        centre, half = raw[:, :2] + anchors, raw[:, 2:4] / 2
        points = raw[:, 4:].reshape(-1, 6, 2) + anchors[:, None]
        rows = np.concatenate([scores[keep, None], centre - half, centre + half, points.reshape(-1, 12)], axis=1)
        return _weighted_nms(rows)


@functools.cache
def _short_range() -> _Detector:
    grids = [_grid(16, 2), _grid(8, 6)]
    model = tflite.TfliteModel(tflite.load_bundle_member(BUNDLE, "face_detector.tflite"))
    return _Detector(model, 128, np.concatenate(grids))


@functools.cache
def _long_range() -> _Detector:
    return _Detector(tflite.load(LONG_RANGE), 192, _grid(48, 1))


def _grid(cells: int, per_cell: int) -> Float[np.ndarray, "n 2"]:
    """Return anchor centres, row by row, ``per_cell`` anchors of unit size in each cell."""
    y, x = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
    centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
    return np.repeat(centres, per_cell, axis=0)


def _overlap(box: Float[np.ndarray, "17"], boxes: Float[np.ndarray, "n 17"]) -> Float[np.ndarray, "n 2"]:
    """Return the intersection over union, and over the smaller box, of one row with others."""
    low, high = np.maximum(box[1:3], boxes[:, 1:3]), np.minimum(box[3:5], boxes[:, 3:5])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    area, areas = np.prod(box[3:5] - box[1:3]), np.prod(boxes[:, 3:5] - boxes[:, 1:3], axis=1)
    union, smaller = area + areas - both, np.minimum(area, areas)
    return np.stack([both / np.maximum(one, _SUPPRESSION.least_area) for one in (union, smaller)], axis=1)


def _weighted_nms(rows: Float[np.ndarray, "n 17"], iou: float = _SUPPRESSION.iou) -> Float[np.ndarray, "k 17"]:
    """Suppress non-maxima by averaging each cluster, weighted by score (steadier than picking one)."""
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    kept = []
    while len(rows):
        cluster = _overlap(rows[0], rows)[:, 0] > iou
        cluster[0] = True
        members = rows[cluster]
        mean = (members * members[:, :1]).sum(0) / members[:, 0].sum()
        mean[0] = members[0, 0]
        kept.append(mean)
        rows = rows[~cluster]
    return np.array(kept).reshape(-1, 17)


def detect(rgb: Float[np.ndarray, "h w 3"]) -> list[Detection]:
    """Detect all faces of a picture, best score first.

    The whole picture goes through both detectors, then ever smaller, half-overlapping tiles through the long-range
    one. A box cut by the border of a tile that is not the picture's border is left to the neighbouring tile.

    Args:
        rgb: sRGB in [0, 1].
    """
    height, width = rgb.shape[:2]
    side = max(height, width)
    rows = [_in_tile(_short_range(), rgb, 0, 0, side), _in_tile(_long_range(), rgb, 0, 0, side)]
    for level in range(1, _TILES.levels):
        tile = side / 2**level
        if tile < _TILES.least_px:
            break
        rows += [_in_tile(_long_range(), rgb, x, y, tile) for y in _starts(height, tile) for x in _starts(width, tile)]
    merged = _merge(np.concatenate(rows))
    return [Detection(r[1:5], r[5:].reshape(6, 2), float(r[0])) for r in merged]


def _starts(length: int, tile: float) -> Float[np.ndarray, "n"]:
    """Return the left edges of half-overlapping tiles that cover ``length`` pixels."""
    if length <= tile:
        return np.array([(length - tile) / 2])
    count = int(np.ceil((length - tile) / (tile / 2))) + 1
    return np.linspace(0, length - tile, count)


def _in_tile(
    detector: _Detector,
    rgb: Float[np.ndarray, "h w 3"],
    x: float,
    y: float,
    side: float,
) -> Float[np.ndarray, "k 17"]:
    """Run a detector on one square tile, black beyond the picture; rows come back in pixels of the picture."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (round(v) for v in (max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)))
    size = detector.input_px
    scale = size / max(x1 - x0, y1 - y0)
    shape = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    shrunk = cv2.resize(rgb[y0:y1, x0:x1], shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    tile = np.zeros((size, size, 3), np.float32)
    tile[: shape[1], : shape[0]] = shrunk
    rows = detector(tile)
    rows[:, 1::2] = rows[:, 1::2] * (size / scale) + x0
    rows[:, 2::2] = rows[:, 2::2] * (size / scale) + y0
    margin = _TILES.border * side
    cut = (
        ((rows[:, 1] < x0 + margin) & (x0 > 0))
        | ((rows[:, 2] < y0 + margin) & (y0 > 0))
        | ((rows[:, 3] > x1 - margin) & (x1 < width))
        | ((rows[:, 4] > y1 - margin) & (y1 < height))
    )
    return rows[~cut]


def _merge(rows: Float[np.ndarray, "n 17"]) -> Float[np.ndarray, "k 17"]:
    """Keep one row a face: the best-scored of those that overlap or lie inside one another."""
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    kept: list[Float[np.ndarray, "17"]] = []
    for row in rows:
        if kept:
            overlap = _overlap(row, np.array(kept))
            if ((overlap[:, 0] > _SUPPRESSION.iou) | (overlap[:, 1] > _SUPPRESSION.containment)).any():
                continue
        kept.append(row)
    return np.array(kept).reshape(-1, 17)
