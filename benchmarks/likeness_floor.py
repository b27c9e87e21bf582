"""How far apart are two true pictures of one head, to the face network? No reconstruction can be expected to be nearer.

    python benchmarks/likeness_floor.py [--quick]

Synthetic people are photographed from the front and turned, in the same light; the same turns are drawn of the head
that the package makes of the front photo. Distances are to the front photo, with the scene's background and on white.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import heads
import identity
import numpy as np
import people
from tables import Figure, print_figures, print_table

from spinmeround.geometry import resized

AZIMUTHS_DEG = (0.0, -30.0, 30.0, -45.0, 45.0)
_SIZE_PX = 640


def measure_person(seed: int, folder: Path) -> dict[str, list[float]]:
    """Distances by azimuth: the truth, the truth on white, ours on white."""
    turned = people.make_turned(seed, AZIMUTHS_DEG)
    reference = identity.descriptor(turned.photos[0])
    on_white = [
        (photo * alpha[..., None] + 255 * (1 - alpha[..., None])).astype(np.uint8)
        for photo, alpha in zip(turned.photos, turned.head_alpha, strict=True)
    ]
    head, _ = heads.fit([people.write_photos(turned, folder, f"person_{seed}")[0]])
    cameras = heads.orbited(resized(head.photo_cameras[0], _SIZE_PX, _SIZE_PX), AZIMUTHS_DEG)
    ours = heads.picture(head, cameras, keep_expression=True)
    series = {"truth": turned.photos, "truth on white": on_white, "ours on white": ours}
    return {n: [identity.distance(reference, identity.descriptor(p)) for p in ps] for n, ps in series.items()}


def measure(*, quick: bool) -> list[Figure]:
    """Six people, or two when quick."""
    with tempfile.TemporaryDirectory() as folder:
        measured = [measure_person(seed, Path(folder)) for seed in range(2 if quick else 6)]
    means = {name: np.mean([m[name] for m in measured], axis=0) for name in measured[0]}
    rows = [[name, *[f"{value:.3f}" for value in values]] for name, values in means.items()]
    print_table(["distance", *map(str, AZIMUTHS_DEG)], rows, title="synthetic people, distance to their front photo")
    return [
        Figure(f"synthetic, {name}, ±{angle}°", float(values[k : k + 2].mean()), note="for comparison")
        for name, values in means.items()
        for angle, k in ((30, 1), (45, 3))
    ]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two people")
    print_figures(measure(quick=parser.parse_args().quick), title="likeness, floor")


if __name__ == "__main__":
    main()
