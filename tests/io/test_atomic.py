"""Outputs appear whole or not at all, and every obstacle is one clear line."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spinmeround.errors import OutputError, ResourceError
from spinmeround.io.atomic import atomic_file, atomic_folder, check_file, check_folder


def _always(_: Path) -> bool:
    return True


def _never(_: Path) -> bool:
    return False


def _listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _fill(folder: Path, text: str) -> None:
    (folder / "images").mkdir()
    (folder / "images" / "a.txt").write_text(text)


def test_a_file_appears_only_at_the_end_and_keeps_its_name(tmp_path: Path) -> None:
    target = tmp_path / "head.ply"
    with atomic_file(target) as unfinished:
        unfinished.write_text("new")
        assert unfinished.name == "head.ply"
        assert unfinished.parent.parent == tmp_path
        assert not target.exists()
    assert target.read_text() == "new"
    assert _listed(tmp_path) == ["head.ply"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_an_interrupted_file_leaves_the_old_one_and_no_trace(tmp_path: Path, interruption: type) -> None:
    target = tmp_path / "head.ply"
    target.write_text("old")
    with pytest.raises(interruption), atomic_file(target) as unfinished:
        unfinished.write_text("half")
        raise interruption
    assert target.read_text() == "old"
    assert _listed(tmp_path) == ["head.ply"]


def test_an_interrupted_folder_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    target = tmp_path / "views"
    with atomic_folder(target, may_replace=_never) as unfinished:
        _fill(unfinished, "old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(target, may_replace=_always) as unfinished:
        _fill(unfinished, "half")
        raise KeyboardInterrupt
    assert (target / "images/a.txt").read_text() == "old"
    assert _listed(tmp_path) == ["views"]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "views"
    target.mkdir()
    _fill(target, "old")
    (target / "left over.txt").write_text("old")
    with atomic_folder(target, may_replace=_always) as unfinished:
        _fill(unfinished, "new")
    assert (target / "images/a.txt").read_text() == "new"
    assert _listed(target) == ["images"]
    assert _listed(tmp_path) == ["views"]


def test_a_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "views"
    target.mkdir()
    _fill(target, "old")
    rename = Path.rename

    def fails_for_the_new_one(self: Path, to: Path) -> Path:
        if (self / "images/a.txt").read_text() == "new":
            raise PermissionError(errno.EACCES, "Access is denied", str(self))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(OutputError, match="access is denied"), atomic_folder(target, may_replace=_always) as unfinished:
        _fill(unfinished, "new")
    assert (target / "images/a.txt").read_text() == "old"
    assert _listed(tmp_path) == ["views"]


def test_an_empty_folder_is_taken_and_one_with_other_files_is_not(tmp_path: Path) -> None:
    target = tmp_path / "views"
    target.mkdir()
    with atomic_folder(target, may_replace=_never) as unfinished:
        _fill(unfinished, "new")
    with pytest.raises(OutputError, match="views exists and holds other files: empty it, or name another folder"):
        check_folder(target, may_replace=_never)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file: give the name of a folder"):
        check_folder(tmp_path / "file", may_replace=_always)


def test_bad_places_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no folder .*nowhere to write head.ply to: create it first"):
        check_file(tmp_path / "nowhere" / "head.ply")
    with pytest.raises(OutputError, match="is a folder: give the name of a file"):
        check_file(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file is a file, so head.ply cannot be written in it"):
        check_file(tmp_path / "file" / "head.ply")
    with pytest.raises(OutputError, match="names no file"):
        check_file("")
    check_file(tmp_path / "head.ply")
    assert _listed(tmp_path) == ["file"]


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*head.ply: permission denied; name another place"):
        check_file(tmp_path / "head.ply")


def test_too_little_disk_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 2**20))
    with pytest.raises(ResourceError, match=r"needs 2.0 MB and 1.0 MB are free"):
        check_file(tmp_path / "head.ply", needs_bytes=2**21)
    check_file(tmp_path / "head.ply", needs_bytes=2**19)


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="disk is full"), atomic_file(tmp_path / "head.ply"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ResourceError, match="disk is full"), atomic_folder(tmp_path / "views", may_replace=_never):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert _listed(tmp_path) == []


def test_a_file_that_is_too_large_for_the_system(tmp_path: Path) -> None:
    with (
        pytest.raises(ResourceError, match=r"head\.ply would be larger than this system"),
        atomic_file(tmp_path / "head.ply"),
    ):
        raise OSError(errno.EFBIG, "File too large")
    assert _listed(tmp_path) == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from spinmeround.io import atomic
place = Path(sys.argv[1])
if sys.argv[2] == "file":
    with atomic.atomic_file(place / "head.ply") as unfinished:
        unfinished.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
real = Path.rename
def rename(path, target):
    real(path, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = rename  # the old folder is away, the new one is not there yet
with atomic.atomic_folder(place / "views", may_replace=lambda _: True) as unfinished:
    (unfinished / "a.txt").write_text("new")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no locks on folders")
def test_what_a_killed_process_left_goes_when_the_same_is_written(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "head.ply") as alive:  # of another run that goes on
        subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), "file"], check=False)
        assert len(_listed(tmp_path)) == 2
        check_file(tmp_path / "head.spz")
        assert len(_listed(tmp_path)) == 2, "it may be of use to nobody, but is not this file's"
        check_file(tmp_path / "head.ply")
        assert _listed(tmp_path) == [alive.parent.name]
        alive.write_text("new")
    assert _listed(tmp_path) == ["head.ply"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no locks on folders")
def test_a_folder_that_a_killed_process_moved_away_comes_back(tmp_path: Path) -> None:
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "a.txt").write_text("old")
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), "folder"], check=False)
    assert not (tmp_path / "views").exists()
    check_folder(tmp_path / "views", may_replace=_always)
    assert (tmp_path / "views" / "a.txt").read_text() == "old"
    assert _listed(tmp_path) == ["views"]


def test_long_names_of_many_bytes_are_written(tmp_path: Path) -> None:
    name = "\u9f3b" * 83 + ".ply"  # 253 bytes; disks allow 255
    with atomic_file(tmp_path / name) as unfinished:
        unfinished.write_text("whole")
    assert _listed(tmp_path) == [name]


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "head.ply"):
        (tmp_path / "photo.jpg").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "head.ply"
    link.symlink_to(tmp_path / "real" / "head.ply")
    with atomic_file(link) as unfinished:
        unfinished.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "head.ply").read_text() == "new"
