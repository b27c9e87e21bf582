"""Resuming a run that was killed or failed: what its finished stages made waits beside the output for the same command.

A stage's result is found again by the key of the run, a digest of settings, inputs and version (``settings.run_key``),
so that another photo or option never meets what it did not make. Arrays only, never code. A digest of their bytes keeps
damaged files out, not those that somebody made to fit; links and meshes with faces of no vertex are not taken either.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from spinmeround.errors import CancelledError, SpinMeRoundError
from spinmeround.io.atomic import atomic_file
from spinmeround.io.meshes.faults import mesh_fault
from spinmeround.pipelines.outputs import Outputs
from spinmeround.types import Cameras, Mesh, PriorResult, Splats, SurfaceFit, TexturedMesh, Views

if TYPE_CHECKING:
    from spinmeround.recon.cameras.photometric import CameraCorrection

log = logging.getLogger(__name__)

_DIGEST = "digest"

Result = TypeVar("Result")
Arrays = Mapping[str, np.ndarray]


class ResumeStore:
    """The finished stages of one run, in a hidden folder beside its first output until the run is whole.

    Attributes:
        resumed: names of the results that an earlier run had made.
    """

    def __init__(self, outputs: Outputs, *, key: str) -> None:
        """Open the store; nothing is kept if there is no output.

        Args:
            key: of the run; results are found under it alone.
        """
        places = (*outputs.splats, *outputs.meshes, *([outputs.views] if outputs.views else []))
        self.folder = places[0].with_name(f".{places[0].name}.unfinished") if places else None
        self.resumed: list[str] = []
        self._key = key

    def __enter__(self) -> ResumeStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove what waits if the run is whole or was stopped by its user; else say where it is."""
        if self.folder is None or not self.folder.is_dir():
            return
        if kind is None or issubclass(kind, KeyboardInterrupt | CancelledError):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            log.info("finished stages wait in %s: the same command goes on from there", self.folder)

    def get_or_make(
        self,
        stage: str,
        make: Callable[[], Result],
        load: Callable[[Arrays], Result],
        *,
        variant: str = "",
        keep: Callable[[Result], bool] = lambda _: True,
    ) -> Result:
        """Return a stage's result from an earlier run of the same key, else make it and keep it.

        Args:
            load: makes the result from its arrays, see ``to_arrays``.
            variant: tells results of one stage in one run apart.
            keep: whether a result can be kept at all.
        """
        if self.folder is None or self.folder.is_symlink():
            return make()
        path = self.folder / f"{stage}{variant}-{self._key}.npz"
        if path.is_file():
            try:
                result = load(_read_arrays(path))
                log.info("%s: as a run that did not end had finished it", stage)
                self.resumed.append(stage)
                return result
            except Exception as error:  # zipfile and numpy raise a dozen kinds over bytes that are none of theirs
                log.warning("%s is damaged and is made anew: %s", path, error)
        result = make()
        if keep(result):
            self._write(path, result)
        return result

    def _write(self, path: Path, result: object) -> None:
        """Keep a result; a run can do without: it only could not be resumed."""
        try:
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path) as unfinished, unfinished.open("wb") as file:
                arrays = to_arrays(result)
                np.savez(file, allow_pickle=False, **arrays, **{_DIGEST: np.asarray(_digest(arrays))})
        except (OSError, SpinMeRoundError) as error:
            log.warning("%s could not be kept, and were this run killed it would start anew: %s", path, error)


def _read_arrays(path: Path) -> Arrays:
    """Read what ``_write`` wrote.

    Raises:
        ValueError: a link, packed so that it could unpack to any size, or other bytes than were written.
    """
    if path.is_symlink():
        raise ValueError("it is a link")
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as packed:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in packed.infolist()):
                raise ValueError("its arrays are compressed")
        file.seek(0)
        with np.load(file, allow_pickle=False) as opened:
            arrays = {key: opened[key] for key in opened.files}
    if str(arrays.pop(_DIGEST, "")) != _digest(arrays):
        raise ValueError("its digest is of other bytes")
    return arrays


def _digest(arrays: Arrays) -> str:
    digest = hashlib.blake2b()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def to_arrays(value: object, name: str = "") -> dict[str, np.ndarray]:
    """Return what a result holds as arrays by dotted names; what is None is left out."""
    if value is None:
        return {}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {key: array for part, each in parts for key, array in to_arrays(each, f"{name}.{part}").items()}
    if isinstance(value, Mapping):
        return {name: np.asarray(json.dumps(value))}
    return {name: value.numpy(force=True) if isinstance(value, torch.Tensor) else np.asarray(value)}


def load_prior_result(arrays: Arrays) -> PriorResult:
    """Restore the views of stage one and its part of the report."""
    rgb, normals, alpha, weight = (arrays[f".views.{plane}"] for plane in ("rgb", "normals_world", "alpha", "weight"))
    names = tuple(arrays[".views.names"].tolist())
    exact = bool(arrays[".views.exact_cameras"])
    views = Views(_load_cameras(arrays, ".views.cameras"), rgb, normals, alpha, weight, names, exact)
    return PriorResult(views, json.loads(str(arrays[".report"])))


def load_correction(arrays: Arrays) -> CameraCorrection | None:
    """Restore a correction of cameras, or that there was none."""
    from spinmeround.recon.cameras.photometric import CameraCorrection

    if not arrays:
        return None
    return CameraCorrection(*(arrays[f".{field.name}"] for field in dataclasses.fields(CameraCorrection)))


def load_surface(arrays: Arrays) -> SurfaceFit:
    """Restore a surface and its cameras."""
    mesh = _sound(Mesh(arrays[".mesh.vertices"], arrays[".mesh.faces"]))
    return SurfaceFit(mesh, _load_cameras(arrays, ".cameras"))


def load_splats(arrays: Arrays) -> Splats:
    """Restore splats."""
    return Splats(*(torch.from_numpy(arrays[f".{field.name}"]) for field in dataclasses.fields(Splats)))


def load_textured(arrays: Arrays) -> TexturedMesh:
    """Restore a textured mesh."""
    required = [field.name for field in dataclasses.fields(TexturedMesh) if field.default is dataclasses.MISSING]
    return _sound(TexturedMesh(*(arrays[f".{name}"] for name in required), normal_map=arrays.get(".normal_map")))


AnyMesh = TypeVar("AnyMesh", Mesh, TexturedMesh)


def _sound(mesh: AnyMesh) -> AnyMesh:
    """Return the mesh; a face that refers to no vertex would end in a crash far from here."""
    fault = mesh_fault(mesh)
    if fault:
        raise ValueError(fault)
    return mesh


def _load_cameras(arrays: Arrays, name: str) -> Cameras:
    poses, intrinsics_px = arrays[f"{name}.camera_from_world"], arrays[f"{name}.intrinsics_px"]
    return Cameras(poses, intrinsics_px, int(arrays[f"{name}.width_px"]), int(arrays[f"{name}.height_px"]))
