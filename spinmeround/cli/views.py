"""``spmr-views``: photos to a folder of posed views; stage one alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import (
    Parser,
    add_diffusion,
    add_effort,
    add_photos,
    add_report,
    add_stage_one_parts,
    add_talk,
    angles,
    run_settings,
)
from spinmeround.cli.console import run

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    reader = parser()
    given = reader.read(argv)
    if given.rig is not None:
        sys.stderr.write("spmr-views: --rig is called --orbit now, since a rig is also a skeleton\n")
        given.orbit = given.orbit or given.rig
    if given.orbit is not None and (given.azimuths or given.elevations):
        reader.error("--orbit names whole cameras; leave --azimuths and --elevations out")
    directions = None
    if given.azimuths or given.elevations:
        directions = [(a, e) for e in given.elevations or (0.0,) for a in given.azimuths or (0.0,)]

    def action(watch: Watch) -> None:
        from spinmeround.pipelines.make_views import make_views
        from spinmeround.pipelines.outputs import OutputOptions

        make_views(
            given.photos,
            settings=run_settings(given),
            outputs=OutputOptions(views=given.out, report=given.report, strict=given.strict),
            directions=directions,
            orbit=given.orbit,
            watch=watch,
        )

    return run("spmr-views", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """Return what the command understands."""
    made = Parser(
        "spmr-views",
        does="One photo of a face, or several of one person, to pictures, normals and masks from all sides.",
        examples=(
            "spmr-views face.jpg --out views/",
            "spmr-views face.jpg --out views/ --azimuths 0,30,-30 --elevations 0",
            "spmr-views face.jpg --out views/ --orbit orbit-16",
        ),
        closing=(
            "Azimuth 0 looks into the face and grows toward the person's left side; elevation grows upward.\n"
            "DIR gets a transforms.json that nerfstudio and spmr-fit read."
        ),
    )
    add_photos(made)
    group = made.add_argument_group("results")
    group.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add_report(group)
    group = made.add_argument_group("cameras")
    group.add_argument("--azimuths", type=angles, metavar="A,A,...", help="degrees; with each elevation (default: 0)")
    group.add_argument("--elevations", type=angles, metavar="E,E,...", help="degrees, -85 to 85 (default: 0)")
    group.add_argument(
        "--orbit",
        metavar="NAME",
        help="orbit-8, anchors, orbit-16 or spin-48, with the photo's own camera first (default: by quality)",
    )
    group.add_argument("--rig", help=argparse.SUPPRESS)
    add_effort(made)
    add_stage_one_parts(made)
    add_diffusion(made)
    add_talk(made)
    return made
