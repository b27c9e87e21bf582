"""Every figure the project states, in one table; `make bench` runs it.

python benchmarks/run_all.py [--quick] [--only likeness --only fit]
"""

from __future__ import annotations

import argparse
import importlib
import time

from tables import HEADER, print_table

SCRIPTS = (
    "fit",
    "likeness",
    "people",
    "hair",
    "hair_network",
    "likeness_floor",
    "likeness_glb",
    "interop_three",
    "viewer",
    "interop_blender_avatar",
    "interop_hair",
    "blender_extension",
    "interop_splats",
    "interop_playcanvas",
    "interop_nerfstudio",
    "whole_head",
    "expression_scores",
    "shape_synthetic",
    "splats_heldout",
    "splats_clean",
    "texture_heldout",
    "normal_map",
    "splats_real",
    "repeat_time",
    "job_time",
    "memory",
    "fuzz_readers",
    "faults",
    "bench_surface",
    "surface_fusion",
    "avatar_fit",
    "avatar_files",
    "bench_raster",
    "raster_floor",
    "splat_kinds",
    "model_camera",
    "batch",
    "page",
    "server",
    "diffusion_full_size",
    "diffusion_work_saved",
)


def figures_of(script: str, *, quick: bool) -> list[list[str]]:
    """Return the table's rows of one script; a single row with the reason if its data or a package is missing."""
    try:
        figures = importlib.import_module(script).measure(quick=quick)
    except (FileNotFoundError, ModuleNotFoundError) as missing:
        return [[script, "", "", "", f"not measured: {missing}"]]
    return [figure.row for figure in figures]


def main() -> None:
    """Print one markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small variant of each")
    parser.add_argument("--only", action="append", choices=SCRIPTS, help="may be given several times")
    arguments = parser.parse_args()
    rows = []
    try:
        for script in arguments.only or SCRIPTS:
            started = time.perf_counter()
            rows += figures_of(script, quick=arguments.quick)
            print(f"\n({script}: {time.perf_counter() - started:.0f} s)", flush=True)
    finally:  # print the figures measured before a failure, too
        print_table(HEADER, rows, title="figures")


if __name__ == "__main__":
    main()
