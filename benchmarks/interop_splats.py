"""Do other programs read our splats as they are? Every number that gsply and PlayCanvas' splat-transform find in them.

    python benchmarks/interop_splats.py

splat-transform is installed into a folder that vanishes, which needs node, npm and their cache or a network; without
them it is left out. A .ply holds what was given; a .spz is rounded, so that what our own reader finds is compared.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gsply
import gsply.spz
import numpy as np
import torch
from jaxtyping import Float
from npm import install
from tables import Figure, print_figures
from torch import Tensor

from spinmeround.io import read_splats, write_splats
from spinmeround.types import Splats

_PACKAGE = "@playcanvas/splat-transform@2.7.1"
_COUNT = 2000
_DEGREES = (0, 1, 2, 3)
_SIGN_POWERS = torch.tensor([0, 1, 1, 0, 1, 2, 0, 1, 0, 1, 2, 1, 1, 0, 1, 0])
"""For each harmonic the power of y and z together: its sign under half a turn about x."""


def measure(*, quick: bool) -> list[Figure]:
    """Largest difference of each kind of number, over harmonics of degree 0 to 3."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = [
            *_figures("gsply", ".ply", _gsply, folder),
            *_figures("gsply", ".spz", _gsply, folder),
        ]
        try:
            program = install(folder, _PACKAGE) / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
        except FileNotFoundError as missing:
            print(f"not read by splat-transform: {missing}")
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
    g = torch.Generator().manual_seed(degree)
    return Splats(
        torch.randn(_COUNT, 3, generator=g) * 0.2,
        torch.exp(torch.randn(_COUNT, 3, generator=g) * 0.5 - 5),
        torch.nn.functional.normalize(torch.randn(_COUNT, 4, generator=g), dim=1),
        torch.sigmoid(torch.randn(_COUNT, generator=g)),
        torch.randn(_COUNT, (degree + 1) ** 2, 3, generator=g) * 0.3,
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
    """What the program wrote of it to a .ply. It takes .ply for y down and .spz for y up, and turns between them."""
    target = path.with_name(f"{path.stem}-{path.suffix[1:]}-again.ply")
    subprocess.run(["node", str(program), "-q", "-w", str(path), str(target)], check=True, capture_output=True)
    theirs = read_splats(target, metres_per_unit=1)
    return theirs if path.suffix == ".ply" else _half_turned(theirs)


def _half_turned(splats: Splats) -> Splats:
    """Half a turn about x."""
    w, x, y, z = splats.quats_wxyz.T
    return Splats(
        splats.means * torch.tensor([1.0, -1, -1]),
        splats.scales,
        torch.stack([-x, w, -z, y], dim=1),
        splats.opacities,
        splats.sh * (-1.0) ** _SIGN_POWERS[: splats.sh.shape[1], None],
    )


def _covariances(splats: Splats) -> Float[Tensor, "n 3 3"]:
    """Shapes, the same whichever way axes are numbered or point."""
    w, x, y, z = splats.quats_wxyz.double().T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    axes = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2) * splats.scales.double()[:, None]
    return axes @ axes.mT


def main() -> None:
    """Prints the figures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print_figures(measure(quick=False), title="Our splats in other programs")


if __name__ == "__main__":
    main()
