"""``spmr-fit``: a folder of posed views to a 3D head; stage two alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import (
    Parser,
    add_head_files,
    add_how,
    add_rig,
    add_talk,
    counted,
    expression_asked,
    rig_options,
)
from spinmeround.cli.console import run

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = parser().read(argv)

    def action(watch: Watch) -> None:
        from spinmeround.pipelines.fit_views import fit_views
        from spinmeround.pipelines.mesh_levels import MeshLevels

        fit_views(
            given.folder,
            out=given.out,
            quality=given.quality,
            seed=given.seed,
            device=given.device,
            ply=given.ply,
            height_m=given.height_m,
            report=given.report,
            preview=given.preview,
            turntable=given.turntable,
            normal_frame=given.normal_frame,
            cameras=given.cameras,
            surface=given.surface,
            levels=MeshLevels(given.faces, given.lods),
            size_px=given.view_size,
            rig=rig_options(given),
            expression=expression_asked(given),
            animate=given.animate,
            splats=given.splats,
            normal_map=given.normal_map,
            watch=watch,
        )

    return run("spmr-fit", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """What the command understands."""
    made = Parser(
        "spmr-fit",
        does="A folder of posed views (pictures, masks, normals, and where each was taken from) to a 3D head.",
        examples=(
            "spmr-fit views/ --out head.ply",
            "spmr-fit views/ --out head.glb --preview head.png",
            "spmr-fit views/ --out head.glb --faces 40000 --lods 2",
            "spmr-fit capture/ --out head.ply --normal-frame camera --report head.json",
        ),
        closing=(
            "DIR has a transforms.json (spmr-views, nerfstudio, instant-ngp) or a COLMAP model (in sparse/0).\n"
            "Masks are needed, normals make it better. Views it holds out are measured, see --report.\n"
            "A run that was killed or failed goes on from its last finished stage when the same command is given again."
        ),
    )
    made.add_argument("folder", type=Path, metavar="DIR", help="folder of posed views")
    made.add_argument(
        "--normal-frame",
        choices=("world", "camera", "camera_opengl", "camera_opencv"),
        help="frame of the normals (default: as the folder says, else world); camera takes whichever of the two it is",
    )
    made.add_argument(
        "--cameras",
        choices=("auto", "keep", "register"),
        default="auto",
        help="auto moves those that turn out to be off and reports it; keep believes the folder; register moves all "
        "until colours agree, for cameras known to within some degrees (default: auto)",
    )
    made.add_argument(
        "--surface",
        choices=("mesh", "neural"),
        default="mesh",
        help="neural learns a signed distance: minutes more, for normals whose slow parts are off (default: mesh)",
    )
    made.add_argument(
        "--view-size",
        type=counted,
        metavar="PX",
        help="longer side the pictures are read at (default: 320 draft, 512 standard, 768 high)",
    )
    made.add_argument(
        "--faces",
        type=counted,
        metavar="N",
        help="of a mesh (default: 20000; a .ply alone holds the whole surface)",
    )
    made.add_argument(
        "--lods",
        type=int,
        choices=(0, 1, 2, 3),
        default=0,
        help="coarser meshes beside each, head_lod1.glb ..., with a quarter of the faces each (default: 0)",
    )
    add_head_files(made)
    add_rig(made)
    add_how(made, with_prior=False)
    add_talk(made)
    return made
