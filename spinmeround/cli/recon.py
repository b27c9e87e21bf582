"""``spmr-recon``: photos in, a 3D head out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import (
    Parser,
    add_avatar,
    add_diffusion,
    add_effort,
    add_hair_file,
    add_head_files,
    add_photos,
    add_stage_one_parts,
    add_stage_two_parts,
    add_talk,
    output_options,
    run_settings,
)
from spinmeround.cli.console import run

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = parser().read(argv)

    def action(watch: Watch) -> None:
        from spinmeround.pipelines.reconstruct import reconstruct

        reconstruct(
            given.photos, out=given.out, settings=run_settings(given), outputs=output_options(given), watch=watch
        )

    return run("spmr-recon", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """Return what the command understands."""
    made = Parser(
        "spmr-recon",
        does="One photo of a face, or several of one person, to a 3D head.",
        examples=(
            "spmr-recon face.jpg --out head.ply                      Gaussian splats",
            "spmr-recon face.jpg --out head.glb                      an avatar for Blender, game engines and browsers",
            "spmr-recon face.jpg --out head.vrm --lod 1              an avatar for virtual worlds, fewer triangles",
            "spmr-recon face.jpg --out head.glb --animate take.csv   the avatar repeats what Live Link Face recorded",
            "spmr-recon face.jpg --out head.glb --hair-out hair.usdc  the hair also as strands, for Blender",
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
    add_hair_file(made)
    add_avatar(made)
    add_effort(made)
    add_stage_one_parts(made)
    add_stage_two_parts(made)
    add_diffusion(made)
    add_talk(made)
    return made
