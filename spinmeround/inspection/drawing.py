"""Pictures of the result: a contact sheet and a turntable, drawn from the splats or the mesh that were written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from spinmeround import mesh_raster
from spinmeround.errors import OutputError, ResourceError
from spinmeround.geometry import resized, select, vertex_normals
from spinmeround.images import composite, resize, sample, to_uint8
from spinmeround.inspection.framing import Draw, frame_around
from spinmeround.io.atomic import atomic_file
from spinmeround.io.meshes.corners import smooth_normals
from spinmeround.io.pictures import encode_png
from spinmeround.tangent_space import tangent_corners
from spinmeround.types import Cameras, ColouredMesh, Splats, TexturedMesh, Views

SHEET_AZIMUTHS_DEG = (0, 45, 90, 135, 180, -135, -90, -45)
TILE_PX = 256
_FILM_PX, _FILM_FRAMES, _FILM_FPS = 512, 96, 24
_FILM_STRIDE = 6
"""Each so many frames the film's room is measured: between them an outline gains .5 %, less than its margin."""
_SAMPLES = 2


def splats_drawer(splats: Splats) -> Draw:
    """Draw splats on the CPU."""
    import torch

    from spinmeround.recon.raster.gaussians import NumbaRasterizer

    rasterizer = NumbaRasterizer()

    def draw(cameras: Cameras) -> Views:
        with torch.no_grad():
            drawn = rasterizer.render(splats, cameras)
        alpha = drawn.alpha.numpy()
        # Light and normals come premultiplied; where nearly nothing was hit, nothing can be divided out.
        share = np.maximum(alpha, 1e-3)[..., None]
        rgb = np.clip(drawn.rgb.numpy() / share, 0, 1)
        normals = drawn.normals_world.numpy() / share
        normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
        return Views(cameras, rgb, normals, alpha, np.ones_like(alpha))

    return draw


def mesh_drawer(*meshes: TexturedMesh) -> Draw:
    """Draw textured meshes, one in front of another, without light, four samples a pixel; normals by their maps.

    Texture coordinates left or right of a texture begin it anew, as those of unrolled hair do at its seam.
    """
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)])
    normals = np.concatenate([vertex_normals(m.vertices, m.faces) if m.normals is None else m.normals for m in meshes])
    owner = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
    uv = np.concatenate([mesh.uv for mesh in meshes])
    uv_starts = np.cumsum([0, *(len(mesh.uv) for mesh in meshes)])
    uv_faces = np.concatenate([mesh.uv_faces + start for mesh, start in zip(meshes, uv_starts, strict=False)])
    frames = [tangent_corners(mesh, smooth_normals(mesh)) if mesh.normal_map is not None else None for mesh in meshes]
    first_face = np.cumsum([0, *(len(mesh.faces) for mesh in meshes)])

    def surface(buffer: mesh_raster.FaceBuffer) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]]:
        """Colours, and normals that are not of unit length."""
        where = mesh_raster.interpolate(uv, uv_faces, buffer)
        part = np.where(buffer.face >= 0, owner[buffer.face], -1)
        rgb = np.zeros((*part.shape, 3), np.float32)
        normal = mesh_raster.interpolate(normals, faces, buffer)
        for index, (mesh, frame) in enumerate(zip(meshes, frames, strict=True)):
            mine = part == index
            rgb[mine] = _looked_up(mesh.albedo, where[mine])
            if mesh.normal_map is not None and frame is not None:
                corners = frame.faces[buffer.face[mine] - first_face[index]]
                tangent = (frame.tangents[corners] * buffer.barycentric[mine][..., None]).sum(1)
                x, y, z = _looked_up(mesh.normal_map, where[mine]).T[..., None]
                across = tangent[:, 3:] * np.cross(normal[mine], tangent[:, :3])
                normal[mine] = x * tangent[:, :3] + y * across + z * normal[mine]
        return rgb, normal

    return partial(_drawn, vertices, faces, surface, cutout=_cutout(meshes))


def _cutout(meshes: Sequence[TexturedMesh]) -> mesh_raster.Cutout | None:
    """Return the opacity of the faces of all meshes, several textures stacked in one."""
    pictures = [mesh.alpha for mesh in meshes if mesh.alpha is not None]
    if not pictures:
        return None
    width, height = max(each.shape[1] for each in pictures), sum(each.shape[0] for each in pictures)
    corner_uv, above = [], height
    for mesh in meshes:
        uv = np.full((*mesh.faces.shape, 2), np.nan)
        if mesh.alpha is not None:
            rows, columns = mesh.alpha.shape
            above -= rows
            uv = (mesh.uv[mesh.uv_faces] * (columns, rows) + (0, above)) / (width, height)
        corner_uv.append(uv)
    stacked = np.concatenate([np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in pictures])
    return mesh_raster.Cutout(np.concatenate(corner_uv), stacked)


def coloured_drawer(mesh: ColouredMesh) -> Draw:
    """The same of a mesh whose vertices have colours."""
    normals = vertex_normals(mesh.vertices, mesh.faces)

    def surface(buffer: mesh_raster.FaceBuffer) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]]:
        colours = mesh_raster.interpolate(mesh.colours, mesh.faces, buffer)
        return colours, mesh_raster.interpolate(normals, mesh.faces, buffer)

    return partial(_drawn, mesh.vertices, mesh.faces, surface)


def _drawn(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    surface: Callable[[mesh_raster.FaceBuffer], tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]]],
    cameras: Cameras,
    cutout: mesh_raster.Cutout | None = None,
) -> Views:
    """A mesh as cameras see it.

    Args:
        surface: colours of what the z-buffer shows, and normals that need not be of unit length.
    """
    size_px = (cameras.width_px, cameras.height_px)
    large = resized(cameras, size_px[0] * _SAMPLES, size_px[1] * _SAMPLES)
    pictures = []
    for index in range(len(cameras)):
        buffer = mesh_raster.rasterize(vertices, faces, large, index, cutout=cutout)
        hit = (buffer.face >= 0).astype(np.float32)[..., None]
        rgb, normal = surface(buffer)
        stack = np.concatenate([rgb * hit, normal * hit, hit], axis=-1)
        pictures.append(cv2.resize(stack, size_px, interpolation=cv2.INTER_AREA))
    stack = np.stack(pictures)
    alpha = stack[..., 6]
    share = np.maximum(alpha, 1e-3)[..., None]
    normal = stack[..., 3:6] / np.maximum(np.linalg.norm(stack[..., 3:6], axis=-1, keepdims=True), 1e-6)
    return Views(cameras, np.clip(stack[..., :3] / share, 0, 1), normal, alpha, np.ones_like(alpha))


def _looked_up(picture: Float[np.ndarray, "h w 3"], uv: Float[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n 3"]:
    """Return values of a texture at texture coordinates, whose u wraps around."""
    height, width = picture.shape[:2]
    around = np.pad(np.asarray(picture, np.float32), ((0, 0), (1, 1), (0, 0)), "wrap")
    x, y = uv[:, 0] * width % width, (1 - uv[:, 1]) * height
    return sample(around, np.stack([x + 1, y], axis=1))


def write_contact_sheet(
    path: Path,
    draw: Draw,
    photos: Sequence[Float[np.ndarray, "_ _ 3"]] = (),
    *,
    expressions: Mapping[str, UInt8[np.ndarray, "_ _ 3"]] = MappingProxyType({}),
) -> None:
    """Write a PNG: the photos, then a row of colours and a row of normals from all sides, whole and at one scale.

    Args:
        photos: crops, shown large and whole on the left.
        expressions: at most eight tiles of ``TILE_PX`` by caption, shown in a third row.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    frame = frame_around([(draw, SHEET_AZIMUTHS_DEG)])
    views = draw(frame.cameras(SHEET_AZIMUTHS_DEG, size_px=TILE_PX))
    colours = composite(views.rgb, views.alpha)
    normals = composite(views.normals_world * 0.5 + 0.5, views.alpha)
    captions = [f"{azimuth:+d}" if azimuth else "0" for azimuth in SHEET_AZIMUTHS_DEG]
    rows = [_row(to_uint8(colours), captions), _row(to_uint8(normals), captions)]
    if expressions:
        rows.append(_row(np.stack(list(expressions.values())), list(expressions)))
    columns = [*_mosaic(photos), _below(rows)]
    sheet = np.concatenate([_filled(column, len(rows) * TILE_PX, column.shape[1]) for column in columns], axis=1)
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(encode_png(sheet))


def _below(rows: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_filled(row, len(row), width) for row in rows])


def _filled(picture: UInt8[np.ndarray, "h w 3"], height_px: int, width_px: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture with white below and right of it."""
    white = np.full((height_px, width_px, 3), 255, np.uint8)
    white[: picture.shape[0], : picture.shape[1]] = picture
    return white


def write_turntable(path: Path, draw: Draw, *, progress: Callable[[float, str], None]) -> None:
    """Write a four-second MP4 (H.264) of one turn, drawn frame by frame; the whole head is in each of them.

    Raises:
        OutputError, ResourceError: it cannot be written.
    """
    import imageio_ffmpeg

    size_px = (_FILM_PX, _FILM_PX)
    with atomic_file(path) as unfinished:
        film = imageio_ffmpeg.write_frames(str(unfinished), size_px, fps=_FILM_FPS, quality=8, macro_block_size=16)
        try:
            film.send(None)
            for index, frame in enumerate(_turn(draw)):
                film.send(frame)
                progress((index + 1) / _FILM_FRAMES, "filming")
            film.close()
        except OSError as error:
            if error.errno is not None:  # not from ffmpeg
                raise
            if "No space left" in str(error):
                raise ResourceError(f"the disk is full: {path} was not written; free some space") from error
            raise OutputError(f"ffmpeg could not write {path}: {str(error).strip().splitlines()[-1]}") from error
        finally:
            film.close()


def _turn(draw: Draw) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    azimuths = [index * 360 / _FILM_FRAMES for index in range(_FILM_FRAMES)]
    cameras = frame_around([(draw, azimuths[::_FILM_STRIDE])]).cameras(azimuths, size_px=_FILM_PX)
    for index in range(_FILM_FRAMES):
        views = draw(select(cameras, index))
        yield np.ascontiguousarray(to_uint8(composite(views.rgb[0], views.alpha[0])))


def _row(tiles: UInt8[np.ndarray, "v h w 3"], captions: Sequence[str]) -> UInt8[np.ndarray, "h w2 3"]:
    labelled = [np.ascontiguousarray(tile) for tile in tiles]
    for tile, caption in zip(labelled, captions, strict=True):
        for colour, thickness in (((255, 255, 255), 3), ((100, 100, 100), 1)):
            cv2.putText(tile, caption, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
    return np.concatenate(labelled, axis=1)


def _mosaic(photos: Sequence[Float[np.ndarray, "_ _ 3"]]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """One photo as high as the sheet, several in two rows."""
    if len(photos) <= 1:
        return [_whole(photo, 2 * TILE_PX) for photo in photos]
    columns = math.ceil(len(photos) / 2)
    mosaic = np.full((2 * TILE_PX, columns * TILE_PX, 3), 255, np.uint8)
    for index, photo in enumerate(photos):
        y, x = (index // columns) * TILE_PX, (index % columns) * TILE_PX
        mosaic[y : y + TILE_PX, x : x + TILE_PX] = _whole(photo, TILE_PX)
    return [mosaic]


def _whole(photo: Float[np.ndarray, "h w 3"], side_px: int) -> UInt8[np.ndarray, "s s 3"]:
    """Return all of a picture in a square, white where it is not square itself."""
    height, width = photo.shape[:2]
    ratio = side_px / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return _filled(to_uint8(resize(photo, *size)), side_px, side_px)
