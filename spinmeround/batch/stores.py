"""Where a batch is written to: a folder, or an object store through ``fsspec``.

A head is made in a folder of its own and becomes part of the batch in one step: a folder is moved into place; in an
object store, which moves nothing, ``head.json`` is written last, and a head without it is none.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from spinmeround.errors import InputError, MissingDependencyError, OutputError
from spinmeround.io.atomic import atomic_file, check_folder

HEADS = "heads"
"""Folder that holds the folders of the heads."""
MARK = "head.json"
"""File of a finished head: its row."""
_UNFINISHED = ".unfinished"
_PROBE_S = 1.0
"""Longer than shards that start at the same time hold the lock of a whole run, only to see whether there is one."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def local_path(place: str) -> Path | None:
    """Return a path, or that of a ``file://`` URL; None for what is not on a disk."""
    if place.startswith("file://"):
        return Path(place.removeprefix("file://"))
    return None if _SCHEME.match(place) else Path(place)


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return the ``fsspec`` file system of a URL, and the path in it.

    Raises:
        MissingDependencyError: the package for this kind of URL is not installed.
        InputError: no such kind of URL.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        packages = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
        package = packages.get(url.split("://")[0])
        remedy = f"pip install {package}" if package else str(error)
        raise MissingDependencyError(f"{url}: such URLs need a package of their own: {remedy}") from error
    except ValueError as error:
        raise InputError(f"{url}: {error}") from error


class Store(ABC):
    """What a batch is written to."""

    @abstractmethod
    def prepare(self) -> None:
        """Check that it can be written, before anything is made.

        Raises:
            OutputError: it cannot.
        """

    @abstractmethod
    def session(self, name: str, *, alone: bool) -> AbstractContextManager[Any]:
        """Return a context in which this run, and no other, writes the tables of this name.

        Args:
            alone: whether all heads are this run's, so that no shard may run beside it, nor it beside a shard.

        Raises:
            OutputError: another run is writing it.
        """

    @abstractmethod
    def has_head(self, name: str, files: Sequence[str]) -> bool:
        """Whether a finished head is there, with these files where that can be seen at no cost."""

    @abstractmethod
    def read_mark(self, name: str, files: Sequence[str]) -> str | None:
        """Return the text of a finished head's ``head.json``; None if there is none, as for ``has_head``."""

    @abstractmethod
    def workspace(self, name: str) -> AbstractContextManager[Path]:
        """Return a context that yields an empty folder to make a head in, and removes what is left there."""

    @abstractmethod
    def publish(self, folder: Path, name: str) -> None:
        """Make all that a workspace holds the head of this name, in place of an earlier one."""

    @abstractmethod
    def remove_head(self, name: str) -> None:
        """Remove a head, if there is one."""

    @abstractmethod
    def table_names(self) -> list[str]:
        """Return the names of the CSV files beside the heads."""

    @abstractmethod
    def copy_table(self, name: str, to: Path) -> None:
        """Copy one of these to this machine."""

    @abstractmethod
    def own_file(self, name: str) -> Path:
        """Return where on this machine a file that this process alone appends to lies, as the store has it."""

    @abstractmethod
    def upload_own(self, name: str) -> None:
        """Bring a file of ``own_file`` to where readers look for it."""

    @abstractmethod
    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """Return a context that yields a temporary path; the file written there becomes ``name`` at once."""


class FolderStore(Store):
    """A folder, on this machine or one that all machines see."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Create the folder.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            (self._root / HEADS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self._root}: {(error.strerror or str(error)).lower()}") from error
        check_folder(self._root, may_replace=lambda _: True)

    @contextmanager
    def session(self, name: str, *, alone: bool) -> Iterator[None]:
        """Hold a lock that ends with this process, however it ends."""
        from filelock import FileLock, Timeout

        batch = name.partition(".")[0]
        try:
            with FileLock(self._root / f".{name}.lock", timeout=0):
                for other in self._root.glob(f".{batch}.*.lock" if alone else f".{batch}.lock"):
                    with FileLock(other, timeout=_PROBE_S):
                        pass  # nobody holds it
                try:
                    yield
                finally:
                    with suppress(OSError):
                        (self._root / _UNFINISHED).rmdir()
        except Timeout as error:
            raise OutputError(f"another run is writing to {self._root}: wait for it, or name another folder") from error

    def has_head(self, name: str, files: Sequence[str]) -> bool:
        """Whether a finished head is there with all its files."""
        return all((self._root / HEADS / name / each).is_file() for each in (MARK, *files))

    def read_mark(self, name: str, files: Sequence[str]) -> str | None:
        """Return a finished head's ``head.json``."""
        if not self.has_head(name, files):
            return None
        return (self._root / HEADS / name / MARK).read_text(encoding="utf-8")

    @contextmanager
    def workspace(self, name: str) -> Iterator[Path]:
        """Yield a folder on the same disk; what a killed attempt at this head left is removed first."""
        area = self._root / _UNFINISHED / name
        shutil.rmtree(area, ignore_errors=True)
        folder = area / secrets.token_hex(4)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(area, ignore_errors=True)

    def publish(self, folder: Path, name: str) -> None:
        """Move the folder into place; an earlier head goes with the workspace."""
        target = self._root / HEADS / name
        if target.exists():
            target.rename(folder.with_name(f"{folder.name}.replaced"))
        folder.rename(target)

    def remove_head(self, name: str) -> None:
        """Remove a head; its mark first."""
        (self._root / HEADS / name / MARK).unlink(missing_ok=True)
        shutil.rmtree(self._root / HEADS / name, ignore_errors=True)

    def table_names(self) -> list[str]:
        """Return the tables in the folder."""
        return sorted(path.name for path in self._root.glob("batch*.csv"))

    def copy_table(self, name: str, to: Path) -> None:
        """Copy a file."""
        shutil.copyfile(self._root / name, to)

    def own_file(self, name: str) -> Path:
        """Return the file itself."""
        return self._root / name

    def upload_own(self, name: str) -> None:
        """Do nothing: readers look at the file itself."""

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """Write beside and move."""
        return atomic_file(self._root / name)


class ObjectStore(Store):
    """A prefix of an object store."""

    def __init__(self, url: str) -> None:
        self._files, self._root = open_filesystem(url)
        self._own = Path()
        self._listed: set[str] | None = None

    def prepare(self) -> None:
        """Write and remove an object.

        Raises:
            OutputError: it cannot be written.
        """
        probe = self._at(f".{secrets.token_hex(4)}.part")
        try:
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(probe, b"")
            self._files.rm_file(probe)
        except Exception as error:  # each file system has its own
            raise OutputError(f"cannot write {self._root}: {' '.join(str(error).split())}") from error

    @contextmanager
    def session(self, name: str, *, alone: bool) -> Iterator[None]:
        """Keep copies of the tables on this machine; object stores have no locks."""
        with tempfile.TemporaryDirectory(prefix="spmr-") as folder:
            self._own = Path(folder)
            yield

    def has_head(self, name: str, files: Sequence[str]) -> bool:
        """Whether a folder of that name was there when the first was asked for: one listing instead of many questions.

        Of a head whose row says that it is done, the mark was written before the row.
        """
        if self._listed is None:
            try:
                self._listed = {path.rstrip("/").rsplit("/", 1)[-1] for path in self._files.ls(self._at(HEADS), False)}
            except FileNotFoundError:
                self._listed = set()
        return name in self._listed

    def read_mark(self, name: str, files: Sequence[str]) -> str | None:
        """Return a finished head's ``head.json``."""
        try:
            return self._files.cat_file(self._at(HEADS, name, MARK)).decode()
        except FileNotFoundError:
            return None

    @contextmanager
    def workspace(self, name: str) -> Iterator[Path]:
        """Yield a temporary folder of this machine."""
        with tempfile.TemporaryDirectory(prefix="spmr-") as folder:
            yield Path(folder)

    def publish(self, folder: Path, name: str) -> None:
        """Remove the mark of an earlier head, then what else it alone had; upload all files, the mark last."""
        self._remove_mark(name)
        files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == MARK)
        keys = [self._at(HEADS, name, path.relative_to(folder).as_posix()) for path in files]
        self._files.invalidate_cache()
        with suppress(FileNotFoundError):  # some say so where nothing is
            for key in set(self._files.find(self._at(HEADS, name))) - set(keys):
                self._files.rm_file(key)
        for path, key in zip(files, keys, strict=True):
            self._files.put_file(str(path), key)

    def remove_head(self, name: str) -> None:
        """Remove a head; its mark first."""
        if self._remove_mark(name):
            self._files.rm(self._at(HEADS, name), recursive=True)

    def table_names(self) -> list[str]:
        """Return the tables under the prefix."""
        return sorted(path.rsplit("/", 1)[-1] for path in self._files.glob(self._at("batch*.csv")))

    def copy_table(self, name: str, to: Path) -> None:
        """Fetch an object."""
        self._files.get_file(self._at(name), str(to))

    def own_file(self, name: str) -> Path:
        """Return a copy on this machine, which lasts as long as the session."""
        path = self._own / name
        if not path.exists() and self._files.exists(self._at(name)):
            self.copy_table(name, path)
        return path

    def upload_own(self, name: str) -> None:
        """Upload the copy."""
        self._files.put_file(str(self.own_file(name)), self._at(name))

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Upload what was written: an object appears whole."""
        with tempfile.TemporaryDirectory(prefix="spmr-") as folder:
            path = Path(folder) / name
            yield path
            self._files.put_file(str(path), self._at(name))

    def _remove_mark(self, name: str) -> bool:
        try:
            self._files.rm_file(self._at(HEADS, name, MARK))
        except FileNotFoundError:
            return False
        return True

    def _at(self, *parts: str) -> str:
        return "/".join((self._root.rstrip("/"), *parts))


def open_store(out: str) -> Store:
    """Return what a place is: a folder, or a prefix of an object store.

    Raises:
        MissingDependencyError, InputError: a URL that cannot be used.
    """
    path = local_path(out)
    return ObjectStore(out) if path is None else FolderStore(path.absolute())
