"""The viewer in a headless Chromium, compared with our own pictures: speed, size of a page, colours, expressions.

    make web
    python benchmarks/viewer.py [--ply head.ply --glb head.glb]

Chromium draws with WebGL on the CPU (SwiftShader), which is far slower than any graphics card. The default head is the
astronaut of scikit-image.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
import skimage.io
import torch
from jaxtyping import Bool, Float
from measures import mask_iou, psnr_db
from tables import Figure, print_figures
from viewer_browser import Browser, browser, served

from spinmeround.geometry import select
from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.inspection.expressions import posed
from spinmeround.io import read_avatar, read_splats, write_splats
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.types import Cameras, Splats
from spinmeround.viewer.contents import gathered
from spinmeround.viewer.export import write_page

_SIZE_PX = 720
_MANY_SPLATS = 200_000
_CHANGED = 16 / 255
"""What an edge of a picture that was drawn twice, with other anti-aliasing, stays below."""
_JAW = {"jawOpen": 0.7}
_TURN = """(async () => {
  const canvas = document.querySelector('canvas');
  for (let frame = 0; frame < 12; frame += 1) {
    canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft' }));
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
  return viewer.stats().framesPerSecond;
})()"""


def over_white(picture: Float[np.ndarray, "h w 4"]) -> Float[np.ndarray, "h w 3"]:
    """Lay straight RGBA over white."""
    return picture[..., :3] * picture[..., 3:] + 1 - picture[..., 3:]


def _seen(page: Browser) -> Float[np.ndarray, "h w 3"]:
    return over_white(page.picture() / 255.0)


def _cameras() -> Cameras:
    return orbit_cameras([0.0, 50.0, 180.0], [0, 15, 0], size_px=_SIZE_PX, focal_widths=WHOLE_FOCAL_WIDTHS)


def measure_speed(page: Browser, ply: Path, folder: Path) -> list[Figure]:
    """Load a head of 200,000 splats: the given one, each splat several times, a little moved."""
    head = read_splats(ply)
    rng = torch.Generator().manual_seed(0)
    chosen = torch.arange(_MANY_SPLATS) % len(head)
    moved = head.means[chosen] + 0.001 * torch.randn((_MANY_SPLATS, 3), generator=rng)
    rest = (getattr(head, name)[chosen] for name in ("scales", "quats_wxyz", "opacities", "sh"))
    many = folder / "many.ply"
    write_splats(many, Splats(moved, *rest))
    with served([many]) as url:
        page.open(url, width_px=_SIZE_PX, height_px=_SIZE_PX)
        seconds = page.run("viewer.stats().firstFrameMs") / 1000
        rate = page.run(_TURN)
    return [
        Figure("viewer, 200,000 splats: first frame after", seconds, 2.0, unit=" s", note="from the start of loading"),
        Figure(
            "viewer, 200,000 splats: frames a second", rate, note=f"{_SIZE_PX} x {_SIZE_PX} pixels, drawn on the CPU"
        ),
    ]


def measure_page(page: Browser, ply: Path, folder: Path) -> list[Figure]:
    """Write one page and open it from the disk."""
    path, spz = folder / "head.html", folder / "head.spz"
    write_splats(spz, read_splats(ply))
    with gathered([ply]) as shown:
        write_page(path, shown)
    limit = 1.4 * spz.stat().st_size + 1.5e6
    opened = page.open(path.as_uri(), width_px=_SIZE_PX, height_px=_SIZE_PX)
    outside = [url for url in page.requests if not url.startswith(("file:", "blob:", "data:"))]
    return [
        Figure("viewer, one page: bytes by 1.4 of the splats' and 1.5 MB", path.stat().st_size / limit, 1.0,
               note=f"{path.stat().st_size / 1e6:.2f} MB, splats {spz.stat().st_size / 1e6:.2f} MB"),
        Figure("viewer, one page: connections", len(outside), 0),
        Figure("viewer, one page: shown", float(opened["state"] == "shown"), 1, at_most=False,
               note=f"after {opened['seconds']:.1f} s"),
    ]  # fmt: skip


def measure_colours(page: Browser, ply: Path) -> list[Figure]:
    """Compare splats of the viewer with our own drawing from three cameras."""
    cameras = _cameras()
    with torch.no_grad():
        ours = NumbaRasterizer().render(read_splats(ply), cameras)
    values = []
    with served([ply]) as url:
        page.open(url, width_px=_SIZE_PX, height_px=_SIZE_PX)
        for k in range(len(cameras)):
            page.look(select(cameras, [k]))
            own = ours.rgb[k].numpy() + 1 - ours.alpha[k].numpy()[..., None]
            values.append(psnr_db(_seen(page) - own))
    return [Figure("viewer, splats against our drawing: worst PSNR", min(values), 35.0, at_most=False, unit=" dB")]


def measure_jaw(page: Browser, glb: Path) -> list[Figure]:
    """Compare where the jaw's slider changes the picture with where it changes ours."""
    camera = select(_cameras(), [0])
    avatar = read_avatar(glb)
    rest, open_ = (mesh_drawer(*(posed(part, weights) for part in avatar.parts))(camera) for weights in ({}, _JAW))
    mine = _changed(*(np.dstack([each.rgb[0], each.alpha[0]]) for each in (rest, open_)))
    with served([glb]) as url:
        page.open(url, width_px=_SIZE_PX, height_px=_SIZE_PX)
        page.look(camera)
        page.run("viewer.setLit(false), 1")
        before = page.picture() / 255.0
        page.run(f"viewer.setExpression({{ jawOpen: {_JAW['jawOpen']} }}), 1")
        theirs = _changed(before, page.picture() / 255.0)
    return [Figure("viewer, jaw's slider: IoU of the pixels it changes", mask_iou(mine, theirs), 0.95, at_most=False)]


def _changed(a: Float[np.ndarray, "h w 4"], b: Float[np.ndarray, "h w 4"]) -> Bool[np.ndarray, "h w"]:
    return np.abs(over_white(a) - over_white(b)).max(-1) > _CHANGED


def _head(folder: Path) -> tuple[Path, Path]:
    import spinmeround

    photo = folder / "astronaut.png"
    skimage.io.imsave(photo, skimage.data.astronaut(), check_contrast=False)
    files = folder / "astronaut.ply", folder / "astronaut.glb"
    spinmeround.reconstruct(photo, out=list(files), settings=spinmeround.RunSettings(quality="draft"))
    return files


def measure(*, quick: bool, ply: Path | None = None, glb: Path | None = None) -> list[Figure]:
    """Measure all; ``quick`` is ignored."""
    del quick
    with browser() as page, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if ply is None or glb is None:
            ply, glb = _head(folder)
        figures = measure_speed(page, ply, folder) + measure_page(page, ply, folder)
        return figures + measure_colours(page, ply) + measure_jaw(page, glb)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ply", type=Path, help="splats of a head (default: the astronaut)")
    parser.add_argument("--glb", type=Path, help="its avatar")
    given = parser.parse_args()
    print_figures(measure(quick=False, ply=given.ply, glb=given.glb), title="viewer in Chromium")


if __name__ == "__main__":
    main()
