"""Is the .glb the same person? The distances of likeness.py, measured on written files instead of our own pictures.

    python benchmarks/likeness_glb.py [--quick] [--three three/node_modules/three] [--sheet OUT.png]

Two files of each photo: what ``spmr-recon --keep-expression`` writes, and the avatar, which is neutral at rest, with
its morph targets at the weights of the photo's expression. They are drawn without light by three.js in a headless
Chromium (see interop_three.py), or, where there is none, read back and drawn by our own rasteriser. The pictures that
likeness.py measures stand beside.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import datasets
import heads
import identity
import interop_three
import numpy as np
from likeness import AZIMUTHS_DEG
from tables import Figure, print_figures, print_table

from spinmeround.configs import Quality
from spinmeround.geometry import resized
from spinmeround.images import composite, to_uint8
from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.inspection.expressions import posed
from spinmeround.io import read_avatar, read_mesh, write_avatar
from spinmeround.pipelines.reconstruct import reconstruct
from spinmeround.types import Cameras, TexturedMesh

Draw = Callable[[Path, Cameras, Mapping[str, float]], np.ndarray]
"""A .glb with an expression as cameras see it, RGB in [0, 255] over white."""

KEPT, AVATAR, OURS = ".glb, --keep-expression", "avatar", "our pictures"
_SIZE_PX = 640
_BARS = {"the photo's camera": (0.20, (0.0,)), "±30°": (0.33, (-30.0, 30.0)), "±45°": (0.45, (-45.0, 45.0))}


def by_three(browser: interop_three.Browser) -> Draw:
    """Drawn by three.js."""

    def draw(glb: Path, cameras: Cameras, weights: Mapping[str, float]) -> np.ndarray:
        rgba = interop_three.pictures(browser, glb, cameras, [weights] * len(cameras)).astype(np.float32) / 255
        return to_uint8(composite(rgba[..., :3], rgba[..., 3]))

    return draw


def by_us(glb: Path, cameras: Cameras, weights: Mapping[str, float]) -> np.ndarray:
    """Read back and drawn by our own rasteriser."""
    if weights:
        meshes = [posed(part, weights) for part in read_avatar(glb).parts]
    else:
        meshes = [mesh for mesh in [read_mesh(glb)] if isinstance(mesh, TexturedMesh)]
    views = mesh_drawer(*meshes)(cameras)
    return to_uint8(composite(views.rgb, views.alpha))


@dataclass(frozen=True)
class Measured:
    """Of one photo: distances by what was drawn and by azimuth, and all pictures."""

    distances: dict[str, dict[float, float]]
    pictures: np.ndarray


def measure_photo(photo: Path, draw: Draw, *, quality: Quality) -> Measured:
    """Draws both files and our own pictures from the photo's camera, carried around the head."""
    rgb = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    reference = identity.descriptor(rgb)
    if reference is None:
        raise ValueError(f"dlib finds no face in {photo}: no distance can be measured from it")
    head, _ = heads.fit([photo])
    cameras = heads.orbited(resized(head.photo_cameras[0], _SIZE_PX, _SIZE_PX), AZIMUTHS_DEG)
    weights = dict(zip(head.model.expression_names, map(float, head.head.photos[0].expression), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        kept, avatar = Path(folder, "kept.glb"), Path(folder, "avatar.glb")
        reconstruct(photo, out=kept, keep_expression=True, prior="template", quality=quality)
        write_avatar(avatar, head.avatar())
        drawn = {KEPT: draw(kept, cameras, {}), AVATAR: draw(avatar, cameras, weights)}
    drawn[OURS] = heads.picture(head, cameras, keep_expression=True)
    distances = {
        name: dict(
            zip(AZIMUTHS_DEG, [identity.distance(reference, identity.descriptor(p)) for p in pictures], strict=True)
        )
        for name, pictures in drawn.items()
    }
    return Measured(distances, np.vstack([np.hstack(list(pictures)) for pictures in drawn.values()]))


def figures_of(measured: Mapping[str, Measured]) -> list[Figure]:
    """The bars of the likeness on the files' pictures."""

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
    """All photos, or two of them at ``draft`` when quick; prints the distances one by one."""
    try:
        draw = by_three(interop_three.find_browser(three))
    except FileNotFoundError as missing:
        print(f"drawn by our own rasteriser: {missing}")
        draw = by_us
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
        shrunk = [
            cv2.resize(one.pictures, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for one in measured.values()
        ]
        cv2.imwrite(str(sheet), cv2.cvtColor(np.vstack(shrunk), cv2.COLOR_RGB2BGR))
    return figures_of(measured)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two photos")
    parser.add_argument("--three", type=Path, help="the folder of the npm package three (default: the variable THREE)")
    parser.add_argument("--sheet", type=Path, help="write the pictures as a PNG: both files', below them ours")
    given = parser.parse_args()
    print_figures(measure(quick=given.quick, three=given.three, sheet=given.sheet), title="likeness of the .glb")


if __name__ == "__main__":
    main()
