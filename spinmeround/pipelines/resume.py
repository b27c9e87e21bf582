"""Runs that were killed or failed: what their finished stages made waits beside the output for the same command.

A stage's result is found again by a digest of all that went into it (pictures, cameras, seed, quality, version), so
another photo or option never meets what it did not make. Arrays only, never code: loading is safe.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import logging
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from spinmeround.errors import SpinMeRoundError
from spinmeround.io.atomic import atomic_file
from spinmeround.pipelines.backends import Rooms
from spinmeround.pipelines.outputs import Outputs
from spinmeround.types import Cameras, Mesh, Splats, TexturedMesh, Views

if TYPE_CHECKING:
    from spinmeround.recon.cameras.photometric import CameraCorrection

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Arrays = Mapping[str, np.ndarray]


class Unfinished:
    """The finished stages of one run, in a hidden folder beside its first output until the run is whole.

    Attributes:
        resumed: names of the results that an earlier run had made.
    """

    def __init__(self, outputs: Outputs, *how: str) -> None:
        """Keeps nothing where there is no output.

        Args:
            how: what decides over results beside the data: quality, device and the like.
        """
        places = (*outputs.splats, *outputs.meshes, *([outputs.views] if outputs.views else []))
        self.folder = places[0].with_name(f".{places[0].name}.unfinished") if places else None
        self.resumed: list[str] = []
        self._how = (importlib.metadata.version("spinmeround"), *how)
        self._digests: dict[int, tuple[object, bytes]] = {}

    def resumable(self, rooms: Rooms) -> Rooms:
        """The same rooms; the slow ones take what an earlier run had finished."""
        return dataclasses.replace(
            rooms,
            paint_views=self._kept("views", rooms.paint_views, _views),
            register_cameras=self._kept("cameras", rooms.register_cameras, _registration),
            fit_surface=self._kept("surface", rooms.fit_surface, _surface),
            fit_splats=self._kept("splats", rooms.fit_splats, _splats),
            paint_texture=self._kept("texture", rooms.paint_texture, _textured),
        )

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Removes what waits when the run is whole or was stopped by its user, else says where it is."""
        if self.folder is None or not self.folder.is_dir():
            return
        if kind is None or issubclass(kind, KeyboardInterrupt):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            log.info("finished stages wait in %s: the same command goes on from there", self.folder)

    def _kept(
        self, name: str, room: Callable[..., Result], restored: Callable[[Arrays], Result]
    ) -> Callable[..., Result]:
        """A room that remembers; its last argument, who is told of progress, has no part in the result."""

        def call(*arguments: Any) -> Result:
            if self.folder is None:
                return room(*arguments)
            path = self.folder / f"{name}-{self._digest((name, self._how, *arguments[:-1])).hex()[:32]}.npz"
            if path.is_file():
                try:
                    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                        result = restored({key: arrays[key] for key in arrays.files})
                    log.info("%s: as a run that did not end had finished it", name)
                    self.resumed.append(name)
                    return result
                except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                    log.warning("%s is damaged and is made anew: %s", path, error)
            result = room(*arguments)
            self._write(path, result)
            return result

        return call

    def _write(self, path: Path, result: object) -> None:
        """A run can do without: it only could not be resumed."""
        try:
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path) as unfinished, unfinished.open("wb") as file:
                np.savez(file, allow_pickle=False, **_arrays("", result))
        except (OSError, SpinMeRoundError) as error:
            log.warning("%s could not be kept, and were this run killed it would start anew: %s", path, error)

    def _digest(self, value: object) -> bytes:
        """Of a value with all it holds; arrays by their numbers, large ones only once."""
        known = self._digests.get(id(value))
        if known is not None and known[0] is value:
            return known[1]
        digest = hashlib.sha256(type(value).__name__.encode())
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in dataclasses.fields(value):
                digest.update(self._digest(getattr(value, field.name)))
            self._digests[id(value)] = (value, digest.digest())
        elif isinstance(value, list | tuple):
            for each in value:
                digest.update(self._digest(each))
        elif isinstance(value, torch.Tensor):
            digest.update(self._digest(value.numpy(force=True)))
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            for part in value if value.ndim > 1 else [value]:
                digest.update(np.ascontiguousarray(part).data)
            self._digests[id(value)] = (value, digest.digest())
        else:
            digest.update(repr(value).encode())
        return digest.digest()


def _arrays(name: str, value: object) -> dict[str, np.ndarray]:
    """What a result holds, by dotted names; what is None is left out."""
    if value is None:
        return {}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and not all(isinstance(each, str) for each in value):
        parts = [(str(index), each) for index, each in enumerate(value)]
    else:
        return {name: value.numpy(force=True) if isinstance(value, torch.Tensor) else np.asarray(value)}
    return {key: array for part, each in parts for key, array in _arrays(f"{name}.{part}", each).items()}


def _cameras(arrays: Arrays, name: str) -> Cameras:
    poses, intrinsics_px = arrays[f"{name}.camera_from_world"], arrays[f"{name}.intrinsics_px"]
    return Cameras(poses, intrinsics_px, int(arrays[f"{name}.width_px"]), int(arrays[f"{name}.height_px"]))


def _views(arrays: Arrays) -> Views:
    rgb, normals, alpha, weight = (arrays[f".{plane}"] for plane in ("rgb", "normals_world", "alpha", "weight"))
    return Views(_cameras(arrays, ".cameras"), rgb, normals, alpha, weight, tuple(arrays[".names"].tolist()))


def _registration(arrays: Arrays) -> CameraCorrection | None:
    from spinmeround.recon.cameras.photometric import CameraCorrection

    return CameraCorrection(arrays[".common"], arrays[".per_view"]) if arrays else None


def _surface(arrays: Arrays) -> tuple[Mesh, Cameras]:
    return Mesh(arrays[".0.vertices"], arrays[".0.faces"]), _cameras(arrays, ".1")


def _splats(arrays: Arrays) -> Splats:
    return Splats(*(torch.from_numpy(arrays[f".{f.name}"]) for f in dataclasses.fields(Splats)))


def _textured(arrays: Arrays) -> TexturedMesh:
    always = [f.name for f in dataclasses.fields(TexturedMesh) if f.default is dataclasses.MISSING]
    return TexturedMesh(*(arrays[f".{name}"] for name in always), normal_map=arrays.get(".normal_map"))
