"""The page in one file: complete, small, and silent."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from spinmeround.errors import InputError
from spinmeround.io import read_splats, write_splats, write_views
from spinmeround.orbits import orbit_cameras
from spinmeround.viewer.bundle import bundled
from spinmeround.viewer.contents import gathered
from spinmeround.viewer.export import write_page
from tests.pipelines.fakes import sphere_views


def page_of(path: Path, *files: Path) -> str:
    with gathered(files) as shown:
        write_page(path, shown)
    return path.read_text(encoding="utf-8")


def test_it_asks_for_nothing(tmp_path: Path, splats_ply: Path) -> None:
    page = page_of(tmp_path / "head.html", splats_ply)
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"\b(?:src|href|action|data)\s*=\s*(\S+)", markup) == ['"data:,">']
    assert not re.search(r"url\(|@import|http", markup.replace('http-equiv="Content-Security-Policy"', ""))
    rules = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert rules is not None
    assert "default-src 'none'" in rules[1]
    assert not re.search(r"https?:|\*|'self'", rules[1])


def test_the_script_in_it_is_the_viewer(tmp_path: Path, splats_ply: Path) -> None:
    page = page_of(tmp_path / "head.html", splats_ply)
    script = b""
    for kind, text in re.findall(r'data-part="(\w+)">([^<]*)</script>', page):
        data = gzip.decompress(base64.b64decode(text))
        script += data if kind == "text" else base64.b64encode(data)
    assert script == bundled("viewer.js")


def test_splats_are_packed_and_the_page_is_small(tmp_path: Path, splats_ply: Path) -> None:
    page = page_of(tmp_path / "head.html", splats_ply)
    (packed,) = re.findall(r'data-file="head.ply.spz">([^<]*)</script>', page)
    (tmp_path / "inside.spz").write_bytes(base64.b64decode(packed))
    before, after = read_splats(splats_ply), read_splats(tmp_path / "inside.spz")
    assert np.allclose(before.means, after.means, atol=1e-4)
    write_splats(tmp_path / "head.spz", before)
    limit = 1.4 * (tmp_path / "head.spz").stat().st_size + 1.5e6
    assert (tmp_path / "head.html").stat().st_size <= limit


def test_the_same_head_gives_the_same_bytes(tmp_path: Path, splats_ply: Path) -> None:
    assert page_of(tmp_path / "a.html", splats_ply) == page_of(tmp_path / "b.html", splats_ply)


def test_names_are_text_and_nothing_more(tmp_path: Path) -> None:
    file = tmp_path / "a&'b<i>.stl"
    file.write_bytes(b"solid")
    page = page_of(tmp_path / "head.html", file)
    assert "<title>a&amp;&#x27;b&lt;i&gt;.stl</title>" in page
    assert 'data-file="a&amp;&#x27;b&lt;i&gt;.stl"' in page


def test_cameras_alone_make_no_page(tmp_path: Path) -> None:
    write_views(tmp_path / "views", sphere_views(orbit_cameras([0.0], [0.0], size_px=16)))
    with pytest.raises(InputError, match="no folders of views"):
        page_of(tmp_path / "head.html", tmp_path / "views")
    assert not (tmp_path / "head.html").exists()
