"""``spmr-recon``: photos in, a 3D head out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import (
    Parser,
    add_diffusion,
    add_head_files,
    add_how,
    add_photos,
    add_rig,
    add_talk,
    diffusion_options,
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
        from spinmeround.pipelines.reconstruct import reconstruct

        reconstruct(
            given.photos,
            out=given.out,
            quality=given.quality,
            prior=given.prior,
            seed=given.seed,
            device=given.device,
            ply=given.ply,
            face=given.face,
            keep_expression=given.keep_expression,
            height_m=given.height_m,
            views_out=given.views_out,
            report=given.report,
            preview=given.preview,
            turntable=given.turntable,
            diffusion=diffusion_options(given),
            rig=rig_options(given),
            expression=expression_asked(given),
            animate=given.animate,
            splats=given.splats,
            normal_map=given.normal_map,
            watch=watch,
        )

    return run("spmr-recon", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """What the command understands."""
    made = Parser(
        "spmr-recon",
        does="One photo of a face, or several of one person, to a 3D head.",
        examples=(
            "spmr-recon face.jpg --out head.ply                      Gaussian splats",
            "spmr-recon face.jpg --out head.glb                      an avatar for Blender, game engines and browsers",
            "spmr-recon face.jpg --out head.vrm --lod 1              an avatar for virtual worlds, fewer triangles",
            "spmr-recon face.jpg --out head.glb --animate take.csv   the avatar repeats what Live Link Face recorded",
            "spmr-recon face.jpg --out head.ply --ply mesh           a mesh as .ply",
            "spmr-recon front.jpg side.jpg --out head.spz --out head.glb",
            "spmr-recon group.jpg --face 2 --out head.ply            the second largest face",
            "spmr-recon face.jpg --out head.ply --quality draft --preview head.png --report head.json",
        ),
        closing=(
            "The photo never leaves this machine.\n"
            "A run that was killed or failed goes on from its last finished stage when the same command is given again."
        ),
    )
    add_photos(made)
    add_head_files(made)
    made.add_argument_group("stage one").add_argument(
        "--views-out", metavar="DIR", help="also write the views of stage one, for spmr-fit or nerfstudio"
    )
    add_rig(made)
    add_how(made, with_prior=True)
    add_diffusion(made)
    add_talk(made)
    return made
