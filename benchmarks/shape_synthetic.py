"""Shape error of heads fitted to one, two and three photos of synthetic people, whose true surface is known.

    python benchmarks/shape_synthetic.py [--quick] [--photos 3]

The figure is the median distance, over the face, from the true neutral skin to our neutral skin after the similarity
that aligns them best, in millimetres of the true head. The mean head is measured as the baseline. Each person is also
photographed once more in light from one side. Normals are compared between renders of the aligned neutral heads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import heads
import numpy as np
import synthetic_people
from command_line import benchmark_parser, run
from jaxtyping import Bool, Float, Integer
from surface_distance import Alignment, Surface, best_alignment, distances, sample_surface
from tables import Figure, print_table

from spinmeround.geometry import METRES_PER_UNIT, vertex_normals
from spinmeround.mesh_raster import interpolate, rasterize
from spinmeround.orbits import orbit_cameras
from spinmeround.template.model.head_model import PARTS, HeadModel, load_head_model

_SAMPLES = 4000
_RENDER_PX = 256
_RENDER_AZIMUTHS_DEG = (-30.0, 0.0, 30.0)
_EYES_IN_HEAD_UNITS = np.array([0.0, -0.02, 0.16])
NORMALS, SIDE_LIT = "normals, degrees", "lit from the side"
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
    truth = _face_samples(person)
    return float(np.median(distances(truth, surface, best_alignment(truth, surface, _START))))


def normal_error_deg(person: synthetic_people.Person, model: HeadModel, coarse: Float[np.ndarray, "n 3"]) -> float:
    """Return the mean angle between the normals of rendered skin, true and ours, over the true face."""
    truth = best_alignment(_face_samples(person), face_surface(model, coarse), _START)(person.neutral_mm)
    true_normals = _rendered_normals(truth, person.faces, person.face)
    ours = _rendered_normals(model.dense(coarse), model.dense_faces, model.dense_part == PARTS.index("skin"))
    both = (true_normals != 0).any(-1) & (ours != 0).any(-1)
    cosine = np.clip((true_normals[both] * ours[both]).sum(-1), -1, 1)
    return float(np.degrees(np.arccos(cosine)).mean())


def _rendered_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"], shown: Bool[np.ndarray, "f"]
) -> Float[np.ndarray, "a h w 3"]:
    """Render unit normals from the front and from both sides; 0 but on ``shown`` faces."""
    cameras = orbit_cameras(_RENDER_AZIMUTHS_DEG, [0.0] * len(_RENDER_AZIMUTHS_DEG), size_px=_RENDER_PX)
    of_vertices, pictures = vertex_normals(vertices, faces), []
    for view in range(len(cameras)):
        buffer = rasterize(vertices, faces, cameras, view)
        normals = interpolate(of_vertices, faces, buffer).astype(np.float64)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        pictures.append(normals * ((buffer.face >= 0) & shown[buffer.face])[..., None])
    return np.stack(pictures)


def _face_samples(person: synthetic_people.Person) -> Float[np.ndarray, "s 3"]:
    """Return points spread evenly over the true face, millimetres."""
    return sample_surface(person.neutral_mm, person.faces[person.face], _SAMPLES, rng=np.random.default_rng(0))


def measure_person(seed: int, photos: int, folder: Path) -> dict[str, float]:
    """Return the shape error of the mean head, by number of photos and in light from the side; normals of one photo."""
    person = synthetic_people.make_person(seed, photos=photos)
    paths = synthetic_people.write_photos(person, folder, f"person_{seed:02d}")
    model = load_head_model()
    errors = {"mean head": shape_error_mm(person, face_surface(model, model.mean))}
    for count in range(1, photos + 1):
        head, _ = heads.fit(paths[:count])
        errors[f"{count} photo" + "s" * (count > 1)] = shape_error_mm(person, face_surface(model, head.head.neutral))
        if count == 1:
            errors[NORMALS] = normal_error_deg(person, model, head.head.neutral)
    side_lit = synthetic_people.make_person(seed, side_lit=True)
    head, _ = heads.fit(synthetic_people.write_photos(side_lit, folder, f"side_lit_{seed:02d}"))
    errors[SIDE_LIT] = shape_error_mm(side_lit, face_surface(model, head.head.neutral))
    return errors


def measure(*, quick: bool, photos: int = 3, people_count: int = 20) -> list[Figure]:
    """Measure all people, or four if quick; print each."""
    with tempfile.TemporaryDirectory() as folder:
        errors = [measure_person(seed, photos, Path(folder)) for seed in range(4 if quick else people_count)]
    columns = list(errors[0])
    rows = [[f"{seed}", *[f"{e[c]:.2f}" for c in columns]] for seed, e in enumerate(errors)]
    print_table(["person", *columns], rows, title="median distance to the true face, mm; angle of normals")
    mean = {column: float(np.mean([e[column] for e in errors])) for column in columns}
    spread = [e["1 photo"] for e in errors]
    note = (
        f"mean of {len(errors)} people, {min(spread):.2f} to {max(spread):.2f}; the mean head: {mean['mean head']:.2f}"
    )
    side_lit = [e[SIDE_LIT] for e in errors]
    side_note = f"{min(side_lit):.2f} to {max(side_lit):.2f}"
    figures = [
        Figure("shape from one photo", mean["1 photo"], 0.72, unit=" mm", note=note),
        Figure("shape from one photo lit from the side", mean[SIDE_LIT], 0.85, unit=" mm", note=side_note),
        Figure("angle between rendered normals, one photo", mean[NORMALS], unit="°", note="of the neutral skin"),
    ]
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
