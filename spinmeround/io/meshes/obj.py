"""Wavefront OBJ with its material (.mtl), texture and normal map (.png)."""

from __future__ import annotations

import logging
from pathlib import Path, PureWindowsPath

import numpy as np
from jaxtyping import Float

from spinmeround.errors import InputError
from spinmeround.images import to_float, to_uint8
from spinmeround.io.formats import files_written
from spinmeround.io.meshes.corners import fan_triangles, smooth_normals
from spinmeround.io.meshes.scaling import scaled
from spinmeround.io.pictures import encode_normal_map, encode_png, read_picture
from spinmeround.types import ColouredMesh, Mesh, TexturedMesh

log = logging.getLogger(__name__)

_MATERIAL = "head"
_MAX_INDEX = 2**31


def write_obj(path: Path, mesh: Mesh | ColouredMesh | TexturedMesh, *, metres_per_unit: float) -> None:
    """Write the mesh in metres with its material and pictures beside it; nine digits keep float32 exactly.

    Colours of vertices are not written.
    """
    mesh = scaled(mesh, metres_per_unit)
    textured = isinstance(mesh, TexturedMesh)
    material_path = files_written(path)[1]
    if textured:
        _write_material(path, mesh)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("# metres, +Y up, front +Z\n")
        if textured:
            file.write(f"mtllib {material_path.name}\n")
        file.write(f"o {_MATERIAL}\n")
        file.write(_rows("v %.9g %.9g %.9g\n", np.asarray(mesh.vertices, np.float32)))
        if textured:
            file.write(_rows("vt %.9g %.9g\n", np.asarray(mesh.uv, np.float32)))
        file.write(_rows("vn %.6f %.6f %.6f\n", smooth_normals(mesh)))
        faces = np.asarray(mesh.faces, np.int64) + 1
        if textured:
            file.write(f"usemtl {_MATERIAL}\ns 1\n")
            corners = np.stack([faces, mesh.uv_faces + 1, faces], axis=2)
            file.write(_rows("f %d/%d/%d %d/%d/%d %d/%d/%d\n", corners.reshape(-1, 9)))
        else:
            file.write("s 1\n")
            file.write(_rows("f %d//%d %d//%d %d//%d\n", np.repeat(faces, 2, axis=1)))


def _write_material(path: Path, mesh: TexturedMesh) -> None:
    """Write the ``.mtl`` and the pictures it names."""
    _, material_path, texture_path, normal_path, opacity_path = files_written(path)
    texture_path.write_bytes(encode_png(to_uint8(mesh.albedo)))
    lines = [
        f"newmtl {_MATERIAL}",
        "Ka 0 0 0",
        "Kd 1 1 1",
        "Ks 0 0 0",
        "illum 1",
        f"map_Kd {texture_path.name}",
    ]
    if mesh.normal_map is not None:
        normal_path.write_bytes(encode_normal_map(mesh.normal_map))
        # The keyword for normals in tangent space; map_Bump means heights to many readers.
        lines.append(f"norm {normal_path.name}")
    if mesh.alpha is not None:
        opacity_path.write_bytes(encode_png(to_uint8(mesh.alpha)))
        lines.append(f"map_d {opacity_path.name}")
    material_path.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")


def _rows(pattern: str, values: np.ndarray) -> str:
    return (pattern * len(values)) % tuple(values.reshape(-1).tolist())


def read_obj(path: Path) -> Mesh | TexturedMesh:
    """Read positions, texture coordinates, polygons and at most one texture with its opacity.

    Groups, normals and lines are ignored, and a material that is not there, with a warning.

    Raises:
        InputError: not such a file, more than one texture, or a texture outside the file's folder.
    """
    points: dict[str, list[list[float]]] = {"v": [], "vt": []}
    corners: dict[str, list[int]] = {"v": [], "vt": []}
    lengths: list[int] = []
    libraries: list[str] = []
    used: set[str] = set()
    for number, line in enumerate(_text(path).splitlines(), 1):
        keyword, _, rest = line.strip().partition(" ")
        try:
            if keyword == "v":
                points["v"].append([float(x) for x in rest.split()[:3]])
            elif keyword == "vt":
                points["vt"].append([float(x) for x in rest.split()[:2]])
            elif keyword == "f":
                polygon = [corner.split("/") for corner in rest.split()]
                corners["v"] += [_index(corner[0], len(points["v"])) for corner in polygon]
                corners["vt"] += [_index(corner[1] if len(corner) > 1 else "", len(points["vt"])) for corner in polygon]
                lengths.append(len(polygon))
            elif keyword == "mtllib":
                libraries.append(rest.strip())
            elif keyword == "usemtl":
                used.add(rest.strip())
        except ValueError as error:
            raise InputError(f"{path}: line {number} is not valid: {line[:80]!r}") from error
    vertices = _array(path, points["v"], 3)
    sizes = np.array(lengths, np.int64)
    faces = fan_triangles(sizes, np.array(corners["v"], np.int64))
    texture = _texture(path, libraries, used, "map_Kd")
    uv_corners = np.array(corners["vt"], np.int64)
    if texture is None or (uv_corners < 0).any() or not len(points["vt"]):
        return Mesh(vertices, faces)
    uv_faces = fan_triangles(sizes, uv_corners)
    opacity = _texture(path, libraries, used, "map_d")
    alpha = None if opacity is None else np.ascontiguousarray(opacity[..., 0])
    return TexturedMesh(vertices, faces, _array(path, points["vt"], 2), uv_faces, texture, alpha=alpha)


def _index(text: str, count: int) -> int:
    """Convert an index that counts from 1, or from the end if negative; -1 for one that is not given."""
    if not text:
        return -1
    index = int(text)
    if abs(index) > _MAX_INDEX:
        raise ValueError("no file has as many vertices")
    return index - 1 if index > 0 else count + index


def _array(path: Path, rows: list[list[float]], width: int) -> Float[np.ndarray, "n k"]:
    if any(len(row) != width for row in rows):
        raise InputError(f"{path}: a vertex with fewer than {width} numbers")
    return np.array(rows, np.float64).reshape(-1, width)


def _texture(path: Path, libraries: list[str], used: set[str], kind: str) -> Float[np.ndarray, "h w 3"] | None:
    pictures: set[str] = set()
    for library in dict.fromkeys(libraries):
        current = ""
        for line in _library(path, library).splitlines():
            keyword, _, rest = line.strip().partition(" ")
            if keyword == "newmtl":
                current = rest.strip()
            elif keyword == kind and current in used:
                pictures.add(rest.strip())
    if not pictures:
        return None
    if len(pictures) > 1:
        raise InputError(f"{path}: {len(pictures)} textures ({', '.join(sorted(pictures))}); bake them into one first")
    picture = to_float(read_picture(_inside(path, pictures.pop())))
    return np.ascontiguousarray(np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3)))


def _library(path: Path, name: str) -> str:
    """Return the text of a material library; empty if it was not copied along, as often happens."""
    place = _inside(path, name)
    try:
        there = place.exists()
    except OSError:  # a name that is longer than any file's
        there = False
    if not there:
        log.warning("%s: %s is not beside it, so the mesh has no texture", path, name[:80])
        return ""
    return _text(place)


def _inside(path: Path, name: str) -> Path:
    """Return the path of a file that another names, beside or below it only; both kinds of slash are accepted."""
    parts = PureWindowsPath(name)
    if "\0" in name:
        raise InputError(f"{path}: names a file {name!r}, which no system can hold; export it again")
    if parts.drive or parts.root or ".." in parts.parts:
        raise InputError(f"{path}: names {name!r}, which lies outside its folder; put it beside the file")
    return path.parent.joinpath(*parts.parts)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
