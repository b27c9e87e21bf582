"""Renderings of a finished template head: skin, eyes, mouth, hair and headwear in one depth buffer, unlit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

from spinmeround import mesh_raster
from spinmeround.geometry import camera_centres, resized, vertex_normals
from spinmeround.images import sample
from spinmeround.tangent_space import fill_from_nearest
from spinmeround.template.hair.texture import HairTexture, surface_of_map
from spinmeround.template.model import neck_cut
from spinmeround.template.model.head_model import HeadModel
from spinmeround.template.strands.ribbons import Ribbons, drawn_strands, under_strands
from spinmeround.types import Cameras, HairStrands, Mesh, PaintedSurface, Views

_SAMPLES = 4
"""Samples per pixel along each axis. Strands of hair are about a pixel wide and silhouettes are sharp, so with fewer
samples aliasing would differ between cameras and no head could match all views."""

_MAX_SAMPLES = 1 << 24
"""Samples shaded at a time; bounds the memory."""

_STRAND_HEIGHT = 0.0003
"""Standard deviation of the strands' height, head units (0.12 mm)."""
_STRAND_STEP = 0.0015
"""Half the distance over which the slope of the strands' height is measured, head units (0.6 mm, a texel)."""
_MAX_STRAND_SLOPE = 0.7
"""Bound on that slope, so that no normal tilts by more than about 35 degrees along one axis."""


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
    surfaces, ribbons = _scene(skin, coverings), _ribbons(coverings, cameras)
    shape = (len(cameras), cameras.height_px, cameras.width_px)
    rgb, world = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
    alpha = np.zeros(shape, np.float32)
    for index, eye in enumerate(camera_centres(cameras)):
        scene = surfaces.with_ribbons(ribbons, eye)
        for rows, strip in _strips(cameras, index):
            buffer = _rasterized(scene, strip)
            size = (strip.height_px, strip.width_px)
            alpha[index, rows] = _average((buffer.face >= 0).astype(np.float32), size)
            rgb[index, rows] = _average(_colours(scene, buffer), size)
            world[index, rows] = _pixel_normals(scene, buffer, size)
        rgb[index] /= np.maximum(alpha[index], 1e-6)[..., None]
        world[index] = _unit_inside(world[index], alpha[index])
    return Views(cameras, np.clip(rgb, 0, 1), world, alpha, np.ones(shape, np.float32), names, exact_cameras=True)


def painted_surface(skin: Skin, coverings: Sequence[Covering], cameras: Cameras) -> PaintedSurface:
    """Return what ``render_views`` draws for the same cameras."""
    scene = _scene(skin, coverings)

    def colours(face: Integer[np.ndarray, "n"], weights: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        column = mesh_raster.FaceBuffer(
            face.astype(np.int32)[:, None], weights.astype(np.float32)[:, None], np.zeros((len(face), 1), np.float32)
        )
        return _colours(scene, column)[:, 0]

    strands = next((_drawn(covering, cameras) for covering in coverings if covering.strands is not None), None)
    return PaintedSurface(Mesh(scene.vertices, scene.faces), colours, strands)


def _scene(skin: Skin, coverings: Sequence[Covering]) -> _Scene:
    """Return all surfaces above the cut through the neck, without strands."""
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
    textures = tuple(covering.texture for covering in coverings)
    return _Scene(vertices, faces, normals, corner_uv, skin.albedo, textures, tuple(ends))


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


def _rasterized(scene: _Scene, camera: Cameras) -> mesh_raster.FaceBuffer:
    large = resized(camera, camera.width_px * _SAMPLES, camera.height_px * _SAMPLES)
    return mesh_raster.rasterize(scene.vertices, scene.faces, large, 0)


def _pixel_normals(scene: _Scene, buffer: mesh_raster.FaceBuffer, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    """Average normals over the four samples around each pixel's centre, over all samples where none of those hits.

    Normals are smooth and cost more than colours.
    """
    height, width = size
    blocks = np.arange(height * width * _SAMPLES**2).reshape(height, _SAMPLES, width, _SAMPLES).swapaxes(1, 2)
    inner = blocks[:, :, 1:-1, 1:-1].reshape(height * width, -1)
    normals = _normals(scene, _picked(buffer, inner)).mean(axis=1)
    missed = np.flatnonzero(~normals.any(axis=1))
    every = blocks.reshape(height * width, -1)[missed]
    hit = (buffer.face.ravel()[every] >= 0).any(axis=1)
    normals[missed[hit]] = _normals(scene, _picked(buffer, every[hit])).mean(axis=1)
    return normals.reshape(height, width, 3)


def _picked(buffer: mesh_raster.FaceBuffer, index: Integer[np.ndarray, "n k"]) -> mesh_raster.FaceBuffer:
    """Return some samples of a buffer by their flat index."""
    return mesh_raster.FaceBuffer(
        buffer.face.ravel()[index], buffer.barycentric.reshape(-1, 3)[index], buffer.depth.ravel()[index]
    )


def _unit_inside(normals: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Normalise wherever there is coverage."""
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]
    return np.where((length > 1e-6) & (alpha[..., None] > 0), normals / np.maximum(length, 1e-9), np.float32(0))


def _average(samples, shape: tuple[int, int]):
    """Average samples to the pixels of a picture with a box filter."""
    return cv2.resize(samples, shape[::-1], interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Scene:
    """What is drawn: faces of the skin first, which have ``corner_uv``, then those of the coverings.

    Attributes:
        coverings: colours of hair and headwear.
        ends: number of faces of the skin, then with each covering one more number, which counts its faces as well;
            behind the last come strands.
        strand_colours: of the last vertices, which are those of the strands.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    corner_uv: Float[np.ndarray, "s 3 2"]
    albedo: Float[np.ndarray, "th tw 3"]
    coverings: tuple[HairTexture, ...]
    ends: tuple[int, ...]
    strand_colours: Float[np.ndarray, "r 3"] | None = None

    def with_ribbons(self, ribbons: Sequence[Ribbons], eye: Float[np.ndarray, "3"]) -> _Scene:
        """Return the scene with strands that turn their width to a camera at ``eye``."""
        if not ribbons:
            return self
        vertices, faces, normals, colours = [self.vertices], [self.faces], [self.normals], []
        count = len(self.vertices)
        for each in ribbons:
            vertices.append(each.toward(eye))
            faces.append(each.faces + count)
            normals.append(np.repeat(each.normals, 2, axis=0))
            colours.append(np.repeat(each.colours, 2, axis=0))
            count += len(vertices[-1])
        return replace(
            self,
            vertices=np.concatenate(vertices),
            faces=np.concatenate(faces),
            normals=np.concatenate(normals),
            strand_colours=np.concatenate(colours),
        )

    def covered(
        self, buffer: mesh_raster.FaceBuffer
    ) -> Iterator[tuple[HairTexture, Bool[np.ndarray, "h w"], Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3"]]]:
        """Yield each covering that is seen: its texture, the samples that see it, their world positions and normals."""
        for texture, first, end in zip(self.coverings, self.ends[:-1], self.ends[1:], strict=True):
            hit = (buffer.face >= first) & (buffer.face < end)
            if hit.any():
                values = _at(buffer, hit, np.concatenate([self.vertices, self.normals], axis=1), self.faces)
                normals = values[:, 3:]
                normals /= np.maximum(np.sqrt(np.einsum("nc,nc->n", normals, normals)), 1e-6)[:, None]
                yield texture, hit, np.ascontiguousarray(values[:, :3]), np.ascontiguousarray(normals)


def _at(
    buffer: mesh_raster.FaceBuffer,
    hit: Bool[np.ndarray, "h w"],
    attributes: Float[np.ndarray, "v c"],
    faces: Integer[np.ndarray, "f 3"],
) -> Float32[np.ndarray, "n c"]:
    """Interpolate vertex attributes at some of the samples."""
    column = mesh_raster.FaceBuffer(*(field[hit][:, None] for field in (buffer.face, buffer.barycentric, buffer.depth)))
    return mesh_raster.interpolate(attributes, faces, column)[:, 0]


def _colours(scene: _Scene, buffer: mesh_raster.FaceBuffer) -> Float[np.ndarray, "h w 3"]:
    """Colour per sample, 0 where nothing is hit."""
    colours = np.zeros((*buffer.face.shape, 3), np.float32)
    on_skin = (buffer.face >= 0) & (buffer.face < len(scene.corner_uv))
    corners = np.arange(3 * len(scene.corner_uv)).reshape(-1, 3)
    colours[on_skin] = sample_texture(scene.albedo, _at(buffer, on_skin, scene.corner_uv.reshape(-1, 2), corners))
    for texture, hit, points, normals in scene.covered(buffer):
        colours[hit] = texture.colours(points, normals)
    if scene.strand_colours is not None:
        on_strands = buffer.face >= scene.ends[-1]
        first = len(scene.vertices) - len(scene.strand_colours)
        faces = scene.faces - first
        colours[on_strands] = _at(buffer, on_strands, scene.strand_colours, faces)
    return colours


def _normals(scene: _Scene, buffer: mesh_raster.FaceBuffer) -> Float[np.ndarray, "h w 3"]:
    """Unit world normal per sample, 0 where nothing is hit."""
    normals = mesh_raster.interpolate(scene.normals.astype(np.float32), scene.faces, buffer)
    normals /= np.maximum(np.sqrt(np.einsum("hwc,hwc->hw", normals, normals)), 1e-6)[..., None]
    for texture, hit, points, on_covering in scene.covered(buffer):
        normals[hit] = _tilt_by_strands(texture, points, on_covering)
    return normals


def sample_texture(albedo: Float[np.ndarray, "th tw 3"], uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Look up a texture bilinearly; the origin of uv is the bottom-left of the picture."""
    height, width = albedo.shape[:2]
    return sample(albedo, np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height], axis=1))


def strand_normals(hair: Covering) -> Float32[np.ndarray, "th tw 3"]:
    """Return unit world normals of the outermost hair with its strands, at each texel of the hair's map."""
    points, normals, occupied = surface_of_map(hair.mesh, hair.texture.centre)
    unit = normals[occupied] / np.maximum(np.linalg.norm(normals[occupied], axis=1, keepdims=True), 1e-9)
    tilted = np.zeros_like(normals)
    tilted[occupied] = _tilt_by_strands(hair.texture, points[occupied], unit)
    return fill_from_nearest(tilted, occupied)


def _tilt_by_strands(texture: HairTexture, points, normals):
    """Tilt unit normals by the slope of the strands' relief, around the head and downward."""
    level = np.maximum(np.hypot(normals[:, 0], normals[:, 2]), 1e-6)
    x, z = normals[:, 2] / level, -normals[:, 0] / level
    around = np.stack([x, np.zeros_like(x), z], axis=1)
    along = np.stack([normals[:, 1] * z, normals[:, 2] * x - normals[:, 0] * z, -normals[:, 1] * x], axis=1)
    tilted = normals.copy()
    for tangent in (around, along):
        ahead, behind = (texture.sample(points + sign * _STRAND_STEP * tangent)[1] for sign in (1, -1))
        slope = np.clip((ahead - behind) * _STRAND_HEIGHT / (2 * _STRAND_STEP), -_MAX_STRAND_SLOPE, _MAX_STRAND_SLOPE)
        tilted -= slope[:, None] * tangent
    return tilted / np.sqrt(np.einsum("nc,nc->n", tilted, tilted))[:, None]
