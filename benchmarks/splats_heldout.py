"""Do the splats show what stage one showed? The template's own pictures from cameras the fit has not seen.

    python benchmarks/splats_heldout.py [--quick]

The astronaut's head is photographed by the preset's rig, fitted by the preset's stage two, and held against the
template's pictures from twelve cameras that lie between those of the rig. PSNR is over the head and two pixels more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import datasets
import heads
import numpy as np
from jaxtyping import Float
from tables import Figure, print_figures, print_table

from spinmeround.configs import Quality, preset
from spinmeround.images import composite
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.pipelines.rooms import rooms_of
from spinmeround.pipelines.stage_one import cameras_around, rig_directions
from spinmeround.recon.raster_numba import NumbaRasterizer

HELD_OUT = tuple((11.25 + 30.0 * k, (-8.0, 0.0, 6.0)[k % 3]) for k in range(12))
"""Azimuth and elevation of the cameras nothing was fitted to."""


def psnr_on_head(
    ours: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"]
) -> float:
    """Peak signal to noise over the head and two pixels around it, decibel."""
    head = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return float(-10 * np.log10(np.mean((ours[head] - truth[head]) ** 2)))


def _silent(share: float, message: str) -> None:
    """Progress nobody watches."""


def measure_quality(quality: Quality, photo: Path) -> tuple[list[float], dict[str, float]]:
    """PSNR by held-out camera, and seconds by stage."""
    head, _ = heads.fit([photo])
    size = preset(quality).view_size_px
    cameras, names = cameras_around(
        rig_directions(preset(quality).rig),
        size_px=size,
        photo_cameras=head.photo_cameras,
        focal_widths=WHOLE_FOCAL_WIDTHS,
    )
    views, rooms = head.render(cameras, names=names), rooms_of(quality, "cpu")
    started = time.perf_counter()
    surface = rooms.fit_surface(views, 0, _silent)
    shaped = time.perf_counter()
    splats = rooms.fit_splats(views, surface, 0, _silent)
    seconds = {"surface": shaped - started, "splats": time.perf_counter() - shaped}
    held_out = orbit_cameras(*zip(*HELD_OUT, strict=True), size_px=size, focal_widths=WHOLE_FOCAL_WIDTHS)
    truth = head.render(held_out)
    rendering = NumbaRasterizer().render(splats, held_out)
    ours = rendering.rgb.detach().numpy() + 1 - rendering.alpha.detach().numpy()[..., None]
    expected = composite(truth.rgb, truth.alpha)
    return [psnr_on_head(*each) for each in zip(ours, expected, truth.alpha, strict=True)], seconds


def measure(*, quick: bool) -> list[Figure]:
    """The standard preset, or the draft one when quick."""
    quality: Quality = "draft" if quick else "standard"
    with tempfile.TemporaryDirectory() as folder:
        values, seconds = measure_quality(quality, datasets.photos(Path(folder))["astronaut"])
    rows = [[f"{a:g}", f"{e:g}", f"{value:.2f}"] for (a, e), value in zip(HELD_OUT, values, strict=True)]
    print_table(["azimuth", "elevation", "PSNR, dB"], rows, title=f"held-out views, {quality}")
    note = f"{quality}; lowest {min(values):.1f}; " + ", ".join(f"{k} {v:.0f} s" for k, v in seconds.items())
    bar = None if quick else 36.0
    return [
        Figure("splats, held-out views of the head", float(np.mean(values)), bar, at_most=False, unit=" dB", note=note)
    ]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the draft preset, which has no bar")
    print_figures(measure(quick=parser.parse_args().quick), title="splats")


if __name__ == "__main__":
    main()
