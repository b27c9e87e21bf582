"""Registration of the template to heads outside its shape space: synthetic people and a laser scan.

    ANNY_CACHE_DIR=... python benchmarks/avatar_fit.py [--quick] [--people 4] [--sheet OUT.png]

A surface is fitted to sixteen views of each head; the template is registered to that surface, and rigged.
Distances are from points spread evenly over the registered face to the nearest point of the surface, in millimetres of
the head; triangle quality and area are relative to the head model's own shape; lids, jaw and gaze are
those of the rigged head. The scan has no colours: its face is detected on the shaded surface.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import bench_surface
import numpy as np
import strangers
from command_line import benchmark_parser, run
from measures import MILLIMETRES_PER_UNIT
from pictures import write_rgb
from surface_distance import Surface, sample_surface
from tables import Figure, print_table

from spinmeround.inspection.expressions import expression_tiles
from spinmeround.mesh_raster import rasterize_pixels
from spinmeround.pipelines.registered_head import RegisteredHeadOnSurface, head_on_surface
from spinmeround.portrait.landmarks import BLENDSHAPE_NAMES
from spinmeround.recon.mesh_surface.fitter import SURFACE_PRESETS, NormalSurfaceFitter
from spinmeround.template.model.expression_transfer import EYES, eyeball, personal_morphs
from spinmeround.template.model.head_model import PARTS, landmark_points
from spinmeround.template.registration.fitter import RegisteredHead
from spinmeround.template.registration.model_fit import Regions
from spinmeround.types import Mesh, Views

_DISPLACEMENTS_MM = (4.0, 5.0, 6.0)
_SAMPLES = 5000
_CHIN = 152


@dataclass(frozen=True)
class Fit:
    """Measures of one head."""

    face_mm: float
    face_p95_mm: float
    flipped: int
    least_area: float
    most_area: float
    worst_quality: float
    lid_gap_mm: float
    jaw_mm: float
    seconds: float

    @property
    def row(self) -> list[str]:
        """Cells of the table's row."""
        return [
            f"{self.face_mm:.3f}", f"{self.face_p95_mm:.2f}", f"{self.flipped}", f"{self.least_area:.2f}",
            f"{self.most_area:.2f}", f"{self.worst_quality:.2f}", f"{self.lid_gap_mm:.2f}", f"{self.jaw_mm:.1f}",
            f"{self.seconds:.1f}",
        ]  # fmt: skip


HEADER = (
    "head", "face median mm", "p95 mm", "flipped", "least area", "most area", "worst quality", "lid gap mm", "jaw mm",
    "CPU s",
)  # fmt: skip


def face_distances_mm(head: RegisteredHead, surface: Mesh) -> np.ndarray:
    """Return distances from points on the registered face to the surface."""
    model = head.model
    dense = head.world_from_head(model.dense(head.posed))
    regions = Regions.of(model)
    on_face = (regions.outer_skin & (model.masks["face"] > 0.5))[model.dense_faces].all(1)
    points = sample_surface(dense, model.dense_faces[on_face], _SAMPLES, rng=np.random.default_rng(0))
    return (
        np.linalg.norm(Surface(surface.vertices, surface.faces).nearest(points)[0] - points, axis=1)
        * MILLIMETRES_PER_UNIT
    )


def lid_gap_mm(head: RegisteredHead, morphs: np.ndarray) -> float:
    """Return the greatest height of eyeball visible between shut lids from the front."""
    model, rest, highest = head.model, head.model.dense(head.neutral), 0.0
    for side in EYES:
        centre, radius = eyeball(model, head.neutral, side)
        shut = rest + morphs[BLENDSHAPE_NAMES.index(f"eyeBlink{side.removeprefix('eye_').title()}")]
        size, span = 400, 2.2 * radius
        x, y = ((shut - centre)[:, :2] / span * (1, -1) + 0.5).T * size
        drawn = rasterize_pixels(np.stack([x, y, 5 - shut[:, 2]], 1), model.dense_faces, size, size).face
        owner = np.where(drawn >= 0, model.dense_part[np.maximum(drawn, 0)], -1)
        highest = max(highest, float((owner == PARTS.index(side)).sum(0).max() * span / size * MILLIMETRES_PER_UNIT))
    return highest


def measured(views: Views) -> tuple[Fit, RegisteredHeadOnSurface]:
    """Fit a surface to one head, register the template and rig it.

    Raises:
        ValueError: no face was found on it.
    """
    surface = NormalSurfaceFitter(SURFACE_PRESETS["standard"]).fit(views, seed=0).mesh
    started = time.process_time()
    rigged = head_on_surface(views, surface)
    if rigged is None:
        raise ValueError("no face was found")
    rigged.avatar(lod=0, texture_px=2048)
    seconds = time.process_time() - started
    head, report = rigged.registered, rigged.registered.report
    gaps = face_distances_mm(head, surface)
    morphs = personal_morphs(head.model, head.neutral)
    mean = head.model.dense(head.model.mean)
    chin = int(np.linalg.norm(mean - landmark_points(head.model, head.model.mean, [_CHIN]), axis=1).argmin())
    fit = Fit(
        float(np.median(gaps)),
        float(np.percentile(gaps, 95)),
        report["flipped_faces"],
        report["area_ratio"]["least"],
        report["area_ratio"]["most"],
        report["worst_quality"],
        lid_gap_mm(head, morphs),
        float(-morphs[BLENDSHAPE_NAMES.index("jawOpen"), chin, 1] * MILLIMETRES_PER_UNIT),
        seconds,
    )
    return fit, rigged


def heads(count: int) -> dict[str, Views]:
    """Return views by name: ``count`` synthetic heads, every second with an expression, and the scan."""
    found = {}
    for seed in range(count):
        displacement_mm = _DISPLACEMENTS_MM[seed % len(_DISPLACEMENTS_MM)]
        found[f"unseen head {seed}, displaced by {displacement_mm:g} mm"] = strangers.make_unseen_head(
            seed, displacement_mm=displacement_mm, expression=seed % 2 == 1
        ).views
    found["igea"] = bench_surface.photograph(bench_surface.scan(), strangers.rig(512))
    return found


def measure(*, quick: bool, people_count: int = 4, sheet: Path | None = None) -> list[Figure]:
    """Measure all heads, or one synthetic head and the scan if quick; print each."""
    fits, rows = {}, []
    for name, views in heads(1 if quick else people_count).items():
        fits[name], rigged = measured(views)
        if sheet is not None:
            rows.append(np.hstack(list(expression_tiles(rigged.avatar(lod=0, texture_px=1024), {}).values())))
    print_table(HEADER, [[name, *fit.row] for name, fit in fits.items()], title="registered heads")
    if sheet is not None:
        write_rgb(sheet, np.vstack(rows))
    people = [fit for name, fit in fits.items() if name != "igea"]
    every = list(fits.values())
    return [
        Figure("template to surface, worst unseen head", max(f.face_mm for f in people), 0.5, unit=" mm"),
        Figure("template to surface, igea", fits["igea"].face_mm, 0.5, unit=" mm"),
        Figure("faces turned over", sum(f.flipped for f in every), 0),
        Figure("worst triangle quality against the model's own", min(f.worst_quality for f in every)),
        Figure("least area against the model's own", min(f.least_area for f in every)),
        Figure("most area against the model's own", max(f.most_area for f in every)),
        Figure("eyeball visible between shut lids", max(f.lid_gap_mm for f in every), 0.5, unit=" mm"),
        Figure("chin lowered by jawOpen, least", min(f.jaw_mm for f in every), 15, at_most=False, unit=" mm"),
        Figure("chin lowered by jawOpen, most", max(f.jaw_mm for f in every), 45, unit=" mm"),
        Figure(
            "registration and avatar, CPU time", max(f.seconds for f in every), 40, unit=" s", note="20 s on two cores"
        ),
    ]


def main() -> None:
    """Print the figures."""
    parser = benchmark_parser(
        __doc__, quick="one unseen head and the scan", sheet="neutral, blink, smile, jaw open, look left"
    )
    parser.add_argument("--people", dest="people_count", type=int, default=4, metavar="N", help="how many unseen heads")
    run(measure, parser, title="avatars on surfaces")


if __name__ == "__main__":
    main()
