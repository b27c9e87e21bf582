"""Shape error of heads fitted to one, two and three photos of synthetic people, whose true surface is known.

    python benchmarks/shape_synthetic.py [--quick] [--photos 3]

The figure is the median distance, over the face, from the true neutral skin to our neutral skin after the similarity
that aligns them best, in millimetres of the true head. The mean head is measured as the baseline.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import heads
import numpy as np
import synthetic_people
from command_line import benchmark_parser, run
from surface_distance import Alignment, Surface, distance_after_alignment, sample_surface
from tables import Figure, print_table

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.template.model.head_model import PARTS, HeadModel, load_head_model

_SAMPLES = 4000
_EYES_IN_HEAD_UNITS = np.array([0.0, -0.02, 0.16])
_START = Alignment(0.001 / METRES_PER_UNIT, np.eye(3), _EYES_IN_HEAD_UNITS)
"""Start of the alignment: from a person's millimetres around the eyes to head units."""


def face_surface(model: HeadModel, coarse: np.ndarray) -> Surface:
    """Return the skin of our head that is visible from the front."""
    vertices, faces = model.dense(coarse), model.dense_faces
    faces = faces[model.dense_part == PARTS.index("skin")]
    return Surface(
        vertices, faces[synthetic_people.visible_faces(vertices, faces, azimuths_deg=(-60, -40, -20, 0, 20, 40, 60))]
    )


def shape_error_mm(person: synthetic_people.Person, surface: Surface) -> float:
    """Return the median distance over the true face."""
    rng = np.random.default_rng(0)
    truth = sample_surface(person.neutral_mm, person.faces[person.face], _SAMPLES, rng=rng)
    return float(np.median(distance_after_alignment(truth, surface, _START)))


def measure_person(seed: int, photos: int, folder: Path) -> dict[str, float]:
    """Return the shape error of the mean head and by number of photos."""
    person = synthetic_people.make_person(seed, photos=photos)
    paths = synthetic_people.write_photos(person, folder, f"person_{seed:02d}")
    model = load_head_model()
    errors = {"mean head": shape_error_mm(person, face_surface(model, model.mean))}
    for count in range(1, photos + 1):
        head, _ = heads.fit(paths[:count])
        errors[f"{count} photo" + "s" * (count > 1)] = shape_error_mm(
            person, face_surface(head.model, head.head.neutral)
        )
    return errors


def measure(*, quick: bool, photos: int = 3, people_count: int = 20) -> list[Figure]:
    """Measure all people, or four if quick; print each."""
    with tempfile.TemporaryDirectory() as folder:
        errors = [measure_person(seed, photos, Path(folder)) for seed in range(4 if quick else people_count)]
    columns = list(errors[0])
    rows = [[f"{seed}", *[f"{e[c]:.2f}" for c in columns]] for seed, e in enumerate(errors)]
    print_table(["person", *columns], rows, title="median distance to the true face, mm")
    mean = {column: float(np.mean([e[column] for e in errors])) for column in columns}
    spread = [e["1 photo"] for e in errors]
    note = (
        f"mean of {len(errors)} people, {min(spread):.2f} to {max(spread):.2f}; the mean head: {mean['mean head']:.2f}"
    )
    figures = [Figure("shape from one photo", mean["1 photo"], 1.2, unit=" mm", note=note)]
    if photos > 1:
        better = sum(e["2 photos"] < e["1 photo"] for e in errors)
        note = f"better for {better} of {len(errors)}"
        figures.append(Figure("shape from two photos", mean["2 photos"], mean["1 photo"], unit=" mm", note=note))
    if photos > 2:
        better = sum(e["3 photos"] < e["2 photos"] for e in errors)
        note = f"better than with two for {better} of {len(errors)}"
        figures.append(Figure("shape from three photos", mean["3 photos"], mean["2 photos"], unit=" mm", note=note))
    return figures


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(__doc__, quick="four people")
    parser.add_argument("--photos", type=int, choices=(1, 2, 3), default=3, help="photos a person, at most")
    run(measure, parser, title="shape of synthetic people")


if __name__ == "__main__":
    main()
