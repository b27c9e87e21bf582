"""Splats fitted to the template's pictures, compared with the template's pictures from held-out cameras.

    python benchmarks/splats_heldout.py [--quick]

Each head is rendered at rest from the preset's rig and fitted by the preset's stage two. The splats are compared with
the template's pictures from twelve cameras between those of the rig. PSNR is over the head and a margin of two pixels.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import datasets
import heads
import numpy as np
from command_line import benchmark_parser, run
from jaxtyping import Float
from measures import psnr_db
from tables import Figure, print_table

from spinmeround.configs import Quality, preset
from spinmeround.images import composite
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.pipelines.backends import build_backends
from spinmeround.pipelines.priors.directions import orbit_directions
from spinmeround.pipelines.priors.template import cameras_around
from spinmeround.pipelines.settings import RunSettings
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.types import no_progress

HELD_OUT = tuple((11.25 + 30.0 * k, (-8.0, 0.0, 6.0)[k % 3]) for k in range(12))
"""Azimuth and elevation of the held-out cameras, degrees."""

PEOPLE = ("astronaut", "obama", "biden", "video_217")
"""Long hair, hair as short as a pixel is wide, hardly any hair, and a frame of a turntable video."""


def psnr_on_head(
    ours: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"]
) -> float:
    """Return the PSNR over the head and two pixels around it, dB."""
    head = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return psnr_db(ours[head] - truth[head])


def measure_quality(quality: Quality, photo: Path) -> tuple[list[float], dict[str, float]]:
    """Return the PSNR of each held-out camera, dB, and seconds by stage."""
    head, _ = heads.fit([photo])
    size = preset(quality).view_size_px
    cameras, names = cameras_around(
        orbit_directions(preset(quality).orbit),
        size_px=size,
        photo_cameras=head.photo_cameras,
        focal_widths=WHOLE_FOCAL_WIDTHS,
    )
    views = head.render(cameras, neutral=True, names=names)
    backends = build_backends(RunSettings(quality=quality, prior="template", device="cpu"))
    started = time.perf_counter()
    painted = head.painted_surface(cameras, neutral=True)
    splats = backends.fit_painted_splats(views, painted, seed=0, progress=no_progress)
    seconds = {"splats": time.perf_counter() - started}
    held_out = orbit_cameras(*zip(*HELD_OUT, strict=True), size_px=size, focal_widths=WHOLE_FOCAL_WIDTHS)
    truth = head.render(held_out, neutral=True)
    rendering = NumbaRasterizer().render(splats, held_out)
    ours = rendering.rgb.detach().numpy() + 1 - rendering.alpha.detach().numpy()[..., None]
    expected = composite(truth.rgb, truth.alpha)
    return [psnr_on_head(*each) for each in zip(ours, expected, truth.alpha, strict=True)], seconds


def measure(*, quick: bool) -> list[Figure]:
    """Measure the standard preset for several people, or the draft preset for one of them if quick."""
    quality: Quality = "draft" if quick else "standard"
    names = PEOPLE[:1] if quick else PEOPLE
    with tempfile.TemporaryDirectory() as folder:
        photos = datasets.photos(Path(folder))
        results = {name: measure_quality(quality, photos[name]) for name in names}
    by_camera = zip(HELD_OUT, *(values for values, _ in results.values()), strict=True)
    rows = [[f"{a:g}", f"{e:g}", *(f"{value:.2f}" for value in values)] for (a, e), *values in by_camera]
    print_table(["azimuth", "elevation", *names], rows, title=f"held-out views, {quality}, PSNR in dB")
    bar = None if quick else 36.0
    return [
        Figure(
            f"splats, held-out views of the head, {name}", float(np.mean(values)), bar, at_most=False, unit=" dB",
            note=f"{quality}; lowest {min(values):.1f}; " + ", ".join(f"{k} {v:.0f} s" for k, v in seconds.items()),
        )
        for name, (values, seconds) in results.items()
    ]  # fmt: skip


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="the draft preset, which has no bar"), title="splats")


if __name__ == "__main__":
    main()
