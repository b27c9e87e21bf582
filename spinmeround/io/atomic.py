"""Write files and folders in a hidden folder and move them into place, so that a name never holds half a file.

This protects against errors, Ctrl-C and kills, not against power loss: nothing is flushed to the disk. The hidden
folder, ``.head.ply.1a2b3c4d.part``, lies beside the target. A process holds a lock on its own as long as it lives; what
a killed one left is removed when the same target is written again. Windows has no such locks: there it stays.
"""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spinmeround.errors import OutputError, ResourceError, SpinMeRoundError, is_out_of_room

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_REPLACED = "replaced"
"""Name, in the hidden folder, of the folder that the new one takes the place of."""


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
    """Yield a temporary path with the name of ``path``; the file written there becomes ``path``.

    On any exception, Ctrl-C included, the unfinished file is removed and ``path`` keeps what it had.

    Args:
        needs_bytes: refuse at once if the disk has less room than this.

    Raises:
        OutputError: ``path`` is a folder, its folder does not exist, or it cannot be written.
        ResourceError: the disk is full, or has fewer than ``needs_bytes`` bytes free.
    """
    target = _target(path)
    check_file(target, needs_bytes=needs_bytes)
    with _hidden_folder(target) as hidden:
        yield hidden / target.name
        (hidden / target.name).replace(target)


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
    with _hidden_folder(target) as hidden:
        yield hidden / path.name
        companions = sorted(file for file in hidden.iterdir() if file.name != path.name)
        for file in companions:
            check_file(path.with_name(file.name))
        for file in (*companions, hidden / path.name):
            _move(file, _target(path.with_name(file.name)))


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
    with _hidden_folder(target) as hidden:
        unfinished = hidden / target.name
        unfinished.mkdir()
        yield unfinished
        if target.exists():
            target.rename(hidden / _REPLACED)
        unfinished.rename(target)


def _target(path: Path | str) -> Path:
    """Resolve links, so that a linked output stays a link."""
    path = Path(path)
    if not path.name:
        raise OutputError(f"{str(path)!r} names no file: give a name such as head.ply")
    return Path(os.path.realpath(path))


@contextmanager
def _hidden_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target`` that this process holds, and remove it afterwards.

    Raises:
        OutputError, ResourceError: instead of an ``OSError`` about it, or about room on its disk.
    """
    hidden, lock = _new_name(target), None
    try:
        hidden.mkdir()
        while (lock := _lock(hidden)) is None and not hidden.exists():
            hidden.mkdir()  # another process took it for abandoned before it was locked
        yield hidden
    except OSError as error:
        if _is_ours(error, hidden):
            raise _as_our_error(error, target) from error
        raise
    finally:
        _remove(hidden, target)
        if lock is not None:
            os.close(lock)


def _new_name(target: Path) -> Path:
    return target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.part")


def _prefix(target: Path) -> str:
    """Return how the names of hidden folders begin: short enough for any disk, whatever the letters."""
    return f".{target.name[:50]}."


def _lock(folder: Path, *, wait: bool = True) -> int | None:
    """Lock a folder until what is returned is closed.

    Returns:
        None if it was removed meanwhile or cannot be locked: another process holds it, or its disk knows no locks.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _remove_abandoned(target: Path) -> None:
    """Remove what killed processes left beside ``target``; a folder they had only moved away comes back."""
    for folder in target.parent.glob(f"{glob.escape(_prefix(target))}????????.part"):
        lock = _lock(folder, wait=False)
        if lock is not None:
            _remove(folder, target)
            os.close(lock)


def _remove(hidden: Path, target: Path) -> None:
    if (hidden / _REPLACED).exists() and not target.exists():
        (hidden / _REPLACED).rename(target)
    shutil.rmtree(hidden, ignore_errors=True)


def _probe(target: Path, needs_bytes: int) -> None:
    _remove_abandoned(target)
    with _hidden_folder(target):
        free = shutil.disk_usage(target.parent).free
    if free < needs_bytes:
        raise ResourceError(
            f"not enough disk space for {target}: it needs {_megabytes(needs_bytes)} and {_megabytes(free)} are free; "
            "free some, or write to another disk"
        )


def _is_ours(error: OSError, hidden: Path) -> bool:
    """Check that an error is about the output, and not about a file that was read meanwhile."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return is_out_of_room(error) or any(name.startswith(str(hidden)) for name in names)


def _as_our_error(error: OSError, target: Path) -> SpinMeRoundError:
    if error.errno == errno.EFBIG:
        return ResourceError(f"{target} would be larger than this system lets a file be; ulimit -f says how large")
    if is_out_of_room(error):
        return ResourceError(f"the disk is full: {target} was not written; free some space, or write to another disk")
    if not target.parent.exists():
        return OutputError(f"no folder {target.parent} to write {target.name} to: create it first")
    if not target.parent.is_dir():
        return OutputError(f"{target.parent} is a file, so {target.name} cannot be written in it: name another folder")
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"cannot write {target}: {reason}; name another place, or change its permissions")


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MB"
