"""Stage two as the pipelines run it: views to splats and meshes, and everything to files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from spinmeround.errors import FitError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.inspection import drawing
from spinmeround.inspection.expressions import expression_tiles
from spinmeround.inspection.held_out import measure, sentence
from spinmeround.io import metres_per_unit, write_avatar, write_hair, write_mesh, write_splats, write_views
from spinmeround.io.formats import suffixes, untextured_suffixes
from spinmeround.pipelines.backends import Backends
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.resume import ResumeStore, load_splats, load_surface, load_textured
from spinmeround.pipelines.settings import MeshOptions
from spinmeround.protocols import HairedHead, PaintedHead
from spinmeround.runtime.stages import Stages
from spinmeround.types import Avatar, ColouredMesh, FaceClip, HairStrands, Mesh, Splats, TexturedMesh, Views

log = logging.getLogger(__name__)

Picture = UInt8[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class RequestedResults:
    """Which results a run is to make.

    Attributes:
        mesh: simplified and textured.
        whole_surface: the whole surface with a colour to each vertex.
        painted_start: whether splats start on what the views were drawn from, see ``PaintedHead``.
    """

    splats: bool
    mesh: bool
    whole_surface: bool = False
    painted_start: bool = False

    @classmethod
    def by_outputs(cls, outputs: Outputs, mesh: MeshOptions, *, has_avatar: bool = False) -> RequestedResults:
        """Return what the outputs need; splats and mesh if there is none, since then the caller takes the objects.

        Args:
            has_avatar: whether there is an avatar for the formats that can hold one; they need no mesh then.
        """
        if not (outputs.splats or outputs.meshes):
            return cls(splats=True, mesh=True)
        plain = [path for path in outputs.meshes if not (has_avatar and path.suffix.lower() in suffixes("avatar"))]
        whole = [path for path in plain if mesh.holds_whole_surface(path)]
        return cls(splats=bool(outputs.splats), mesh=len(plain) > len(whole), whole_surface=bool(whole))

    def known_of(self, head: object | None, backends: Backends) -> RequestedResults:
        """Return the same results, with splats that start on what stage one knows where it offers that."""
        painted = self.splats and isinstance(head, PaintedHead) and backends.starts_on_painted_surface
        return replace(self, painted_start=painted)

    @property
    def any(self) -> bool:
        """Whether anything is to be made of the views."""
        return self.splats or self.mesh or self.whole_surface

    @property
    def fits_surface(self) -> bool:
        """Whether a surface is fitted to the views."""
        return self.mesh or self.whole_surface or (self.splats and not self.painted_start)

    def stages(self, outputs: Outputs) -> list[str]:
        """Return the stages of stage two, in order."""
        possible = [
            ("surface", self.fits_surface),
            ("splats", self.splats),
            ("texture", self.mesh or self.whole_surface),
            ("hair", outputs.hair),
            ("files", outputs.splats or outputs.meshes or outputs.views or outputs.hair),
            ("preview", outputs.preview),
            ("turntable", outputs.turntable),
        ]
        return [stage for stage, needed in possible if needed]


@dataclass(frozen=True)
class StageTwoResult:
    """What stage two made of the views.

    Attributes:
        views: those that were given, with the cameras they turned out to have.
        surface: fitted; None if nothing was requested that needs one.
        painted: what the views were drawn from, if splats started on that.
        coarser: levels of detail of ``mesh``, one after the other.
        whole_surface: the surface with colours.
    """

    views: Views
    surface: Mesh | None = None
    splats: Splats | None = None
    mesh: TexturedMesh | None = None
    coarser: tuple[TexturedMesh, ...] = ()
    whole_surface: ColouredMesh | None = None
    painted: Mesh | None = None


def fit_results(
    views: Views,
    requested: RequestedResults,
    backends: Backends,
    store: ResumeStore,
    stages: Stages,
    *,
    head: object | None = None,
) -> StageTwoResult:
    """Fit what is requested; splats and texture with the cameras that the surface was found to be seen from.

    Args:
        head: what stage one fitted, if it did. Splats start on what the views were drawn from if ``requested`` says
            so; a surface is fitted for meshes only then.

    Raises:
        FitError: the views show nothing, or do not agree on any shape.
    """
    seed = backends.settings.seed
    if len(views) and not (views.alpha > 0.5).any():
        raise FitError("no view shows anything: every mask is empty")
    if not requested.any:
        return StageTwoResult(views)
    result = StageTwoResult(views)
    if requested.fits_surface:
        with stages("surface") as progress:
            fitted = store.get_or_make(
                "surface", lambda: backends.fit_surface(views, seed=seed, progress=progress), load_surface
            )
        result = StageTwoResult(replace(views, cameras=fitted.cameras), fitted.mesh)
    if requested.splats:
        result = _fit_splats(result, head if requested.painted_start else None, backends, store, stages)
    if requested.mesh or requested.whole_surface:
        result = _paint(result, requested, backends, store, stages)
    return result


def _fit_splats(
    result: StageTwoResult, head: object | None, backends: Backends, store: ResumeStore, stages: Stages
) -> StageTwoResult:
    """Fit splats that start on what the views of ``head`` were drawn from, or else on the fitted surface."""
    settings, views = backends.settings, result.views
    painted = None
    with stages("splats") as progress:
        if isinstance(head, PaintedHead):
            painted = head.painted_surface(views.cameras, neutral=settings.photo.neutral)

        def fit() -> Splats:
            if painted is not None:
                return backends.fit_painted_splats(views, painted, seed=settings.seed, progress=progress)
            assert result.surface is not None
            return backends.fit_splats(views, result.surface, seed=settings.seed, progress=progress)

        splats = store.get_or_make("splats", fit, load_splats)
    return replace(result, splats=splats, painted=None if painted is None else painted.mesh)


def _paint(
    result: StageTwoResult, requested: RequestedResults, backends: Backends, store: ResumeStore, stages: Stages
) -> StageTwoResult:
    """Give the surface its colours, as requested: whole, and simplified to each level of detail."""
    surface, options = result.surface, backends.settings.mesh
    assert surface is not None
    with stages("texture") as progress:
        if requested.whole_surface:
            result = replace(result, whole_surface=backends.colour_vertices(result.views, surface))
        if requested.mesh:
            meshes = []
            for level in range(options.lods + 1):
                faces = options.faces_of(level)
                meshes.append(
                    store.get_or_make(
                        "texture",
                        lambda faces=faces: backends.bake_texture(
                            result.views, surface, faces=faces, progress=progress
                        ),
                        load_textured,
                        variant=f"-{faces}",
                    )
                )
            result = replace(result, mesh=meshes[0], coarser=tuple(meshes[1:]))
    return result


def grow_hair(head: object | None, outputs: Outputs, stages: Stages) -> tuple[HairStrands | None, dict[str, Any]]:
    """Take the strands of a head's hair where they are asked for; warn if there are none.

    Args:
        head: what stage one fitted, if it did.

    Returns:
        The strands, or None, and the report's part about them.
    """
    if outputs.hair is None:
        return None, {}
    with stages("hair"):
        strands = head.hair_strands() if isinstance(head, HairedHead) else None
    if strands is not None and len(strands):
        return strands, {"hair_strands": {"made": True, "count": len(strands)}}
    why = "the head has no hair" if isinstance(head, HairedHead) else "this prior makes no hair strands"
    log.warning("%s is not written: %s", outputs.hair, why)
    return None, {"hair_strands": {"made": False, "why": why}}


def scale_of_files(built: StageTwoResult, avatar: Avatar | None, *, height_m: float | None) -> float:
    """Return the metres of a head unit in the files: one for all, though a simplified mesh is not quite as high.

    Args:
        height_m: height of the head; None for the usual scale.
    """
    if height_m is None:
        return METRES_PER_UNIT
    return metres_per_unit(built.painted or built.surface or _all_vertices(avatar), height_m=height_m)


def write_results(
    outputs: Outputs,
    stages: Stages,
    built: StageTwoResult,
    *,
    avatar: Avatar | None = None,
    clip: FaceClip | None = None,
    hair: HairStrands | None = None,
    metres_per_unit: float,
) -> tuple[Path, ...]:
    """Write splats, meshes, avatars, views and hair; each file appears whole or not at all.

    Args:
        avatar: goes to the formats that can hold one, in place of the mesh.
        clip: baked into the formats that can hold one.
        hair: written where hair is asked for.
        metres_per_unit: of the files, where their format has a unit.

    Returns:
        What was written.
    """
    if not (outputs.splats or outputs.meshes or outputs.views or outputs.hair):
        return ()
    files: list[Path] = []
    with stages("files"):
        for path in outputs.splats:
            assert built.splats is not None
            write_splats(path, built.splats, metres_per_unit=metres_per_unit)
            files.append(path)
        for path in outputs.meshes:
            if avatar is not None and path.suffix.lower() in suffixes("avatar"):
                write_avatar(path, avatar, metres_per_unit=metres_per_unit, clip=clip)
            else:
                write_mesh(path, _mesh_for(path, built, outputs), metres_per_unit=metres_per_unit)
            files.append(path)
        if outputs.views is not None:
            write_views(outputs.views, built.views)
            files.append(outputs.views)
        if outputs.hair is not None and hair is not None:  # last: what fails here leaves the others whole
            write_hair(outputs.hair, hair, metres_per_unit=metres_per_unit)
            files.append(outputs.hair)
    return tuple(files)


def _mesh_for(path: Path, built: StageTwoResult, outputs: Outputs) -> ColouredMesh | TexturedMesh:
    """Return the mesh that a file holds."""
    if built.whole_surface is not None and path.suffix.lower() in untextured_suffixes():
        return built.whole_surface
    assert built.mesh is not None
    return (built.mesh, *built.coarser)[outputs.lods.get(path, 0)]


def _all_vertices(avatar: Avatar | None) -> Mesh:
    """Return all vertices of an avatar as one mesh without faces."""
    assert avatar is not None
    return Mesh(np.concatenate([part.mesh.vertices for part in avatar.parts]), np.zeros((0, 3), np.int64))


def draw_results(
    outputs: Outputs,
    stages: Stages,
    built: StageTwoResult,
    *,
    photos: Sequence[Float[np.ndarray, "_ _ 3"]] = (),
    avatar: Avatar | None = None,
    expression: Mapping[str, float] | None = None,
) -> tuple[Path, ...]:
    """Draw the preview and the turntable.

    Args:
        photos: crops for the contact sheet.
        expression: what the avatar shows, weights by ARKit's names.

    Returns:
        What was written.
    """
    files: list[Path] = []
    if outputs.preview is not None:
        with stages("preview"):
            tiles = {} if avatar is None else expression_tiles(avatar, expression or {})
            drawing.write_contact_sheet(outputs.preview, _drawer(built, avatar), photos, expressions=tiles)
        files.append(outputs.preview)
    if outputs.turntable is not None:
        with stages("turntable") as progress:
            drawing.write_turntable(outputs.turntable, _drawer(built, avatar), progress=progress)
        files.append(outputs.turntable)
    return tuple(files)


def _drawer(built: StageTwoResult, avatar: Avatar | None = None) -> drawing.Draw:
    if built.splats is not None:
        return drawing.splats_drawer(built.splats)
    if built.mesh is not None:
        return drawing.mesh_drawer(built.mesh)
    if built.whole_surface is not None:
        return drawing.coloured_drawer(built.whole_surface)
    assert avatar is not None
    return drawing.mesh_drawer(*(part.mesh for part in avatar.parts))


def measure_held_out(built: StageTwoResult, held_out: Views, stages: Stages) -> dict[str, Any]:
    """Measure how well the result shows views that took no part in the fit, see ``inspection.held_out.measure``.

    The splats are measured if there are both splats and a mesh.
    """
    with stages("held out") as progress:
        measured = measure(_drawer(built), held_out, progress)
    log.info("%s", sentence(measured))
    return {"of": "mesh" if built.splats is None else "splats"} | measured


def describe_results(built: StageTwoResult) -> dict[str, Any]:
    """Return what the report says about the results."""
    report: dict[str, Any] = {}
    if (surface := built.surface) is not None:
        report["surface"] = {"vertices": len(surface.vertices)}
    if (splats := built.splats) is not None:
        start = "a fitted surface" if built.painted is None else "what the views were drawn from"
        report["splats"] = {"count": len(splats), "sh_coefficients": int(splats.sh.shape[1]), "started_on": start}
    if (mesh := built.mesh) is not None:
        report["mesh"] = {
            "vertices": len(mesh.vertices),
            "triangles": len(mesh.faces),
            "texture_px": [int(mesh.albedo.shape[1]), int(mesh.albedo.shape[0])],
            "normal_map": mesh.normal_map is not None,
            "coarser_triangles": [len(each.faces) for each in built.coarser],
        }
    if (whole := built.whole_surface) is not None:
        report["whole_mesh"] = {"vertices": len(whole.vertices), "triangles": len(whole.faces)}
    return report
