"""Locks of hair laid over its surface where no photo shows it: rounded strips along its growth, over one another.

Fine lines alone look drawn onto an egg. Hair falls in locks of two centimetres and wisps of a few millimetres, which
have a tone of their own, a rounded form that light falls on, and gaps that are dark. Each is a strip of triangles that
follows the growth over the surface; a z-buffer over the hair's map says which lies on top in every texel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree

from spinmeround import mesh_raster
from spinmeround.geometry import face_normals, scatter_on_faces, vertex_normals
from spinmeround.images import blur_cyclic
from spinmeround.numerics import smooth_ramp
from spinmeround.template.hair.curl import Curl
from spinmeround.template.hair.orientation import LUMINANCE
from spinmeround.types import Mesh


@dataclass(frozen=True)
class _Level:
    """Locks of one size. Lengths are in head units (0.41 m).

    Attributes:
        half_width: of a lock.
        of_length: its length against that of the hair.
        share: of all relief and tone.
        rise: tangent of the angle at which it leaves the hair below it, and comes back.
    """

    half_width: float
    of_length: float
    share: float
    rise: float


@dataclass(frozen=True)
class _Settings:
    """How locks lie, and how light they are.

    Attributes:
        levels: locks (2 cm wide) and wisps (7 mm wide).
        layers: locks over one another, on average.
        least_reach: least length of a lock against its half width.
        spread: standard deviation of the logarithm of length and width.
        root_width: width of a lock at its root, against its full one; widening: place along it where that is reached.
        emerged: place along a lock from which on it lies above others in full.
        sinking: fraction of its height that it loses to the tip.
        shingle: how much one lock lies above another as a whole, rather than by its form.
        lean: tangent of the angle by which the edges of a lock turn away.
        gap_blur_texels: standard deviation of the blur against which gaps are dark.
        tone, gap, light: shares of the lightness: of each lock's own, of gaps between them, of the light on their form.
        between_texels: blurs between which a photo shows how much locks differ (2 mm and 12 mm).
        contrast: bounds of the standard deviation of the logarithm of lightness there.
        sure: weight of the photos from which on they show it.
        black: least lightness of which a logarithm is taken.
    """

    levels: tuple[_Level, ...] = (_Level(0.026, 1.0, 0.6, 0.3), _Level(0.008, 0.8, 0.4, 0.15))
    layers: float = 3.0
    least_reach: float = 3.0
    spread: float = 0.45
    root_width: float = 0.6
    widening: float = 0.4
    emerged: float = 0.4
    sinking: float = 0.5
    shingle: float = 0.5
    lean: float = 0.5
    gap_blur_texels: float = 10.0
    tone: float = 1.0
    gap: float = 0.6
    light: float = 0.4
    between_texels: tuple[float, float] = (4.0, 20.0)
    contrast: tuple[float, float] = (0.08, 0.22)
    sure: float = 0.8
    black: float = 0.02


_SETTINGS = _Settings()

LIFT = 0.008
"""By how much the highest locks stand out above the lowest, head units (3 mm)."""

_ACROSS = np.linspace(-1, 1, 5)
"""Places across a strip, from one edge to the other."""

_NEARER = 0.1
"""By how much less the depth of the highest lock is than that of the lowest, for the z-buffer."""

_TINY = 1e-6
"""Keeps divisions by lengths and deviations finite."""


@dataclass(frozen=True)
class Canvas:
    """A map around the head that wraps round at its left and right border.

    Attributes:
        unroll: columns and rows of world points, texels.
    """

    unroll: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 2"]]
    width: int
    height: int


@dataclass(frozen=True)
class Locks:
    """The outermost lock in each texel of a map.

    Attributes:
        height: of it, in [0, 1].
        tone: how light it is of its own, around 0.
        lean: by how much its form turns the surface's normal, world frame.
        rise: tangent of the angle by which its strands turn toward that normal.
    """

    height: Float32[np.ndarray, "th tw"]
    tone: Float32[np.ndarray, "th tw"]
    lean: Float32[np.ndarray, "th tw 3"]
    rise: Float32[np.ndarray, "th tw"]

    def turned(
        self, along: Float[np.ndarray, "th tw 3"], normal: Float[np.ndarray, "th tw 3"]
    ) -> Float[np.ndarray, "th tw 3"]:
        """Return in which direction strands run that lie in locks.

        Args:
            along: in which direction hair grows over the surface, unit vectors.
            normal: of the surface, of any length.
        """
        return _unit(along + self.rise[..., None] * _unit(normal))

    def shading(self, normal: Float[np.ndarray, "th tw 3"], contrast: float) -> Float[np.ndarray, "th tw"]:
        """Return the lightness of locks under light from above as a factor, whose logarithm has a mean of 0 over them.

        Args:
            normal: of the surface, of any length.
            contrast: standard deviation of that logarithm.
        """
        s = _SETTINGS
        unit = _unit(normal)
        light = _unit(unit + self.lean)[..., 1] - unit[..., 1]
        gap = self.height - blur_cyclic(self.height, s.gap_blur_texels)
        parts = (s.tone, self.tone), (s.gap, gap), (s.light, light)
        mixed = np.sum([share * self._standardised(part) for share, part in parts], axis=0)
        return np.exp(contrast * self._standardised(mixed))

    def lift(self) -> Float[np.ndarray, "th tw"]:
        """Return how far each texel's lock stands out from the mean of all, head units."""
        return LIFT * (self.height - self.height[self._laid].mean())

    @property
    def _laid(self) -> Bool[np.ndarray, "th tw"]:
        """Texels in which there is any lock."""
        return self.height > 0

    def _standardised(self, values: Float[np.ndarray, "th tw"]) -> Float[np.ndarray, "th tw"]:
        """Scale values to a mean of 0 and a standard deviation of 1 where there are locks."""
        laid = values[self._laid]
        return (values - laid.mean()) / max(float(laid.std()), _TINY)


def shown_contrast(colour: Float[np.ndarray, "th tw 3"], trust: Float[np.ndarray, "th tw"]) -> float:
    """Return how much locks differ in seen hair: the standard deviation of the logarithm of their lightness.

    Args:
        colour: what the photos show, sRGB; trust: weight in [0, 1] of it.
    """
    s = _SETTINGS
    sure = trust > s.sure
    if not sure.any():
        return s.contrast[0]
    weighed = np.dstack([(colour @ np.array(LUMINANCE, np.float32)) * trust, trust]).astype(np.float32)
    blurs = [blur_cyclic(weighed, sigma)[sure] for sigma in s.between_texels]
    near, far = (np.log(np.maximum(each[:, 0] / np.maximum(each[:, 1], _TINY), s.black)) for each in blurs)
    return float(np.clip((near - far).std(), *s.contrast))


def lay_locks(
    hair: Mesh,
    directions: Float[np.ndarray, "v 3"],
    curl: Curl,
    canvas: Canvas,
    *,
    length: float,
    rng: np.random.Generator,
) -> Locks:
    """Lay locks and wisps all over a surface of hair.

    Args:
        directions: in which hair grows at its vertices, unit vectors.
        curl: waves that each lock runs in.
        length: of the hair, head units.
        rng: draws places, sizes and tones.
    """
    mixed = np.zeros((canvas.height, canvas.width, 6), np.float32)
    for level in _SETTINGS.levels:
        mixed += level.share * _laid(hair, directions, curl, canvas, level=level, length=length, rng=rng)
    return Locks(mixed[..., 0], mixed[..., 1], mixed[..., 3:], mixed[..., 2])


def _laid(hair: Mesh, directions, curl: Curl, canvas: Canvas, *, level: _Level, length: float, rng):
    """Return height, tone, rise and lean of the outermost lock of one size in each texel."""
    s = _SETTINGS
    typical = max(level.of_length * length, s.least_reach * level.half_width)
    area = 0.5 * float(np.linalg.norm(face_normals(hair.vertices, hair.faces), axis=1).sum())
    count = max(1, round(s.layers * area / (2 * level.half_width * typical)))
    face, weights = scatter_on_faces(hair.vertices, hair.faces, count, rng=rng)
    roots = (hair.vertices[hair.faces[face]] * weights[..., None]).sum(1)
    reach, half_width = (each * np.exp(rng.normal(0, s.spread, count)) for each in (typical, level.half_width))
    steps = max(4, round(typical / level.half_width))
    points, normals = _traced(hair, directions, roots, reach / steps, steps)
    place = np.linspace(0, 1, steps + 1)
    wave = np.sin(2 * np.pi * (place * reach[:, None] / curl.pitch + rng.random((count, 1))))
    points = points + (curl.amplitude * place * wave)[..., None] * _sides(points, normals)
    # A lock gathers below its root and comes to a point.
    wide = s.root_width + (1 - s.root_width) * smooth_ramp(place, 0.0, s.widening)
    wide = half_width[:, None] * wide * np.sqrt(1 - place**3)
    u, sides = np.broadcast_to(_ACROSS, (count, steps + 1, len(_ACROSS))), _sides(points, normals)[:, :, None]
    corners = points[:, :, None] + (wide[..., None] * u)[..., None] * sides
    # Its root lies below others, and so do its edges.
    place = place[None, :, None]
    emerged = smooth_ramp(place, 0.0, s.emerged)
    height = (1 - s.shingle * rng.random((count, 1, 1))) * emerged * (1 - s.sinking * place) * (1 - u**2)
    own = emerged * (1 - u**4)
    tone = own * rng.uniform(-1, 1, (count, 1, 1))
    rise = own * level.rise * np.cos(np.pi * place)
    lean = (s.lean * u * emerged)[..., None] * sides
    values = np.concatenate([np.stack([height, tone, rise], axis=-1), lean], axis=-1)
    return _drawn(corners, 1 - _NEARER * height, values, canvas)


def _traced(hair: Mesh, directions, roots, step, steps: int):
    """Return points from each root along the growth over the surface, and the surface's normals there."""
    tree, all_normals = cKDTree(hair.vertices), vertex_normals(hair.vertices, hair.faces)
    here, points, normals = roots, [], []
    for _ in range(steps + 1):
        _, nearest = tree.query(here, workers=-1)
        normal = all_normals[nearest]
        here = here - ((here - hair.vertices[nearest]) * normal).sum(1, keepdims=True) * normal
        points.append(here)
        normals.append(normal)
        here = here + step[:, None] * directions[nearest]
    return np.stack(points, axis=1), np.stack(normals, axis=1)


def _sides(points: Float[np.ndarray, "n p 3"], normals: Float[np.ndarray, "n p 3"]) -> Float[np.ndarray, "n p 3"]:
    """Return unit vectors along the surface and across curves on it."""
    return _unit(np.cross(np.gradient(points, axis=1), normals))


def _drawn(corners, depth, values, canvas: Canvas) -> Float32[np.ndarray, "th tw c"]:
    """Draw strips with ``n p k`` corners onto the map, those of least depth on top."""
    index = np.arange(depth.size).reshape(depth.shape)
    a, b, c, d = (each.ravel() for each in (index[:, :-1, :-1], index[:, :-1, 1:], index[:, 1:, :-1], index[:, 1:, 1:]))
    source = np.concatenate([np.stack([a, b, c], axis=1), np.stack([c, b, d], axis=1)])
    flat = np.concatenate([canvas.unroll(corners.reshape(-1, 3)), depth.reshape(-1, 1)], axis=1)[source]
    # Faces across the seam of the map are drawn at both of its ends.
    seam = np.ptp(flat[..., 0], axis=1) > canvas.width / 2
    flat[seam, :, 0] += np.where(flat[seam, :, 0] < canvas.width / 2, canvas.width, 0)
    flat = np.concatenate([flat, flat[seam] - [canvas.width, 0, 0]]).reshape(-1, 3)
    source = np.concatenate([source, source[seam]]).ravel()
    faces = np.arange(len(flat)).reshape(-1, 3)
    buffer = mesh_raster.rasterize_pixels(flat, faces, canvas.width, canvas.height)
    return mesh_raster.interpolate(values.reshape(-1, values.shape[-1])[source], faces, buffer)


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)
