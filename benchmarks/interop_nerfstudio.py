"""Our folders of views as read by nerfstudio's own parser, compared ray by ray.

nerfstudio pins some 200 packages; its parser alone needs few, in a folder of their own:

    pip install --no-deps --target nerfstudio-only nerfstudio==1.1.5 viser msgspec websockets zstandard tensorboard \
        absl-py grpcio protobuf markdown werkzeug tensorboard-data-server
    PYTHONPATH=nerfstudio-only python benchmarks/interop_nerfstudio.py
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from tables import Figure, print_figures_and_exit

from spinmeround.geometry import camera_centres, pixel_rays_world
from spinmeround.io import write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.types import Views


def _views(azimuths_deg: list[float], size_px: int, prefix: str) -> Views:
    cameras = orbit_cameras(azimuths_deg, [15.0 * (-1) ** i for i in range(len(azimuths_deg))], size_px=size_px)
    shape = (len(azimuths_deg), size_px, size_px)
    ones, names = np.ones(shape, np.float32), tuple(f"{prefix}{i}" for i in range(len(azimuths_deg)))
    return Views(cameras, np.ones((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32), ones, ones, names)


def _parsed(folder: Path, split: str) -> Any:
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    keep_poses = {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}
    return NerfstudioDataParserConfig(data=folder, **keep_poses).setup().get_dataparser_outputs(split)


def _ray_errors(parsed: Any, views: Views) -> tuple[float, float]:
    """Return the largest differences of unit directions, and of origins in head units."""
    directions, origins = 0.0, 0.0
    for theirs, path in enumerate(parsed.image_filenames):
        ours = views.names.index(path.stem)
        rays = parsed.cameras.generate_rays(camera_indices=theirs)
        expected = pixel_rays_world(
            views.cameras.camera_from_world[ours],
            views.cameras.intrinsics_px[ours],
            views.cameras.width_px,
            views.cameras.height_px,
        )
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        directions = max(directions, float(np.abs(rays.directions.numpy() - expected).max()))
        origins = max(origins, float(np.abs(rays.origins.numpy() - camera_centres(views.cameras)[ours]).max()))
    return directions, origins


def measure(*, quick: bool) -> list[Figure]:
    """Count missing pictures of each split and measure its rays' errors; ``quick`` is ignored."""
    del quick
    warnings.simplefilter("ignore")
    views, test = _views([0, 40, 95, 200, 300], 64, "a"), _views([20, 120], 64, "b")
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        write_views(Path(folder) / "views", views, test=test)
        for split, group in (("train", views), ("val", test), ("test", test)):
            parsed = _parsed(Path(folder) / "views", split)
            what = f"nerfstudio, {split}"
            figures.append(Figure(f"{what}: views missing", len(group) - len(parsed.image_filenames), 0))
            figures.append(Figure(f"{what}: masks missing", len(group) - len(parsed.mask_filenames), 0))
            directions, origins = _ray_errors(parsed, group)
            figures.append(Figure(f"{what}: directions of rays, largest error", directions, 1e-6))
            figures.append(Figure(f"{what}: origins of rays, largest error", origins, 1e-6, unit=" units"))
    return figures


def main() -> None:
    """Print a table; exit with 1 if something differs."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print_figures_and_exit(measure(quick=False), title="Our folders of views in nerfstudio")


if __name__ == "__main__":
    main()
