"""``spmr-fit``: a folder of posed views to a 3D head; stage two alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import (
    Parser,
    add_avatar,
    add_effort,
    add_head_files,
    add_stage_two_parts,
    add_talk,
    counted,
    output_options,
    run_settings,
)
from spinmeround.cli.console import run
from spinmeround.configs import QUALITIES, preset

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = parser().read(argv)

    def action(watch: Watch) -> None:
        from spinmeround.pipelines.fit_views import fit_views

        fit_views(given.folder, out=given.out, settings=run_settings(given), outputs=output_options(given), watch=watch)

    return run("spmr-fit", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """Return what the command understands."""
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
        "--view-size",
        type=counted,
        metavar="PX",
        help="longer side the pictures are read at "
        f"(default: {', '.join(f'{preset(quality).view_size_px} {quality}' for quality in QUALITIES)})",
    )
    made.add_argument(
        "--skip-missing", action="store_true", help="leave out frames whose pictures are not in the folder, and say so"
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
    add_avatar(made)
    add_effort(made)
    add_stage_two_parts(made)
    add_talk(made)
    return made
