"""The table of file formats: what each suffix holds, and which functions write and read it.

A format is one entry of ``FORMATS``. ``register_format`` adds formats from outside the package, and so do the entry
points of the group ``spinmeround.formats``. Nothing heavy is imported before a writer or reader is needed.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from spinmeround.errors import InputError, MissingDependencyError, OutputError

if TYPE_CHECKING:
    from spinmeround.types import FaceClip

log = logging.getLogger(__name__)

Kind = Literal["splats", "mesh", "avatar", "hair"]
OutputKind = Literal["splats", "mesh"]
"""What a user asks for by a suffix; a mesh is an avatar where one can be made and the format holds it.

Hair is an output of its own."""
GlbContents = Literal["avatar", "splats", "both"]
"""What a user wants in a ``.glb``; the avatar is a plain mesh where none can be made."""

ENTRY_POINTS = "spinmeround.formats"
"""Group of the entry points by which other packages add formats; each names a ``Format``."""

_PLURALS: dict[Kind, str] = {
    "splats": "splats",
    "mesh": "meshes",
    "avatar": "avatars",
    "hair": "hair strands",
}


@runtime_checkable
class Exporter(Protocol):
    """Writer of ``Splats``, of meshes (``Mesh``, ``ColouredMesh`` or ``TexturedMesh``) or of ``HairStrands``.

    That of a mesh format with ``splats_beside`` also takes ``splats``, as an ``AvatarExporter`` does.
    """

    def __call__(self, path: Path, content: Any, /, *, metres_per_unit: float) -> None:
        """Write ``content`` to ``path``, and companion files beside it.

        ``path`` has the final name but lies in a temporary folder. The caller moves what is written there into place,
        so that a failed write leaves no file behind.

        Args:
            content: checked to be finite and not empty; world frame, head units, tensors on the CPU.
            metres_per_unit: factor from head units to metres.
        """
        ...


@runtime_checkable
class AvatarExporter(Protocol):
    """Writer of avatars (``Avatar``)."""

    def __call__(self, path: Path, avatar: Any, /, *, metres_per_unit: float, clip: FaceClip | None = None) -> None:
        """Write like an ``Exporter``.

        ``clip`` is the animation, given only to formats with ``animation``. The writer of a format with
        ``splats_beside`` also takes ``splats``, in the world frame and head units, or None.
        """
        ...


@dataclass(frozen=True)
class Format:
    """One file format for one kind of content.

    Attributes:
        suffix: with its dot, lower case. It may occur once per kind: a ``.ply`` holds splats or a mesh.
        description: a few words for ``--help`` and the documentation.
        writer: an ``Exporter`` (``AvatarExporter`` for avatars), or where to import it from:
            ``"package.module:function"``; with a leading dot, relative to ``spinmeround.io``. None if it is only read.
        reader: a function of a path that returns the content in metres, or where to import it from. None if it is only
            written.
        extra: the extra of this package that installs what the writer needs.
        requires: import names of these packages.
        uv_texture: holds a texture; formats without one get the whole surface, with colours per vertex.
        normal_map: holds a normal map.
        animation: holds a ``FaceClip``.
        splats_beside: a mesh or an avatar, and splats beside it.
        companions: endings of the files written beside it. They follow the stem, whose spaces become underscores.
    """

    suffix: str
    holds: Kind
    description: str
    writer: Exporter | AvatarExporter | str | None
    reader: Callable[[Path], Any] | str | None = None
    extra: str | None = None
    requires: tuple[str, ...] = ()
    uv_texture: bool = False
    normal_map: bool = False
    animation: bool = False
    splats_beside: bool = False
    companions: tuple[str, ...] = ()

    def load_writer(self) -> Callable[..., None]:
        """Import the writer.

        Raises:
            OutputError: the format is only read.
        """
        if self.writer is None:
            raise OutputError(f"a {self.suffix} of {_PLURALS[self.holds]} can only be read")
        return _resolve(self.writer)

    def load_reader(self) -> Callable[[Path], Any]:
        """Import the reader.

        Raises:
            InputError: the format is only written.
        """
        if self.reader is None:
            raise InputError(f"a {self.suffix} of {_PLURALS[self.holds]} can only be written")
        return _resolve(self.reader)


# fmt: off
FORMATS: tuple[Format, ...] = (
    Format(".ply", "splats", "3D Gaussian splats, INRIA's layout",
           ".splats.gaussian_ply:write_splat_ply", ".splats.gaussian_ply:read_splat_ply"),
    Format(".spz", "splats", "compressed splats, Niantic's version 2",
           ".splats.spz:write_spz", ".splats.spz:read_spz"),
    Format(".splat", "splats", "32-byte splats without view-dependent colour",
           ".splats.antimatter15:write_splat", ".splats.antimatter15:read_splat"),
    Format(".glb", "splats", "glTF 2.0 with splats, KHR_gaussian_splatting",
           ".gltf.splats_write:write_splats_glb", ".gltf.splats_read:read_splats_glb"),
    Format(".glb", "avatar", "glTF 2.0 with bones and morph targets",
           ".gltf.avatar_write:write_avatar_glb", ".gltf.avatar_read:read_avatar_glb",
           uv_texture=True, normal_map=True, animation=True, splats_beside=True),
    Format(".vrm", "avatar", "VRM 1.0, a humanoid with expressions",
           ".gltf.avatar_write:write_vrm", ".gltf.avatar_read:read_avatar_glb", uv_texture=True, normal_map=True),
    Format(".usdz", "avatar", "USD with bones and blend shapes", ".usd.write:write_usdz",
           extra="usd", requires=("pxr",), uv_texture=True, normal_map=True, animation=True),
    Format(".glb", "mesh", "glTF 2.0 with its texture inside", ".gltf.mesh_write:write_glb",
           ".gltf.mesh_read:read_glb", uv_texture=True, normal_map=True, splats_beside=True),
    Format(".obj", "mesh", "Wavefront, with .mtl and pictures beside it", ".meshes.obj:write_obj",
           ".meshes.obj:read_obj", uv_texture=True, normal_map=True,
           companions=(".mtl", "_albedo.png", "_normal.png", "_opacity.png")),
    Format(".ply", "mesh", "the whole surface with colours per vertex",
           ".meshes.ply_mesh:write_mesh_ply", ".meshes.ply_mesh:read_mesh_ply"),
    Format(".usdz", "mesh", "USD with its texture inside", ".usd.write:write_usdz_mesh",
           extra="usd", requires=("pxr",), uv_texture=True, normal_map=True),
    Format(".vrm", "mesh", "an avatar at rest", None, ".gltf.mesh_read:read_glb", uv_texture=True),
    Format(".stl", "mesh", "the whole surface in millimetres, for 3D printing", ".meshes.trimesh_export:write_stl",
           extra="trimesh", requires=("trimesh",)),
    Format(".3mf", "mesh", "the whole surface in millimetres, for 3D printing", ".meshes.trimesh_export:write_3mf",
           extra="trimesh", requires=("trimesh", "networkx", "lxml")),
    Format(".off", "mesh", "the whole surface as plain text, without colours", ".meshes.trimesh_export:write_off",
           extra="trimesh", requires=("trimesh",)),
    Format(".usdc", "hair", "USD curves, binary", ".usd.hair:write_hair_curves", ".usd.hair:read_hair_curves",
           extra="usd", requires=("pxr",)),
    Format(".usda", "hair", "USD curves as text", ".usd.hair:write_hair_curves", ".usd.hair:read_hair_curves",
           extra="usd", requires=("pxr",)),
)
# fmt: on
_registered: list[Format] = []


def register_format(new: Format) -> None:
    """Add a format from outside the package.

    Raises:
        ValueError: a malformed suffix, or one that this kind already has.
    """
    if not new.suffix.startswith(".") or new.suffix != new.suffix.lower():
        raise ValueError(f"suffix {new.suffix!r}: expected lower case with a leading dot, such as '.xyz'")
    if any((known.suffix, known.holds) == (new.suffix, new.holds) for known in formats()):
        raise ValueError(f"{new.suffix} of {_PLURALS[new.holds]} is registered already")
    _registered.append(new)


def formats(*, holds: Kind | None = None) -> tuple[Format, ...]:
    """Return all known formats, or those of one kind, in the order of the table."""
    return tuple(known for known in (*FORMATS, *_registered) if holds in (None, known.holds))


def suffixes(holds: Kind) -> tuple[str, ...]:
    """Return the suffixes under which a kind of content can be written."""
    return tuple(known.suffix for known in formats(holds=holds) if known.writer is not None)


def untextured_suffixes() -> tuple[str, ...]:
    """Return the suffixes of meshes without a texture, which hold the whole surface."""
    return tuple(known.suffix for known in formats(holds="mesh") if known.writer is not None and not known.uv_texture)


def find_format(path: Path | str, holds: Kind) -> Format:
    """Return the format to write ``path`` in; upper and lower case are the same.

    Raises:
        OutputError: a suffix under which this kind cannot be written.
    """
    for known in _with_suffix(Path(path).suffix, holds):
        if known.writer is not None:
            return known
    names = " ".join(suffixes(holds))
    raise OutputError(f"{path}: {_PLURALS[holds]} are written as {names}, not as {Path(path).suffix!r}")


def find_readable(path: Path | str, holds: Kind) -> Format:
    """Return the format to read ``path`` in; upper and lower case are the same.

    Raises:
        InputError: a suffix from which this kind cannot be read.
    """
    for known in _with_suffix(Path(path).suffix, holds):
        if known.reader is not None:
            return known
    names = " ".join(known.suffix for known in formats(holds=holds) if known.reader is not None)
    raise InputError(f"{path}: {_PLURALS[holds]} are read from {names}, not from {Path(path).suffix!r}")


def check_available(wanted: Format, path: Path | str) -> None:
    """Check that the packages a format needs are installed, without importing them.

    Raises:
        MissingDependencyError: one is not; the message has the pip command.
    """
    missing = [name for name in wanted.requires if importlib.util.find_spec(name) is None]
    if not missing:
        return
    command = f'pip install "spinmeround[{wanted.extra}]"' if wanted.extra else f"pip install {' '.join(missing)}"
    others = [f.suffix for f in formats(holds=wanted.holds) if f.writer is not None and not f.requires]
    instead = f", or write a {others[0]}" if others else ""
    raise MissingDependencyError(
        f"{path}: a {wanted.suffix} needs the package {' and '.join(missing)}: {command}{instead}"
    )


def files_written(path: Path | str) -> tuple[Path, ...]:
    """Return all files that writing ``path`` may make: an ``.obj`` has its material, texture and normal map beside it.

    The texture is not simply named after the mesh: ``me.png`` may well be the photo that ``me.obj`` is made from.
    Companions have no spaces in their names, since many readers end a name at the first one.
    """
    path = Path(path)
    stem = "_".join(path.stem.split())
    endings = dict.fromkeys(end for known in _with_suffix(path.suffix) for end in known.companions)
    return path, *(path.with_name(stem + ending) for ending in endings)


def output_kinds(
    path: Path | str, *, ply: OutputKind = "splats", glb: GlbContents = "avatar"
) -> tuple[OutputKind, ...]:
    """Return what a file of this name will hold, splats before a mesh; upper and lower case are the same.

    Args:
        ply: what a suffix holds that splats and meshes share, as ``.ply``.
        glb: what a ``.glb`` holds, which alone can hold both.

    Raises:
        OutputError: a suffix that no format has; the message lists those that exist. Or one that holds only hair.
    """
    suffix = Path(path).suffix
    held = {known.holds for known in _with_suffix(suffix) if known.writer is not None}
    if held == {"hair"}:
        raise OutputError(
            f"{path}: a {suffix.lower()} holds {_PLURALS['hair']}, which are an output of their own", settings=("hair",)
        )
    held.discard("hair")
    if held:
        if suffix.lower() == ".glb":
            return {"avatar": ("mesh",), "splats": ("splats",), "both": ("splats", "mesh")}[glb]
        if "splats" not in held:
            return ("mesh",)
        return ("splats",) if held == {"splats"} else (ply,)
    got = f"the extension {suffix!r}" if suffix else "a name without an extension"
    kinds = [f"{' '.join(suffixes(kind))} ({plural})" for kind, plural in _PLURALS.items() if kind != "hair"]
    raise OutputError(f"{path}: cannot write {got}; known are {', '.join(kinds)}")


def _with_suffix(suffix: str, holds: Kind | None = None) -> tuple[Format, ...]:
    """Return the formats of a suffix; without any, register those of installed packages first."""
    found = [known for known in formats(holds=holds) if known.suffix == suffix.lower()]
    if suffix and not found:
        _register_entry_points()
        found = [known for known in formats(holds=holds) if known.suffix == suffix.lower()]
    return tuple(found)


@cache
def _register_entry_points() -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        try:
            register_format(point.load())
        except Exception as error:  # a defect of another package must not stop this one
            log.warning("the format %s (%s) cannot be used: %s", point.name, point.value, error)


def _resolve(reference: Callable[..., Any] | str) -> Callable[..., Any]:
    """Import a function named ``"package.module:function"``; a function is returned as it is."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module, __package__), name)


AVATAR_SUFFIXES = suffixes("avatar")
NORMAL_MAP_SUFFIXES = tuple(dict.fromkeys(known.suffix for known in FORMATS if known.normal_map))
ANIMATED_SUFFIXES = tuple(known.suffix for known in FORMATS if known.animation)
