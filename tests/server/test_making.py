"""One more file of a finished head: splats are those that are there, other files as the command makes them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from spinmeround.errors import InputError
from spinmeround.io import read_splats, write_splats
from spinmeround.server.options import HeadOptions
from spinmeround.server.workers.lines import Lines
from spinmeround.server.workers.making import do_job
from spinmeround.types import Splats


class Silent(Lines):
    """Hears how far a job is, and says nothing."""

    def __init__(self):
        pass

    def say(self, **message):
        pass


@pytest.fixture
def head(tmp_path):
    """A finished head with splats."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "photo_0.jpg").write_bytes(b"a photo")
    (tmp_path / "files").mkdir()
    draw = torch.Generator().manual_seed(0)
    splats = Splats(
        torch.randn(50, 3, generator=draw) * 0.1,
        torch.full((50, 3), 0.01),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(50, 1),
        torch.full((50,), 0.5),
        torch.zeros(50, 1, 3),
    )
    write_splats(tmp_path / "files" / "head.ply", splats)
    return tmp_path


def refuse(*_, **__):
    pytest.fail("nothing is to be made anew")


def test_splats_are_converted(head):
    do_job(head, HeadOptions(), "head.spz", refuse, Silent())
    kept, made = (read_splats(head / "files" / name, metres_per_unit=1) for name in ("head.ply", "head.spz"))
    torch.testing.assert_close(made.means, kept.means, atol=1e-4, rtol=0)
    assert {each.name for each in head.iterdir()} == {"photos", "files", "work.lock"}


@pytest.mark.parametrize(
    ("given", "wanted", "made"),
    [
        ({}, "head.vrm", ["head.vrm"]),
        ({"ply": "mesh"}, "head.spz", ["head.spz"]),
        ({"height_m": 0.3}, "head.vrm", ["head.ply", "head.glb", "head.vrm"]),
        ({}, "hair.usdc", ["head.ply", "head.glb", "hair.usdc"]),
    ],
)
def test_other_files_are_made_with_what_their_size_depends_on(head, given, wanted, made):
    asked = []

    def reconstruct(photos, *, out, settings, outputs, watch):
        places = [*out, *([outputs.hair] if outputs.hair else [])]
        asked.extend(path.name for path in places)
        for path in places:
            path.write_bytes(b"made")
        return SimpleNamespace(report={}, files=places)

    before = {each.name for each in (head / "files").iterdir()}
    do_job(head, HeadOptions(**given), wanted, reconstruct, Silent())
    assert asked == made
    assert {each.name for each in (head / "files").iterdir()} == before | {wanted}
    assert (head / "files" / wanted).read_bytes() == b"made"
    assert (head / "files" / "head.ply").stat().st_size > 100, "what was there stays"


def test_a_head_without_hair_says_so(head):
    def reconstruct(photos, *, out, **_):
        return SimpleNamespace(report={}, files=())

    with pytest.raises(InputError, match="no hair"):
        do_job(head, HeadOptions(), "hair.usdc", reconstruct, Silent())
