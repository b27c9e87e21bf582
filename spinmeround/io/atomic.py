"""Write files and folders under a temporary name and move them into place, so that a name never holds half a file.

This protects against errors and Ctrl-C, not against power loss: nothing is flushed to the disk.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spinmeround.errors import OutputError, ResourceError, SpinMeRoundError

_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def check_file(path: Path | str, *, needs_bytes: int = 0) -> None:
    """Check, before minutes of work, that a file can be written at ``path``. Leaves nothing behind.

    Raises:
        OutputError: ``path`` is a folder, its folder does not exist, or nothing can be written there.
        ResourceError: its disk has fewer than ``needs_bytes`` bytes free.
    """
    target = _target(path)
    if target.is_dir():
        raise OutputError(f"{target} is a folder: give the name of a file, such as {target / 'head.glb'}")
    _probe(target, needs_bytes)


def check_folder(path: Path | str, *, may_replace: Callable[[Path], bool], needs_bytes: int = 0) -> None:
    """Check, before minutes of work, that a folder can be written at ``path``. Leaves nothing behind.

    Args:
        may_replace: called with an existing folder that is not empty; true if all it holds may be deleted.

    Raises:
        OutputError: ``path`` is a file or a folder that may not be replaced, or nothing can be written there.
        ResourceError: its disk has fewer than ``needs_bytes`` bytes free.
    """
    target = _target(path)
    if target.exists():
        if not target.is_dir():
            raise OutputError(f"{target} is a file: give the name of a folder")
        if any(target.iterdir()) and not may_replace(target):
            raise OutputError(f"{target} exists and holds other files: empty it, or name another folder")
    _probe(target, needs_bytes)


@contextmanager
def atomic_file(path: Path | str, *, needs_bytes: int = 0) -> Iterator[Path]:
    """Yield a temporary name with the suffix of ``path``; the file written there becomes ``path``.

    On any exception, Ctrl-C included, the unfinished file is removed and ``path`` keeps what it had.

    Args:
        needs_bytes: refuse at once if the disk has less room than this.

    Raises:
        OutputError: ``path`` is a folder, its folder does not exist, or it cannot be written.
        ResourceError: the disk is full, or has fewer than ``needs_bytes`` bytes free.
    """
    target = _target(path)
    check_file(target, needs_bytes=needs_bytes)
    unfinished = _beside(target)
    try:
        yield unfinished
        unfinished.replace(target)
    except OSError as error:
        if _is_ours(error, unfinished):
            raise _as_our_error(error, target) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_files(path: Path | str, *, needs_bytes: int = 0) -> Iterator[Path]:
    """Yield the name of ``path`` in a temporary folder; all files written there move to the folder of ``path``.

    For formats that write companion files. Each file appears whole or not at all, ``path`` itself last. On any
    exception, Ctrl-C included, the unfinished files are removed.

    Args:
        needs_bytes: refuse at once if the disk has less room than this.

    Raises:
        OutputError: ``path`` is a folder, its folder does not exist, or one of the files cannot be written.
        ResourceError: the disk is full, or has fewer than ``needs_bytes`` bytes free.
    """
    path, target = Path(path), _target(path)
    check_file(target, needs_bytes=needs_bytes)
    unfinished = _beside(target)
    try:
        unfinished.mkdir()
        yield unfinished / path.name
        companions = sorted(file for file in unfinished.iterdir() if file.name != path.name)
        for file in companions:
            check_file(path.with_name(file.name))
        for file in (*companions, unfinished / path.name):
            _move(file, _target(path.with_name(file.name)))
    except OSError as error:
        if _is_ours(error, unfinished):
            raise _as_our_error(error, target) from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _move(file: Path, target: Path) -> None:
    """Replace ``target``; a link may lead to another disk, where a file has to be copied first."""
    if file.parent.parent == target.parent:
        file.replace(target)
        return
    with atomic_file(target) as unfinished:
        shutil.copyfile(file, unfinished)


@contextmanager
def atomic_folder(path: Path | str, *, may_replace: Callable[[Path], bool], needs_bytes: int = 0) -> Iterator[Path]:
    """Yield a new empty folder, which becomes ``path`` with all it holds.

    On any exception, Ctrl-C included, the unfinished folder is removed and ``path`` keeps what it had.

    Args:
        may_replace: called with an existing folder that is not empty; true if all it holds may be deleted.
        needs_bytes: refuse at once if the disk has less room than this.

    Raises:
        OutputError: ``path`` is a file or a folder that may not be replaced, or it cannot be written.
        ResourceError: the disk is full, or has fewer than ``needs_bytes`` bytes free.
    """
    target = _target(path)
    check_folder(target, may_replace=may_replace, needs_bytes=needs_bytes)
    unfinished, old = _beside(target), _beside(target)
    try:
        unfinished.mkdir()
        yield unfinished
        if target.exists():
            target.rename(old)
        unfinished.rename(target)
    except OSError as error:
        if _is_ours(error, unfinished) or _is_ours(error, old):
            raise _as_our_error(error, target) from error
        raise
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(unfinished, ignore_errors=True)


def _target(path: Path | str) -> Path:
    """Resolve links, so that a linked output stays a link."""
    path = Path(path)
    if not path.name:
        raise OutputError(f"{str(path)!r} names no file: give a name such as head.ply")
    return Path(os.path.realpath(path))


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.stem[:100]}.{secrets.token_hex(4)}.part{target.suffix}")


def _probe(target: Path, needs_bytes: int) -> None:
    probe = _beside(target)
    try:
        try:
            probe.open("xb").close()
        finally:
            probe.unlink(missing_ok=True)
        free = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise _as_our_error(error, target) from error
    if free < needs_bytes:
        raise ResourceError(
            f"not enough disk space for {target}: it needs {_megabytes(needs_bytes)} and {_megabytes(free)} are free; "
            "free some, or write to another disk"
        )


def _is_ours(error: OSError, unfinished: Path) -> bool:
    """Check that an error is about the output, and not about a file that was read meanwhile."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return error.errno in _NO_SPACE or any(name.startswith(str(unfinished)) for name in names)


def _as_our_error(error: OSError, target: Path) -> SpinMeRoundError:
    if error.errno in _NO_SPACE:
        return ResourceError(f"the disk is full: {target} was not written; free some space, or write to another disk")
    if not target.parent.exists():
        return OutputError(f"no folder {target.parent} to write {target.name} to: create it first")
    if not target.parent.is_dir():
        return OutputError(f"{target.parent} is a file, so {target.name} cannot be written in it: name another folder")
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"cannot write {target}: {reason}; name another place, or change its permissions")


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MB"
