"""The viewer in Chromium; skipped where Chromium, node or ``web/node_modules`` are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from heads import mean_avatar
from measures import psnr_db
from viewer import over_white
from viewer_browser import Browser, browser, served

from spinmeround.geometry import select
from spinmeround.io import read_splats, write_avatar
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.viewer.contents import gathered
from spinmeround.viewer.export import write_page

pytestmark = pytest.mark.slow
_SIZE_PX = 660


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    try:
        with browser() as opened:
            yield opened
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def avatar_glb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "head.glb"
    write_avatar(path, mean_avatar(skin_px=64, lod=2, texture_px=256))
    return path


def seen(page: Browser) -> np.ndarray:
    return over_white(page.picture() / 255.0)


def test_splats_look_as_our_renderer_draws_them(page: Browser, splats_ply: Path) -> None:
    cameras = orbit_cameras([0.0, 130.0], [0.0, 20.0], size_px=_SIZE_PX)
    with torch.no_grad():
        ours = NumbaRasterizer().render(read_splats(splats_ply), cameras)
    with served([splats_ply]) as url:
        opened = page.open(url, width_px=_SIZE_PX, height_px=_SIZE_PX)
        assert opened["state"] == "shown", opened["status"]
        assert page.run("viewer.modes") == ["splats"]
        for k in range(2):
            page.look(select(cameras, [k]))
            own = ours.rgb[k].numpy() + 1 - ours.alpha[k].numpy()[..., None]
            assert psnr_db(seen(page) - own) > 40
    assert page.faults == []
    assert all(request.startswith((url, "blob:", "data:")) for request in page.requests)


def test_one_page_shows_the_head_from_the_disk(page: Browser, splats_ply: Path, tmp_path: Path) -> None:
    with gathered([splats_ply]) as shown:
        write_page(tmp_path / "head.html", shown)
    opened = page.open((tmp_path / "head.html").as_uri(), width_px=_SIZE_PX, height_px=_SIZE_PX)
    assert opened["state"] == "shown", opened["status"]
    assert page.run("viewer.stats().splats") == len(read_splats(splats_ply))
    assert (page.picture()[..., 3] > 128).mean() > 0.1
    assert page.faults == []
    assert all(request.startswith(("file:", "blob:", "data:")) for request in page.requests)


def test_an_avatar_moves_by_name(page: Browser, avatar_glb: Path) -> None:
    with served([avatar_glb]) as url:
        opened = page.open(url, width_px=_SIZE_PX, height_px=_SIZE_PX)
        assert opened["state"] == "shown", opened["status"]
    assert page.run("viewer.modes") == ["avatar", "wireframe", "normals"]
    assert len(page.run("viewer.expressionNames")) == 52
    rest = seen(page)
    page.run("viewer.setExpression({ jawOpen: 0.8 }), 1")
    open_ = seen(page)
    rows = np.nonzero(np.abs(open_ - rest).max(-1) > 0.05)[0]
    head = np.nonzero((rest < 0.95).any(-1))[0]
    assert len(rows) > 500
    assert np.percentile(rows, 1) > head.min() + 0.4 * np.ptp(head)
    page.run("viewer.setExpression({}), 1")
    assert np.abs(seen(page) - rest).max() < 0.02
    page.run("viewer.setHeadRotation(0, 60, 0), 1")
    turned = seen(page)
    right = turned[:, _SIZE_PX // 2 :]
    assert np.abs(turned - rest).max() > 0.2
    assert (right < 0.95).any()
    assert page.faults == []


def test_two_modes_side_by_side(page: Browser, avatar_glb: Path) -> None:
    with served([avatar_glb]) as url:
        page.open(url, width_px=_SIZE_PX, height_px=_SIZE_PX)
    page.run("viewer.setMode('normals'), 1")
    normals = page.picture()
    page.run("viewer.setMode('avatar'), 1")
    avatar = page.picture()
    page.run("viewer.setCompare('avatar', 'normals', 0.5), 1")
    both = page.picture()
    half = _SIZE_PX // 2
    assert np.array_equal(both[:, : half - 1], avatar[:, : half - 1])
    assert np.array_equal(both[:, half + 1 :], normals[:, half + 1 :])
    with pytest.raises(RuntimeError, match="splats cannot be shown"):
        page.run("viewer.setMode('splats')")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.glb", b"glTF" + bytes(40), "it is no binary glTF|it is cut short|it is damaged"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "a.ply cannot be read: "),
        ("a.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "no finite numbers"),
        ("a.spz", b"\x1f\x8b" + bytes(60), "a.spz cannot be read: "),
    ],
    ids=["glb", "ply", "obj", "spz"],
)
def test_what_cannot_be_read_is_one_line(page: Browser, tmp_path: Path, name, content, said) -> None:
    (tmp_path / name).write_bytes(content)
    with served([tmp_path / name]) as url:
        opened = page.open(url)
    assert opened["state"] == "failed"
    assert any(words in opened["status"] for words in said.split("|"))
    assert "\n" not in opened["status"]
