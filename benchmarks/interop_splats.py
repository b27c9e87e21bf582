"""Our splat files as read by gsply and PlayCanvas' splat-transform, compared number by number.

    python benchmarks/interop_splats.py

splat-transform is installed into a temporary folder, which needs node, npm and their cache or a network; without them
it is skipped. A .ply is compared with the splats given, a .spz, which is rounded, with what our own reader returns.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gsply
import gsply.spz
import numpy as np
import torch
from command_line import benchmark_parser, run
from jaxtyping import Float
from npm import install
from tables import Figure
from torch import Tensor

from spinmeround.io import read_splats, write_splats
from spinmeround.types import Splats

_PACKAGE = "@playcanvas/splat-transform@3.7.0"
_COUNT = 2000
_DEGREES = (0, 1, 2, 3)


def measure(*, quick: bool) -> list[Figure]:
    """Return the largest difference of each attribute over harmonics of degree 0 to 3."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = [
            *_figures("gsply", ".ply", _gsply, folder),
            *_figures("gsply", ".spz", _gsply, folder),
        ]
        try:
            program = install(folder, _PACKAGE) / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
        except FileNotFoundError as missing:
            print(f"skipped splat-transform: {missing}")
            return figures
        for suffix in (".ply",) if quick else (".ply", ".spz"):
            figures += _figures("splat-transform", suffix, lambda path: _converted(program, path), folder)
    return figures


def _figures(reader: str, suffix: str, read: Callable[[Path], Splats], folder: Path) -> Iterator[Figure]:
    errors = {"positions": 0.0, "shapes": 0.0, "opacities": 0.0, "harmonics": 0.0}
    for degree in _DEGREES:
        path = folder / f"{reader}{degree}{suffix}"
        given = _splats(degree)
        write_splats(path, given, metres_per_unit=1)
        expected = given if suffix == ".ply" else read_splats(path, metres_per_unit=1)
        theirs = read(path)
        shapes = _covariances(expected)
        apart = (_covariances(theirs) - shapes).flatten(1).norm(dim=1) / shapes.flatten(1).norm(dim=1)
        for what, error in (
            ("positions", (theirs.means - expected.means).abs().max()),
            ("shapes", apart.max()),
            ("opacities", (theirs.opacities - expected.opacities).abs().max()),
            ("harmonics", (theirs.sh - expected.sh).abs().max()),
        ):
            errors[what] = max(errors[what], float(error))
    for what, error in errors.items():
        bar = 1e-4 if what == "shapes" else 1e-5
        yield Figure(f"{reader} reads {suffix}: {what}", error, bar, note="largest difference, harmonics 0 to 3")


def _splats(degree: int) -> Splats:
    generator = torch.Generator().manual_seed(degree)
    return Splats(
        torch.randn(_COUNT, 3, generator=generator) * 0.2,
        torch.exp(torch.randn(_COUNT, 3, generator=generator) * 0.5 - 5),
        torch.nn.functional.normalize(torch.randn(_COUNT, 4, generator=generator), dim=1),
        torch.sigmoid(torch.randn(_COUNT, generator=generator)),
        torch.randn(_COUNT, (degree + 1) ** 2, 3, generator=generator) * 0.3,
    )


def _gsply(path: Path) -> Splats:
    read = gsply.plyread(str(path)) if path.suffix == ".ply" else gsply.spz.read_spz(str(path))
    harmonics = [np.asarray(read.sh0).reshape(len(read.means), 1, 3)]
    if read.shN is not None and read.shN.size:
        harmonics.append(np.asarray(read.shN))
    quats = torch.from_numpy(np.array(read.quats))
    return Splats(
        torch.from_numpy(np.array(read.means)),
        torch.from_numpy(np.exp(read.scales)),
        torch.nn.functional.normalize(quats, dim=1),
        torch.sigmoid(torch.from_numpy(np.array(read.opacities)).ravel()),
        torch.from_numpy(np.concatenate(harmonics, axis=1)),
    )


def _converted(program: Path, path: Path) -> Splats:
    """Convert to .ply by the program and read that."""
    target = path.with_name(f"{path.stem}-{path.suffix[1:]}-again.ply")
    subprocess.run(["node", str(program), "-q", "-w", str(path), str(target)], check=True, capture_output=True)
    return read_splats(target, metres_per_unit=1)


def _covariances(splats: Splats) -> Float[Tensor, "n 3 3"]:
    """Return covariances, which do not depend on the order or signs of the axes."""
    w, x, y, z = splats.quats_wxyz.double().T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    axes = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2) * splats.scales.double()[:, None]
    return axes @ axes.mT


def main() -> None:
    """Print the figures."""
    run(measure, benchmark_parser(__doc__), title="Our splats in other programs")


if __name__ == "__main__":
    main()
