"""Face-network distance between true pictures of one head: the floor for the distances of ``likeness.py``.

    python benchmarks/likeness_floor.py [--quick]

Synthetic people are photographed from the front and from the side, in the same light. The head that the package makes
of the front photo is drawn from the same azimuths. Distances are to the front photo, with the scene's background and on
white. A reconstruction cannot be expected to come nearer than the truth.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import heads
import identity
import numpy as np
import synthetic_people
from command_line import benchmark_parser, run
from tables import Figure, print_table

from spinmeround.geometry import resized

AZIMUTHS_DEG = (0.0, -30.0, 30.0, -45.0, 45.0)
_SIZE_PX = 640


def measure_person(seed: int, folder: Path) -> dict[str, list[float]]:
    """Return distances by azimuth of the true photos, the true photos on white, and our pictures on white."""
    person = synthetic_people.make_person_around(seed, AZIMUTHS_DEG)
    reference = identity.descriptor(person.photos[0])
    on_white = [
        (photo * alpha[..., None] + 255 * (1 - alpha[..., None])).astype(np.uint8)
        for photo, alpha in zip(person.photos, person.head_alpha, strict=True)
    ]
    head, _ = heads.fit([synthetic_people.write_photos(person, folder, f"person_{seed}")[0]])
    cameras = heads.orbited(resized(head.photo_cameras[0], _SIZE_PX, _SIZE_PX), AZIMUTHS_DEG)
    ours = heads.picture(head, cameras, neutral=False)
    series = {"truth": person.photos, "truth on white": on_white, "ours on white": ours}
    return {n: [identity.distance(reference, identity.descriptor(p)) for p in ps] for n, ps in series.items()}


def measure(*, quick: bool) -> list[Figure]:
    """Measure six people, or two if quick."""
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
    """Print the figures."""
    run(measure, benchmark_parser(__doc__, quick="two people"), title="likeness, floor")


if __name__ == "__main__":
    main()
