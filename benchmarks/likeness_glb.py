"""Likeness of the .glb: the distances of likeness.py, measured on written files instead of our own renderings.

    python benchmarks/likeness_glb.py [--quick] [--three three/node_modules/three] [--sheet OUT.png]

Two files of each photo: the plain mesh that ``spmr-recon --no-rig`` writes, and the avatar, which is neutral at
rest, with its morph targets at the weights of its pose ``photo``. They are rendered unlit by three.js in a headless
Chromium (see interop_three.py) or, without one, read back and rendered by our own rasteriser. The pictures that
likeness.py measures are included for comparison.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import heads
import identity
import interop_three
import numpy as np
from command_line import benchmark_parser, run
from likeness import AZIMUTHS_DEG
from pictures import write_scaled_sheet
from tables import Figure, print_table

from spinmeround.configs import Quality
from spinmeround.geometry import resized
from spinmeround.images import composite, to_uint8
from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.inspection.expressions import posed
from spinmeround.io import read_avatar, read_mesh, write_avatar
from spinmeround.pipelines.reconstruct import reconstruct
from spinmeround.pipelines.settings import AvatarOptions, RunSettings
from spinmeround.template.generator import PHOTO_POSE
from spinmeround.types import Cameras, TexturedMesh

Draw = Callable[[Path, Cameras, Mapping[str, float]], np.ndarray]
"""Renders a .glb with an expression from each camera: RGB in [0, 255] over white."""

KEPT, AVATAR, OURS = ".glb, --no-rig", "avatar", "our pictures"
_SIZE_PX = 640
_BARS = {"the photo's camera": (0.20, (0.0,)), "±30°": (0.33, (-30.0, 30.0)), "±45°": (0.45, (-45.0, 45.0))}


def three_renderer(browser: interop_three.Browser) -> Draw:
    """Return a renderer that uses three.js."""

    def draw(glb: Path, cameras: Cameras, weights: Mapping[str, float]) -> np.ndarray:
        rgba = interop_three.pictures(browser, glb, cameras, [weights] * len(cameras)).astype(np.float32) / 255
        return to_uint8(composite(rgba[..., :3], rgba[..., 3]))

    return draw


def render_with_package(glb: Path, cameras: Cameras, weights: Mapping[str, float]) -> np.ndarray:
    """Read the file back and render it by our own rasteriser."""
    if weights:
        meshes = [posed(part, weights) for part in read_avatar(glb).parts]
    else:
        meshes = [mesh for mesh in [read_mesh(glb)] if isinstance(mesh, TexturedMesh)]
    views = mesh_drawer(*meshes)(cameras)
    return to_uint8(composite(views.rgb, views.alpha))


@dataclass(frozen=True)
class Measured:
    """Distances of one photo by file and azimuth, and all pictures."""

    distances: dict[str, dict[float, float]]
    pictures: np.ndarray


def measure_photo(photo: Path, draw: Draw, *, quality: Quality) -> Measured:
    """Render both files and our own pictures from the photo's camera rotated about the head."""
    reference = identity.descriptor_of_photo(photo)
    head, _ = heads.fit([photo])
    cameras = heads.orbited(resized(head.photo_cameras[0], _SIZE_PX, _SIZE_PX), AZIMUTHS_DEG)
    with tempfile.TemporaryDirectory() as folder:
        kept, avatar = Path(folder, "kept.glb"), Path(folder, "avatar.glb")
        settings = RunSettings(quality=quality, prior="template", avatar=AvatarOptions(rig=False))
        reconstruct(photo, out=kept, settings=settings)
        write_avatar(avatar, head.avatar())
        drawn = {KEPT: draw(kept, cameras, {}), AVATAR: draw(avatar, cameras, read_avatar(avatar).poses[PHOTO_POSE])}
    drawn[OURS] = heads.picture(head, cameras, neutral=False)
    distances = {
        name: dict(
            zip(AZIMUTHS_DEG, [identity.distance(reference, identity.descriptor(p)) for p in pictures], strict=True)
        )
        for name, pictures in drawn.items()
    }
    return Measured(distances, np.vstack([np.hstack(list(pictures)) for pictures in drawn.values()]))


def figures_of(measured: Mapping[str, Measured]) -> list[Figure]:
    """Return the figures of ``likeness.py`` for the files' pictures."""

    def mean(drawn: str, azimuths: Sequence[float]) -> float:
        return float(np.mean([one.distances[drawn][a] for one in measured.values() for a in azimuths]))

    figures = [
        Figure(
            f"{drawn}: likeness at {where}",
            mean(drawn, azimuths),
            bar,
            note=f"our pictures {mean(OURS, azimuths):.3f}",
        )
        for drawn in (KEPT, AVATAR)
        for where, (bar, azimuths) in _BARS.items()
    ]
    for drawn in (KEPT, AVATAR):
        worst, where = max(
            (d, f"{n} at {a:g}°") for n, one in measured.items() for a, d in one.distances[drawn].items()
        )
        figures.append(Figure(f"{drawn}: worst single picture", worst, 0.50, note=where))
    return figures


def measure(*, quick: bool, three: Path | None = None, sheet: Path | None = None) -> list[Figure]:
    """Measure all photos, or two of them at ``draft`` if quick; print every distance."""
    try:
        draw = three_renderer(interop_three.find_browser(three))
    except FileNotFoundError as missing:
        print(f"rendered by our own rasteriser: {missing}")
        draw = render_with_package
    with tempfile.TemporaryDirectory() as folder:
        photos = datasets.photos(Path(folder))
        names = ("astronaut", "video_e285") if quick else tuple(photos)
        measured = {name: measure_photo(photos[name], draw, quality="draft" if quick else "standard") for name in names}
    rows = [
        [name, drawn, *[f"{distances[a]:.3f}" for a in AZIMUTHS_DEG]]
        for name, one in measured.items()
        for drawn, distances in one.distances.items()
    ]
    print_table(["distance", "drawn", *map(str, AZIMUTHS_DEG)], rows, title="dlib distance to the photo")
    if sheet is not None:
        write_scaled_sheet(sheet, [one.pictures for one in measured.values()], 0.5)
    return figures_of(measured)


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(__doc__, quick="two photos", sheet="both files' pictures, below them ours")
    parser.add_argument("--three", type=Path, help="the folder of the npm package three (default: the variable THREE)")
    run(measure, parser, title="likeness of the .glb")


if __name__ == "__main__":
    main()
