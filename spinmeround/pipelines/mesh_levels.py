"""How many faces a plain mesh has, and the coarser ones that go beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spinmeround.errors import InputError
from spinmeround.io.formats import Kind, output_kind

_FACES = 20_000
_FEWEST_FACES = 500
_COARSER = 4


@dataclass(frozen=True)
class MeshLevels:
    """A mesh and its levels of detail; an avatar has its own.

    Attributes:
        faces: of the finest, met within 2 % where the surface has that many. By default 20,000, and a ``.ply``, which
            needs no texture, holds the whole surface.
        lods: how many coarser ones there are, each with a quarter of the faces of the one before.
    """

    faces: int | None = None
    lods: int = 0

    def __post_init__(self) -> None:
        if self.faces_of(self.lods) < _FEWEST_FACES:
            raise InputError(
                f"a mesh of {self.faces_of(self.lods)} faces is no head any more; ask for {_FEWEST_FACES} or more on "
                "the coarsest level"
            )

    def faces_of(self, level: int) -> int:
        """Face budget of a level, 0 the finest."""
        return (self.faces or _FACES) // _COARSER**level

    def whole(self, mesh: Path) -> bool:
        """Whether a mesh file holds the whole surface."""
        return mesh.suffix.lower() == ".ply" and self.faces is None and self.lods == 0

    def files(self, out: Sequence[Path], *, ply: Kind) -> dict[Path, int]:
        """Where the coarser levels go, ``head_lod1.glb`` beside ``head.glb``, and which level that is."""
        meshes = [path for path in out if output_kind(path, ply=ply) == "mesh"]
        return {
            path.with_name(f"{path.stem}_lod{level}{path.suffix}"): level
            for path in meshes
            for level in range(1, self.lods + 1)
        }
