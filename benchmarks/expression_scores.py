"""How well the detector's expression scores predict the weights of the model's expressions, on rendered random heads.

    python benchmarks/expression_scores.py [--quick]

Heads are drawn from the head model: principal components of unit variance, local changes of 0.3 (by which mouths differ
in width as much as people's do), mostly alike left and right. Expressions are those of portraits: none, smiles of all
strengths, open mouths, each with brows, lids and gaze of its own. The table is what
``spinmeround.template.fit.expression_prior`` holds, but for gaze and parted lips, whose priors are wider there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from command_line import benchmark_parser, run
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from tables import Figure, print_table

from spinmeround.geometry import vertex_normals
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.portrait import landmarks
from spinmeround.template.model.head_model import PARTS, HeadModel, landmark_points, load_head_model

_SIZE_PX = 512
_LOCAL_SIGMA, _ASYMMETRY = 0.3, 0.03
_BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
_BROW_WIDTH, _IRIS_RADIUS = 0.01, 0.0143
_SLOPE_PRIOR = 0.05
"""Added to the sum of squared scores, so that a slope that hardly any score determines tends to 0."""


@dataclass
class ExpressionDraw:
    """Weights by ARKit name while a random expression is put together."""

    rng: np.random.Generator
    weights: dict[str, float] = field(default_factory=dict)

    def pair(self, stem: str, high: float, *, asymmetry: float = 0.1) -> None:
        """Draw the weight of a left and a right expression, nearly alike."""
        weight = self.rng.uniform(0, high)
        for side in ("Left", "Right"):
            self.weights[stem + side] = weight * self.rng.uniform(1 - asymmetry, 1)

    def one(self, name: str, high: float) -> None:
        """Draw the weight of an expression without sides."""
        self.weights[name] = self.rng.uniform(0, high)

    def sometimes(self, probability: float, stem: str, high: float) -> None:
        """Draw a pair with a given probability."""
        if self.rng.random() < probability:
            self.pair(stem, high)


def draw_expression(rng: np.random.Generator) -> dict[str, float]:
    """Draw the expression of a portrait; absent names are 0."""
    draw = ExpressionDraw(rng)
    kind = rng.random()
    if 0.35 < kind < 0.8:
        draw.pair("mouthSmile", 1.0, asymmetry=0.2)
        smile = draw.weights["mouthSmileLeft"]
        draw.pair("cheekSquint", 0.6 * smile)
        draw.pair("eyeSquint", 0.8 * smile)
        if rng.random() < 0.5:
            draw.pair("mouthUpperUp", 0.6 * smile)
            draw.pair("mouthLowerDown", 0.4 * smile)
            draw.one("jawOpen", 0.25 * smile)
    elif kind >= 0.8:
        draw.one("jawOpen", 0.6)
        if rng.random() < 0.4:
            draw.one("mouthFunnel", 0.6)
        if rng.random() < 0.3:
            draw.one("mouthPucker", 0.6)
    if rng.random() < 0.3:
        draw.pair("browDown", 0.7)
    elif rng.random() < 0.3:
        draw.one("browInnerUp", 0.7)
        draw.pair("browOuterUp", 0.7, asymmetry=0.3)
    for stem, probability, high in (
        ("eyeSquint", 0.0 if "eyeSquintLeft" in draw.weights else 0.3, 0.7),
        ("eyeBlink", 0.25, 0.4),
        ("eyeWide", 0.1, 0.6),
        ("mouthFrown", 0.15, 0.6),
        ("mouthPress", 0.15, 0.5),
        ("noseSneer", 0.1, 0.4),
        ("mouthStretch", 0.1, 0.5),
        ("eyeLookUp", 0.2, 0.3),
        ("eyeLookDown", 0.2, 0.3),
    ):
        draw.sometimes(probability, stem, high)
    if rng.random() < 0.1:
        draw.one("mouthShrugLower", 0.5)
    aside = rng.uniform(-0.4, 0.4) * (rng.random() < 0.4)
    for name in ("eyeLookOutLeft", "eyeLookInRight") if aside > 0 else ("eyeLookInLeft", "eyeLookOutRight"):
        draw.weights[name] = abs(aside)
    return draw.weights


def draw_shape(model: HeadModel, rng: np.random.Generator) -> Float[np.ndarray, "k"]:
    """Draw the shape parameters of a person."""
    principal = np.array([name.startswith("pca_") for name in model.shape_names])
    shared = rng.normal(0, _LOCAL_SIGMA, len(principal))
    index = np.arange(len(principal))
    local = shared[np.minimum(index, model.shape_mirror)] + rng.normal(0, _ASYMMETRY, len(principal))
    # The skull is hardly seen, and sideways shifts are injuries.
    rare = ("neck", "head-", "forehead-nubian", "chin-cleft", "-trans-left", "-trans-right")
    local[[any(word in name for word in rare) for name in model.shape_names]] *= 0.3
    return np.where(principal, rng.normal(0, 0.9, len(principal)), local)


class Painter:
    """Draws heads of the model in plain colours under one lamp."""

    def __init__(self, model: HeadModel) -> None:
        self.model = model
        self.mean = model.dense(model.mean.astype(np.float64))
        self.eye_faces = np.isin(model.dense_part, [PARTS.index("eye_left"), PARTS.index("eye_right")])
        places = landmark_points(model, model.mean)
        distance = np.full(len(self.mean), np.inf)
        for ring in _BROWS:
            axis = np.array([(places[a] + places[b]) / 2 for a, b in zip(ring[:5], ring[:4:-1], strict=True)])
            line = np.concatenate([np.linspace(a, b, 12) for a, b in pairwise(axis)])
            distance = np.minimum(distance, np.linalg.norm(self.mean[:, None] - line, axis=-1).min(1))
        self.brows = np.exp(-((distance / _BROW_WIDTH) ** 2))

    def _albedo(self, rng: np.random.Generator) -> Float[np.ndarray, "m 3"]:
        masks, model = self.model.masks, self.model
        skin = np.array([0.9, 0.7, 0.6]) ** rng.uniform(1, 2.2)
        albedo = np.tile(skin, (len(self.mean), 1))
        dark = np.clip(masks["cavity"] + masks["nostrils"], 0, 1)
        for weight, colour in (
            (masks["lips"], skin * [0.8, 0.48, 0.5]),
            (masks["lids"], skin * [0.75, 0.66, 0.66]),
            (masks["scalp"], [0.2, 0.15, 0.12]),
            (dark, [0.25, 0.1, 0.09]),
            (self.brows * rng.uniform(0.6, 0.9), [0.2, 0.14, 0.11]),
        ):
            albedo += weight[:, None] * (np.array(colour) - albedo)
        for part, colour in (("teeth_upper", [0.9, 0.88, 0.82]), ("teeth_lower", [0.85, 0.83, 0.77])):
            albedo[model.dense_vertices_of(part)] = colour
        return albedo

    def _eyes(self, places: Float[np.ndarray, "p 3"], iris: Float[np.ndarray, "3"]) -> Float[np.ndarray, "p 3"]:
        centres = [self.mean[self.model.dense_vertices_of(name)].mean(0) for name in ("eye_left", "eye_right")]
        centre = np.where(places[:, :1] > 0, *centres)
        radius = np.linalg.norm((places - centre)[:, :2], axis=1)[:, None]
        colour = np.where(radius < _IRIS_RADIUS, iris, [0.92, 0.9, 0.88])
        return np.where(radius < 0.4 * _IRIS_RADIUS, [0.05, 0.04, 0.04], colour)

    def draw(self, coarse: Float[np.ndarray, "n 3"], rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
        """Return a picture of a posed head from a random side, over grey."""
        faces, vertices = self.model.dense_faces, self.model.dense(coarse)
        camera = orbit_cameras(
            [rng.uniform(-20, 20)], [rng.uniform(-8, 8)], size_px=_SIZE_PX, focal_widths=rng.uniform(3, 4.2)
        )
        buffer = rasterize(vertices, faces, camera, 0)
        hit = buffer.face >= 0
        attributes = np.concatenate([vertex_normals(vertices, faces), self._albedo(rng), self.mean], axis=1)
        normals, albedo, places = np.split(interpolate(attributes.astype(np.float32), faces, buffer), 3, axis=-1)
        eye = hit & self.eye_faces[buffer.face]
        albedo[eye] = self._eyes(places[eye], rng.uniform([0.15, 0.1, 0.06], [0.4, 0.4, 0.5]))
        light = np.array([rng.uniform(-0.6, 0.6), 0.4, 0.8])
        cosine = normals @ light / np.maximum(np.linalg.norm(normals, axis=-1) * np.linalg.norm(light), 1e-9)
        picture = np.where(hit[..., None], (0.35 + 0.65 * np.clip(cosine, 0, 1))[..., None] * albedo, 0.55)
        return gaussian_filter(picture, (0.6, 0.6, 0)).astype(np.float32).clip(0, 1)


def observe(people: int) -> tuple[Float[np.ndarray, "p 52"], Float[np.ndarray, "p 52"]]:
    """Return the true weights and the detector's scores of random people; faces that are not found are left out."""
    model = load_head_model()
    painter = Painter(model)
    truth, scores = [], []
    for seed in range(people):
        rng = np.random.default_rng([77, seed])
        shape, drawn = draw_shape(model, rng), draw_expression(rng)
        weights = np.array([drawn.get(name, 0.0) for name in model.expression_names])
        found = landmarks.find_faces(painter.draw(model.vertices(shape, weights), rng))
        if found:
            truth.append(weights)
            scores.append(found[0].blendshapes)
    return np.array(truth), np.array(scores)


def regressions(
    names: Sequence[str], truth: Float[np.ndarray, "p 52"], scores: Float[np.ndarray, "p 52"]
) -> dict[str, tuple[float, float, float]]:
    """Return slope through zero, deviation around it, and deviation around the score itself, left and right pooled."""
    stems = [name.removesuffix("Left").removesuffix("Right") for name in names]
    out = {}
    for stem in dict.fromkeys(stems):
        same = [k for k, other in enumerate(stems) if other == stem]
        weight, score = truth[:, same].ravel(), scores[:, same].ravel()
        if weight.any():
            slope = float(np.clip(weight @ score / (score @ score + _SLOPE_PRIOR), 0, 1))
            around = (float(np.sqrt(np.mean((weight - factor * score) ** 2))) for factor in (slope, 1.0))
            out[stem] = (slope, *around)
    return out


def measure(*, quick: bool) -> list[Figure]:
    """Measure 240 random people, 40 if quick; print the table of the expression prior."""
    truth, scores = observe(40 if quick else 240)
    found = regressions(load_head_model().expression_names, truth, scores)
    rows = [[stem, *[f"{value:.2f}" for value in values]] for stem, values in found.items()]
    print_table(["expression", "slope", "deviation", "of the score itself"], rows, title="expression scores")
    fitted, raw = (float(np.mean([values[k] for values in found.values()])) for k in (1, 2))
    return [Figure("weights predicted from scores, deviation", fitted, raw, note=f"the scores themselves: {raw:.2f}")]


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="40 people"), title="expression scores")


if __name__ == "__main__":
    main()
