"""Stage two as the pipelines run it: views to splats and meshes, and everything to files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from spinmeround.errors import FitError
from spinmeround.inspection import drawing
from spinmeround.inspection.expressions import expression_tiles
from spinmeround.inspection.held_out import measure, sentence
from spinmeround.io import metres_per_unit, write_avatar, write_mesh, write_splats, write_views
from spinmeround.io.formats import ANIMATED_SUFFIXES, AVATAR_SUFFIXES
from spinmeround.pipelines.animation import Acting
from spinmeround.pipelines.backends import Rooms
from spinmeround.pipelines.mesh_levels import MeshLevels
from spinmeround.pipelines.outputs import Outputs
from spinmeround.runtime.stages import Stage, Stages
from spinmeround.types import Avatar, ColouredMesh, Mesh, Splats, TexturedMesh, Views

log = logging.getLogger(__name__)


_USUAL_LEVELS = MeshLevels()


@dataclass(frozen=True)
class Wanted:
    """Which results a run is to make.

    Attributes:
        mesh: simplified and textured.
        whole: the whole surface with colours.
    """

    splats: bool
    mesh: bool
    whole: bool = False

    @classmethod
    def by(cls, outputs: Outputs, *, levels: MeshLevels = _USUAL_LEVELS, avatar: bool = False) -> Wanted:
        """What the outputs need; both when there is none, since then the caller takes the objects.

        Args:
            avatar: whether there is one for the formats that can hold it; they need no mesh then.
        """
        if not (outputs.splats or outputs.meshes):
            return cls(splats=True, mesh=True)
        plain = [path for path in outputs.meshes if not (avatar and path.suffix.lower() in AVATAR_SUFFIXES)]
        whole = [path for path in plain if levels.whole(path)]
        return cls(splats=bool(outputs.splats), mesh=len(plain) > len(whole), whole=bool(whole))


def planned(wanted: Wanted, outputs: Outputs) -> list[Stage]:
    """The stages of stage two, in order."""
    possible: list[tuple[Stage, object]] = [
        ("surface", wanted.splats or wanted.mesh or wanted.whole),
        ("splats", wanted.splats),
        ("texture", wanted.mesh or wanted.whole),
        ("files", outputs.splats or outputs.meshes or outputs.views),
        ("preview", outputs.preview),
        ("turntable", outputs.turntable),
    ]
    return [stage for stage, needed in possible if needed]


@dataclass(frozen=True)
class Built:
    """What stage two made of the views.

    Attributes:
        views: those that were given, with the cameras they turned out to have.
        surface: none where neither splats nor a mesh were wanted.
        coarser: levels of detail of ``mesh``, one after the other.
        whole: the surface with colours.
    """

    views: Views
    surface: Mesh | None
    splats: Splats | None
    mesh: TexturedMesh | None
    coarser: tuple[TexturedMesh, ...] = ()
    whole: ColouredMesh | None = None


def build(
    views: Views, wanted: Wanted, rooms: Rooms, stages: Stages, *, seed: int, levels: MeshLevels = _USUAL_LEVELS
) -> Built:
    """Fits what is wanted; splats and texture with the cameras that the surface was found to be seen from.

    Raises:
        FitError: the views show nothing, or do not agree on any shape.
    """
    if not (views.alpha > 0.5).any():
        raise FitError("no view shows anything: every mask is empty")
    if not (wanted.splats or wanted.mesh or wanted.whole):
        return Built(views, None, None, None)
    splats, meshes, whole = None, list[TexturedMesh](), None
    with stages("surface") as progress:
        surface, cameras = rooms.fit_surface(views, seed, progress)
    views = replace(views, cameras=cameras)
    if wanted.splats:
        with stages("splats") as progress:
            splats = rooms.fit_splats(views, surface, seed, progress)
    if wanted.mesh or wanted.whole:
        with stages("texture") as progress:
            if wanted.whole:
                whole = rooms.colour_vertices(views, surface)
            if wanted.mesh:
                meshes = [
                    rooms.paint_texture(views, surface, levels.faces_of(level), progress)
                    for level in range(levels.lods + 1)
                ]
    return Built(views, surface, splats, meshes[0] if meshes else None, tuple(meshes[1:]), whole)


def write(
    outputs: Outputs,
    stages: Stages,
    built: Built,
    *,
    photos: Sequence[Float[np.ndarray, "_ _ 3"]] = (),
    height_m: float | None = None,
    avatar: Avatar | None = None,
    asked: Acting | None = None,
    lods: Mapping[Path, int] = MappingProxyType({}),
) -> tuple[Path, ...]:
    """Writes everything but the report; each file appears whole or not at all.

    Args:
        photos: crops for the contact sheet.
        height_m: height of a head in metres, where the file format has a unit.
        avatar: goes to the formats that can hold one, in place of the mesh.
        asked: what the avatar does.
        lods: which meshes hold a coarser level, and which.

    Returns:
        what was written.
    """
    files: list[Path] = []
    if outputs.splats or outputs.meshes or outputs.views:
        with stages("files"):
            # One factor for all: a textured mesh is a simplified surface, and not quite as high.
            scale = metres_per_unit(built.surface or _points(avatar), height_m=height_m)
            for path in outputs.splats:
                assert built.splats is not None
                write_splats(path, built.splats, metres_per_unit=scale)
                files.append(path)
            for path in outputs.meshes:
                if avatar is not None and path.suffix.lower() in AVATAR_SUFFIXES:
                    clip = asked.clip if asked is not None and path.suffix.lower() in ANIMATED_SUFFIXES else None
                    write_avatar(path, avatar, metres_per_unit=scale, clip=clip)
                elif built.whole is not None and path.suffix.lower() == ".ply":
                    write_mesh(path, built.whole, metres_per_unit=scale)
                else:
                    assert built.mesh is not None
                    write_mesh(path, (built.mesh, *built.coarser)[lods.get(path, 0)], metres_per_unit=scale)
                files.append(path)
            if outputs.views is not None:
                write_views(outputs.views, built.views)
                files.append(outputs.views)
    files += _draw(outputs, stages, _drawer(built, avatar), photos, lambda: _expressions(avatar, asked))
    for path in files:
        log.info("wrote %s", path)
    return tuple(files)


def _points(avatar: Avatar | None) -> Mesh:
    """All vertices of an avatar."""
    assert avatar is not None
    return Mesh(np.concatenate([part.mesh.vertices for part in avatar.parts]), np.zeros((0, 3), np.int64))


def _drawer(built: Built, avatar: Avatar | None = None) -> drawing.Draw:
    if built.splats is not None:
        return drawing.splats_drawer(built.splats)
    if built.mesh is not None:
        return drawing.mesh_drawer(built.mesh)
    if built.whole is not None:
        return drawing.coloured_drawer(built.whole)
    assert avatar is not None
    return drawing.mesh_drawer(*(part.mesh for part in avatar.parts))


def _expressions(avatar: Avatar | None, asked: Acting | None) -> Mapping[str, UInt8[np.ndarray, "_ _ 3"]]:
    if avatar is None:
        return {}
    return expression_tiles(avatar, asked.expression if asked is not None else {})


def _draw(
    outputs: Outputs,
    stages: Stages,
    draw: drawing.Draw,
    photos: Sequence[Float[np.ndarray, "_ _ 3"]],
    expressions: Callable[[], Mapping[str, UInt8[np.ndarray, "_ _ 3"]]],
) -> list[Path]:
    files: list[Path] = []
    if outputs.preview is not None:
        with stages("preview"):
            drawing.write_contact_sheet(outputs.preview, draw, photos, expressions=expressions())
        files.append(outputs.preview)
    if outputs.turntable is not None:
        with stages("turntable") as progress:
            drawing.write_turntable(outputs.turntable, draw, progress=progress)
        files.append(outputs.turntable)
    return files


def compare(built: Built, held_out: Views, stages: Stages) -> dict[str, Any]:
    """How well the result shows views that took no part in the fit, see ``held_out.measure``.

    Where there are splats and a mesh, the splats are measured.
    """
    with stages("held out") as progress:
        measured = measure(_drawer(built), held_out, progress)
    log.info("%s", sentence(measured))
    return {"of": "mesh" if built.splats is None else "splats"} | measured


def describe(built: Built) -> dict[str, Any]:
    """What the report says about the results."""
    described: dict[str, Any] = {}
    if (surface := built.surface) is not None:
        described["surface"] = {"vertices": len(surface.vertices)}
    if (splats := built.splats) is not None:
        described["splats"] = {"count": len(splats), "sh_coefficients": int(splats.sh.shape[1])}
    if (mesh := built.mesh) is not None:
        described["mesh"] = {
            "vertices": len(mesh.vertices),
            "triangles": len(mesh.faces),
            "texture_px": [int(mesh.albedo.shape[1]), int(mesh.albedo.shape[0])],
            "normal_map": mesh.normal_map is not None,
            "coarser_triangles": [len(each.faces) for each in built.coarser],
        }
    if (whole := built.whole) is not None:
        described["whole_mesh"] = {"vertices": len(whole.vertices), "triangles": len(whole.faces)}
    return described
