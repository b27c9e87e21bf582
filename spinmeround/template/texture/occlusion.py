"""How much of the surroundings each place of a head sees: hollows and the throat get less light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from spinmeround.geometry import vertex_normals
from spinmeround.mesh_raster import rasterize_pixels

_DEPTH_OFFSET = 4.0
"""Added to depths, which must be positive, head units."""


@dataclass(frozen=True)
class _OcclusionSettings:
    """Constants of ``Visibility.of``.

    Attributes:
        directions: from which light comes, evenly over the sphere.
        size_px: side of the depth buffers.
        margin: half the side of a depth buffer over the mesh's largest extent.
        patch_px: size_px for a patch of the mesh.
        around: a patch goes so far beyond what it is made for, head units: that is what shades it.
        above: how much brighter the surroundings are above than beside.
        brightest: most light at a place, against that on the plain surface around.
        offset_px: places are looked up so far above the surface, and lit so far behind it: within a pixel of a depth
            buffer an oblique surface goes up and down.
    """

    directions: int = 60
    size_px: int = 512
    margin: float = 1.05
    offset_px: float = 1.5
    patch_px: int = 256
    around: float = 0.06
    above: float = 0.5
    brightest: float = 1.3


_OCCLUSION = _OcclusionSettings()


@dataclass(frozen=True)
class Visibility:
    """What each vertex sees of its surroundings.

    Attributes:
        directions: unit vectors, world frame.
        visible: whether nothing stands in the way.
        cosine: of each direction to the normal, 0 behind the surface.
    """

    directions: Float[np.ndarray, "d 3"]
    visible: Bool[np.ndarray, "d m"]
    cosine: Float[np.ndarray, "d m"]

    @staticmethod
    def of(
        vertices: Float[np.ndarray, "m 3"], faces: Integer[np.ndarray, "f 3"], *, size: int = _OCCLUSION.size_px
    ) -> Visibility:
        """Return what the vertices of a mesh see past it, from depth buffers.

        Places are moved along their normals before they are compared (Holbert, Saying Goodbye to Shadow Acne, 2011).
        """
        normals = vertex_normals(vertices, faces)
        centre = vertices.mean(0)
        reach = _OCCLUSION.margin * np.linalg.norm(vertices - centre, axis=1).max()
        offset = _OCCLUSION.offset_px * 2 * reach / size
        points = np.concatenate([vertices, vertices + offset * normals]) - centre
        directions = _sphere(_OCCLUSION.directions)
        visible = np.zeros((len(directions), len(vertices)), bool)
        for index, direction in enumerate(directions):
            side = np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[1]) > 0.9 else [0.0, 1.0, 0.0])
            side /= np.linalg.norm(side)
            turned = points @ np.stack([side, np.cross(direction, side), -direction]).T
            pixels = np.concatenate([(turned[:, :2] / reach + 1) * size / 2, turned[:, 2:] + _DEPTH_OFFSET], axis=1)
            depth = rasterize_pixels(pixels[: len(vertices)], faces, size, size).depth
            asked = pixels[len(vertices) :]
            column, row = (np.clip(asked[:, c].astype(int), 0, size - 1) for c in (0, 1))
            visible[index] = asked[:, 2] < depth[row, column] + offset
        return Visibility(directions, visible, np.maximum(directions @ normals.T, 0))

    def openness(self, radiance: Float[np.ndarray, "d"] | float = 1.0) -> Float[np.ndarray, "m"]:
        """Return the fraction in [0, 1] of light that reaches each vertex, of that which would if all were open.

        Args:
            radiance: of each direction; an even sky without.
        """
        light = self.cosine * np.broadcast_to(radiance, len(self.directions))[:, None]
        return (light * self.visible).sum(0) / np.maximum(light.sum(0), 1e-9)


def relief_light(
    vertices: Float[np.ndarray, "m 3"],
    faces: Integer[np.ndarray, "f 3"],
    part: Bool[np.ndarray, "m"],
    light: Callable[[Float[np.ndarray, "d 3"]], Float[np.ndarray, "d"]],
) -> Float[np.ndarray, "m"]:
    """Return the light that reaches each vertex of a folded part, against that on a plain surface in its place; else 1.

    Args:
        part: its vertices, such as those of an ear.
        light: radiance from each direction.
    """
    low, high = (bound(vertices[part], axis=0) for bound in (np.min, np.max))
    near = ((vertices > low - _OCCLUSION.around) & (vertices < high + _OCCLUSION.around)).all(1)
    kept = faces[near[faces].all(1)]
    used, compact = np.unique(kept, return_inverse=True)
    sky = Visibility.of(vertices[used], compact.reshape(-1, 3), size=_OCCLUSION.patch_px)
    radiance = light(sky.directions) * (1 + _OCCLUSION.above * sky.directions[:, 1])
    inside = part[used]
    plain = vertex_normals(vertices[used], compact.reshape(-1, 3))[inside].mean(0)
    usual = radiance @ np.maximum(sky.directions @ (plain / np.linalg.norm(plain)), 0)
    reached = radiance @ (sky.cosine * sky.visible)
    lit = np.ones(len(vertices))
    lit[used[inside]] = np.minimum(reached[inside] / max(float(usual), 1e-9), _OCCLUSION.brightest)
    return lit


def with_interreflection(openness: Float[np.ndarray, "m"], albedo: Float[np.ndarray, "c"]) -> Float[np.ndarray, "m c"]:
    """Return the fraction of light at places with this openness if what stands in the way reflects light itself.

    It is the fit to path tracing by Jimenez et al., Practical Realtime Strategies for Accurate Indirect Occlusion
    (2016). Skin reflects most of red light, so that its hollows, as in ears, are not only darker but redder.

    Args:
        albedo: of the surface, linear, in [0, 1].
    """
    seen, rho = openness[:, None], np.clip(albedo, 0, 1)
    several = ((seen * (2.0404 * rho - 0.3324) + (0.6417 - 4.7951 * rho)) * seen + (2.7552 * rho + 0.6903)) * seen
    return np.maximum(seen, several)


def _sphere(count: int) -> Float[np.ndarray, "d 3"]:
    """Return directions spread evenly over the sphere on a golden spiral."""
    index = np.arange(count) + 0.5
    height, angle = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)
