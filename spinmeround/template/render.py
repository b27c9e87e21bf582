"""Renderings of a finished template head: skin, eyes, mouth, hair and headwear in one depth buffer, unlit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Integer

from spinmeround import mesh_raster
from spinmeround.geometry import camera_centres, resized, vertex_normals
from spinmeround.tangent_space import fill_from_nearest
from spinmeround.template.hair.texture import HairTexture, surface_of_map
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel
from spinmeround.template.shading import CoveringTexture, Shading, Surface, tilted_by_strands
from spinmeround.template.strands.ribbons import Ribbons, drawn_strands, under_strands
from spinmeround.types import Cameras, HairStrands, Mesh, PaintedSurface, Views

_SAMPLES = 4
"""Samples per pixel along each axis. Strands of hair are about a pixel wide and silhouettes are sharp, so with fewer
samples aliasing would differ between cameras and no head could match all views."""

_MAX_SAMPLES = 1 << 24
"""Samples drawn at a time; bounds the memory."""


@dataclass(frozen=True)
class Skin:
    """The dense template in one pose with its texture.

    Attributes:
        vertices: dense vertices, world frame.
        albedo: sRGB texture, row 0 at the top.
    """

    model: HeadModel
    vertices: Float[np.ndarray, "m 3"]
    albedo: Float[np.ndarray, "th tw 3"]


@dataclass(frozen=True)
class Covering:
    """What covers the scalp: the surface of hair or headwear, world frame, and its colours.

    Attributes:
        name: of its part in meshes and avatars, ``"hair"`` or ``"headwear"``.
        strands: what stands on the surface, if it is hair.
    """

    name: str
    mesh: Mesh
    texture: HairTexture
    strands: HairStrands | None = None


def render_views(skin: Skin, coverings: Sequence[Covering], cameras: Cameras, *, names: tuple[str, ...] = ()) -> Views:
    """Render the head for each camera.

    Returns:
        Views of weight 1 with exact cameras; colours are albedo, normals are those of the geometry tilted by the relief
        of the strands.
    """
    scene = _scene(skin, coverings, _ribbons(coverings, cameras))
    shape = (len(cameras), cameras.height_px, cameras.width_px)
    rgb, world = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.float32)
    for index, eye in enumerate(camera_centres(cameras)):
        vertices = scene.toward(eye)
        for rows, strip in _strips(cameras, index):
            large = resized(strip, strip.width_px * _SAMPLES, strip.height_px * _SAMPLES)
            shading = scene.shaded(mesh_raster.rasterize(vertices, scene.surface.faces, large, 0), _SAMPLES)
            alpha[index, rows] = shading.alpha
            rgb[index, rows] = shading.colours / np.maximum(_SAMPLES**2 * shading.alpha, 1)[..., None]
            world[index, rows] = _unit_inside(shading.normals)
    np.clip(rgb, 0, 1, out=rgb)
    return Views(cameras, rgb, world, alpha, np.ones(shape, np.float32), names, exact_cameras=True)


def painted_surface(skin: Skin, coverings: Sequence[Covering], cameras: Cameras) -> PaintedSurface:
    """Return what ``render_views`` draws for the same cameras."""
    scene = _scene(skin, coverings, ())

    def colours(face: Integer[np.ndarray, "n"], weights: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        column = mesh_raster.FaceBuffer(
            face.astype(np.int32)[:, None], weights.astype(np.float32)[:, None], np.zeros((len(face), 1), np.float32)
        )
        return scene.shaded(column, 1).colours[:, 0]

    strands = next((_drawn(covering, cameras) for covering in coverings if covering.strands is not None), None)
    return PaintedSurface(Mesh(scene.vertices, scene.surface.faces), colours, strands)


def _scene(skin: Skin, coverings: Sequence[Covering], ribbons: Sequence[Ribbons]) -> _Scene:
    """Return all surfaces above the cut through the neck, and strands behind them."""
    skin_cut = neck_cut.cut(skin.vertices, skin.model.dense_faces)
    skin_mesh = neck_cut.split_crease(skin_cut.vertices, skin_cut.faces)
    vertices, faces = skin_mesh.vertices, skin_mesh.faces
    corner_uv = skin_cut.at_corners(skin.model.uv[skin.model.uv_faces.ravel()])
    normals = vertex_normals(vertices, faces)
    ends = [len(faces)]
    for covering in coverings:
        surface = covering.mesh
        if covering.strands is not None:
            surface = under_strands(surface, covering.strands, floor=neck_cut.HEIGHT)
        above = neck_cut.cut(surface.vertices, surface.faces)
        mesh = neck_cut.split_crease(above.vertices, above.faces)
        faces = np.concatenate([faces, mesh.faces + len(vertices)])
        normals = np.concatenate([normals, vertex_normals(mesh.vertices, mesh.faces)])
        vertices = np.concatenate([vertices, mesh.vertices])
        ends.append(len(faces))
    count, colours = len(vertices), [np.zeros((0, 3))]
    for each in ribbons:
        faces = np.concatenate([faces, each.faces + count])
        normals = np.concatenate([normals, np.repeat(each.normals, 2, axis=0)])
        colours.append(np.repeat(each.colours, 2, axis=0))
        count += 2 * len(each.centres)
    return _Scene(
        vertices,
        tuple(ribbons),
        Surface(vertices.astype(np.float32), np.ascontiguousarray(faces, np.int64), normals.astype(np.float32)),
        np.ascontiguousarray(corner_uv, np.float32),
        np.ascontiguousarray(skin.albedo, np.float32),
        tuple(CoveringTexture.of(covering.texture) for covering in coverings),
        tuple(ends),
        np.concatenate(colours).astype(np.float32),
    )


def _ribbons(coverings: Sequence[Covering], cameras: Cameras) -> list[Ribbons]:
    """Prepare the strands of all coverings for drawing."""
    return [
        Ribbons.of(_drawn(covering, cameras), covering.mesh) for covering in coverings if covering.strands is not None
    ]


def _drawn(covering: Covering, cameras: Cameras) -> HairStrands:
    """Return a covering's strands as pictures from ``cameras`` show them."""
    assert covering.strands is not None
    distance = np.linalg.norm(camera_centres(cameras), axis=1)
    pixel = float(np.median(distance / cameras.intrinsics_px[:, 0, 0]))
    return drawn_strands(covering.strands, pixel=pixel, floor=neck_cut.HEIGHT)


def _strips(cameras: Cameras, index: int) -> Iterator[tuple[slice, Cameras]]:
    """Split one camera into cameras for a few rows each, so that the samples of large pictures fit into memory."""
    height = max(1, _MAX_SAMPLES // (cameras.width_px * _SAMPLES**2))
    for top in range(0, cameras.height_px, height):
        rows = min(height, cameras.height_px - top)
        intrinsics_px = cameras.intrinsics_px[[index]].copy()
        intrinsics_px[0, 1, 2] -= top
        yield (
            slice(top, top + rows),
            Cameras(cameras.camera_from_world[[index]], intrinsics_px, cameras.width_px, rows),
        )


def _unit_inside(normals: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Normalise wherever there is anything."""
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]
    return np.where(length > 1e-6, normals / np.maximum(length, 1e-9), np.float32(0))


@dataclass(frozen=True)
class _Scene:
    """What is drawn: faces of the skin first, which have ``corner_uv``, then those of the coverings, then strands.

    Attributes:
        vertices: of the skin and the coverings.
        surface: all faces and normals, those of strands as well.
        coverings: colours of hair and headwear.
        ends: number of faces of the skin, then with each covering one more number, which counts its faces as well.
        strand_colours: of the vertices of strands.
    """

    vertices: Float[np.ndarray, "v 3"]
    ribbons: tuple[Ribbons, ...]
    surface: Surface
    corner_uv: Float32[np.ndarray, "s 3 2"]
    albedo: Float32[np.ndarray, "th tw 3"]
    coverings: tuple[CoveringTexture, ...]
    ends: tuple[int, ...]
    strand_colours: Float32[np.ndarray, "r 3"]

    def toward(self, eye: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n 3"]:
        """Return all vertices, with strands that turn their width to a camera at ``eye``."""
        return np.concatenate([self.vertices, *(each.toward(eye) for each in self.ribbons)])

    def shaded(self, buffer: mesh_raster.FaceBuffer, samples: int) -> Shading:
        """Colour what a picture with ``samples`` by ``samples`` samples a pixel shows."""
        shading = Shading(buffer, samples)
        shading.add_textured(self.surface, self.corner_uv, self.albedo)
        for texture, first, end in zip(self.coverings, self.ends[:-1], self.ends[1:], strict=True):
            shading.add_covering(self.surface, first, end, texture)
        shading.add_coloured(self.surface, self.ends[-1], self.strand_colours)
        return shading


def strand_normals(hair: Covering) -> Float32[np.ndarray, "th tw 3"]:
    """Return unit world normals of the outermost hair with its strands, at each texel of the hair's map."""
    points, normals, occupied = surface_of_map(hair.mesh, hair.texture.centre)
    unit = normals[occupied] / np.maximum(np.linalg.norm(normals[occupied], axis=1, keepdims=True), 1e-9)
    tilted = np.zeros_like(normals)
    tilted[occupied] = tilted_by_strands(CoveringTexture.of(hair.texture), points[occupied], unit)
    return fill_from_nearest(tilted, occupied)
