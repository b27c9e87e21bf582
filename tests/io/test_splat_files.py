"""Splat files: round trips, exact layouts, readers written by others, damage."""

from __future__ import annotations

import gzip
import itertools
import shutil
import struct
from pathlib import Path

import gsply
import numpy as np
import plyfile
import pytest
import torch
import zstandard

from spinmeround.errors import InputError, OutputError, ResourceError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io import read_splats, write_splats
from spinmeround.types import Splats

SH_C0 = 0.5 / np.sqrt(np.pi)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_round_trip_is_exact_to_float32(tmp_path: Path, make_splats, degree: int) -> None:
    splats = make_splats(degree=degree)
    write_splats(tmp_path / "a.ply", splats)
    back = read_splats(tmp_path / "a.ply")
    torch.testing.assert_close(back.means, splats.means, rtol=2e-7, atol=0)
    torch.testing.assert_close(back.scales, splats.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(back.quats_wxyz, splats.quats_wxyz, rtol=0, atol=2e-7)
    torch.testing.assert_close(back.opacities, splats.opacities, rtol=1e-6, atol=0)
    assert torch.equal(back.sh, splats.sh)


def test_ply_has_the_layout_of_kerbl_et_al(tmp_path: Path, make_splats) -> None:
    splats = make_splats(degree=2)
    write_splats(tmp_path / "a.ply", splats, metres_per_unit=2.0)
    vertex = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *[f"f_rest_{i}" for i in range(24)]]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert [p.name for p in vertex.properties] == names
    assert all(p.val_dtype == "f4" for p in vertex.properties)
    for i, axis in enumerate("xyz"):
        np.testing.assert_array_equal(vertex[axis], splats.means[:, i].numpy() * 2)
        np.testing.assert_array_equal(vertex["n" + axis], 0)
        np.testing.assert_allclose(vertex[f"scale_{i}"], np.log(splats.scales[:, i].numpy() * 2.0), rtol=1e-6)
        np.testing.assert_array_equal(vertex[f"f_dc_{i}"], splats.sh[:, 0, i].numpy())
        for k in range(8):  # channel-major: all coefficients of red, then of green, then of blue
            np.testing.assert_array_equal(vertex[f"f_rest_{8 * i + k}"], splats.sh[:, k + 1, i].numpy())
    p = splats.opacities.double().numpy()
    np.testing.assert_allclose(vertex["opacity"], np.log(p / (1 - p)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(vertex["rot_0"], splats.quats_wxyz[:, 0].numpy())


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("suffix", ["ply", "spz"])
def test_gsply_reads_the_same_values(tmp_path: Path, make_splats, degree: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    splats = make_splats(degree=degree)
    write_splats(path, splats)
    ours = read_splats(path, metres_per_unit=1)
    theirs = gsply.plyread(path) if suffix == "ply" else gsply.spz.read_spz(path)
    np.testing.assert_array_equal(theirs.means, ours.means.numpy())
    np.testing.assert_allclose(np.exp(theirs.scales), ours.scales.numpy(), rtol=1e-6)
    quats = theirs.quats / np.linalg.norm(theirs.quats, axis=1, keepdims=True)
    np.testing.assert_allclose(quats, ours.quats_wxyz.numpy(), atol=2e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-theirs.opacities.ravel())), ours.opacities.numpy(), atol=1e-6)
    np.testing.assert_allclose(theirs.sh0.reshape(-1, 3), ours.sh[:, 0].numpy(), atol=1e-6)
    if degree:
        np.testing.assert_allclose(theirs.shN, ours.sh[:, 1:].numpy(), atol=1e-6)
    # Both readers could share a mistake with the writer, so once more against what was written.
    np.testing.assert_allclose(theirs.means / METRES_PER_UNIT, splats.means.numpy(), atol=2e-5)


@pytest.mark.parametrize("degree", [0, 3])
def test_spz_loses_no_more_than_it_says(tmp_path: Path, make_splats, covariances, degree: int) -> None:
    splats = make_splats(2000, degree=degree)
    write_splats(tmp_path / "a.spz", splats)
    back = read_splats(tmp_path / "a.spz")
    assert float((back.means - splats.means).abs().max()) * METRES_PER_UNIT <= 2.0**-17 * 1.01
    assert float((back.scales / splats.scales).log().abs().max()) <= 1 / 32 + 1e-5
    assert float((back.opacities - splats.opacities).abs().max()) <= 0.5 / 255 + 1e-6
    assert float((back.sh[:, 0] - splats.sh[:, 0]).abs().max()) <= 0.5 / 255 / 0.15 + 1e-5
    inside = (splats.sh[:, 1:].abs() < 0.9).all(dim=2)
    error = (back.sh[:, 1:] - splats.sh[:, 1:]).abs().amax(dim=2)
    assert float(error[:, :3][inside[:, :3]].max() if degree else 0) <= 4.5 / 128
    assert float(error[:, 3:][inside[:, 3:]].max() if degree else 0) <= 8.5 / 128
    expected = covariances(splats)
    error = (covariances(back) - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert float(error.max()) < 0.1


def test_spz_turns_are_good_for_any_quaternion(tmp_path: Path, make_splats, covariances) -> None:
    """w is not stored: without care a turn near 180 degrees would come back ten degrees off."""
    splats = make_splats(3000, degree=0)
    quats = splats.quats_wxyz.clone()
    quats[::2, 0] *= 0.01
    quats = torch.nn.functional.normalize(quats, dim=1)
    one_size = torch.tensor([0.01, 0.001, 0.0001]).expand(3000, 3)
    splats = Splats(splats.means, one_size, quats, splats.opacities, splats.sh)
    write_splats(tmp_path / "a.spz", splats)
    back = read_splats(tmp_path / "a.spz")
    axes = [torch.linalg.eigh(covariances(s))[1] for s in (back, splats)]
    for axis in (0, 2):  # of the eigenvalues, in rising order
        cosine = (axes[0][:, :, axis] * axes[1][:, :, axis]).sum(dim=1).abs().clamp(max=1)
        assert float(torch.rad2deg(torch.acos(cosine)).max()) < 1.4


def test_spz_bytes_are_laid_out_as_the_format_says(tmp_path: Path) -> None:
    one = Splats(
        means=torch.tensor([[0.5, -0.25, 0.0]]),
        scales=torch.exp(torch.tensor([[-4.0, -5.0, -6.0]])),
        quats_wxyz=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        opacities=torch.tensor([0.4]),
        sh=torch.cat([torch.tensor([[[0.0, 1.0, -1.0]]]), torch.tensor([[[0.25, -0.25, 0.0]]]).repeat(1, 3, 1)], dim=1),
    )
    write_splats(tmp_path / "a.spz", one, metres_per_unit=1)
    packed = (tmp_path / "a.spz").read_bytes()
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # no time, no name, no system
    data = gzip.decompress(packed)
    assert struct.unpack_from("<4sIIBBBB", data) == (b"NGSP", 2, 1, 1, 16, 0, 0)
    assert data[16:25] == (0x8000).to_bytes(3, "little") + (2**24 - 0x4000).to_bytes(3, "little") + bytes(3)
    assert list(data[25:29]) == [102, 128, 166, 89]
    assert list(data[29:32]) == [96, 80, 64]
    assert list(data[32:35]) == [128, 128, 128]
    assert list(data[35:]) == [160, 96, 128] * 3


def test_spz_far_positions_take_fewer_fractional_bits(tmp_path: Path, make_splats) -> None:
    splats = make_splats(degree=0)
    far = Splats(splats.means * 4000, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    write_splats(tmp_path / "a.spz", far, metres_per_unit=1)
    torch.testing.assert_close(read_splats(tmp_path / "a.spz", metres_per_unit=1).means, far.means, rtol=0, atol=2e-3)


@pytest.mark.parametrize("metres_per_unit", [1e3, 3e5])
def test_spz_of_a_giant_head_keeps_its_shape(tmp_path: Path, make_splats, metres_per_unit: float) -> None:
    splats = make_splats(500, degree=0)
    small = Splats(splats.means, splats.scales.clamp(max=1e-3), *(splats.quats_wxyz, splats.opacities, splats.sh))
    write_splats(tmp_path / "a.spz", small, metres_per_unit=metres_per_unit)
    back = read_splats(tmp_path / "a.spz", metres_per_unit=metres_per_unit)
    torch.testing.assert_close(back.means, small.means, rtol=0, atol=1e-6)
    assert float((back.scales / small.scales).log().abs().max()) <= 1 / 32 + 1e-5
    theirs = gsply.spz.read_spz(tmp_path / "a.spz")
    np.testing.assert_allclose(theirs.means / metres_per_unit, small.means.numpy(), atol=1e-6)


@pytest.mark.parametrize("metres_per_unit", [1e5, 1e9])
def test_spz_refuses_what_its_numbers_cannot_hold(tmp_path: Path, make_splats, metres_per_unit: float) -> None:
    with pytest.raises(
        OutputError, match=r"\.spz holds positions up to 4194304 m and splats up to 379 m, got .* a \.ply"
    ):
        write_splats(tmp_path / "a.spz", make_splats(), metres_per_unit=metres_per_unit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spz_of_version_3_by_gsply_is_read(tmp_path: Path, make_splats, degree: int) -> None:
    splats = make_splats(500, degree=degree)
    write_splats(tmp_path / "a.ply", splats)
    gsply.spz.write_spz(tmp_path / "a.spz", gsply.plyread(tmp_path / "a.ply"), version=3)
    back = read_splats(tmp_path / "a.spz")
    torch.testing.assert_close(back.means, splats.means, rtol=0, atol=4e-4)
    dots = (back.quats_wxyz * splats.quats_wxyz).sum(dim=1).abs()
    assert float(dots.min()) > np.cos(np.radians(0.15))
    torch.testing.assert_close(back.opacities, splats.opacities, rtol=0, atol=0.003)
    torch.testing.assert_close(back.sh[:, 0], splats.sh[:, 0], rtol=0, atol=0.02)


def test_splat_records(tmp_path: Path, make_splats) -> None:
    splats = make_splats(300, degree=1)
    write_splats(tmp_path / "a.splat", splats, metres_per_unit=1)
    data = (tmp_path / "a.splat").read_bytes()
    assert len(data) == 300 * 32
    first = struct.unpack_from("<6f8B", data)
    np.testing.assert_array_equal(first[:3], splats.means[0].numpy())
    np.testing.assert_array_equal(first[3:6], splats.scales[0].numpy())
    colour = np.clip(0.5 + SH_C0 * splats.sh[0, 0].numpy(), 0, 1) * 255
    np.testing.assert_allclose(first[6:9], colour, atol=0.51)
    assert first[9] == round(float(splats.opacities[0]) * 255)
    np.testing.assert_allclose(first[10:14], splats.quats_wxyz[0].numpy() * 128 + 128, atol=0.51)
    back = read_splats(tmp_path / "a.splat", metres_per_unit=1)
    assert back.sh.shape == (300, 1, 3)
    assert torch.equal(back.means, splats.means)
    assert torch.equal(back.scales, splats.scales)
    assert float((back.quats_wxyz * splats.quats_wxyz).sum(dim=1).min()) > np.cos(np.radians(0.5))


@pytest.mark.parametrize("suffix", ["ply", "spz", "splat"])
def test_units_are_metres_and_gaussians_scale_along(tmp_path: Path, make_splats, suffix: str) -> None:
    splats = make_splats()
    write_splats(tmp_path / f"a.{suffix}", splats)
    metric = read_splats(tmp_path / f"a.{suffix}", metres_per_unit=1)
    torch.testing.assert_close(metric.means, splats.means * METRES_PER_UNIT, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(metric.scales, splats.scales * METRES_PER_UNIT, rtol=0.04, atol=0)


@pytest.mark.parametrize("suffix", ["ply", "spz", "splat"])
def test_same_splats_same_bytes_and_no_trace(tmp_path: Path, make_splats, suffix: str) -> None:
    for name in ("a", "b"):
        write_splats(tmp_path / f"{name}.{suffix}", make_splats())
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", ["ply", "spz", "splat"])
def test_gradients_and_extremes_are_no_hindrance(tmp_path: Path, make_splats, suffix: str) -> None:
    splats = make_splats()
    extreme = Splats(
        splats.means.requires_grad_(), splats.scales * 0, splats.quats_wxyz, (splats.opacities > 0.5).float(), splats.sh
    )
    write_splats(tmp_path / f"a.{suffix}", extreme)
    back = read_splats(tmp_path / f"a.{suffix}")
    assert bool(torch.isfinite(back.scales).all())
    torch.testing.assert_close(back.opacities, extreme.opacities, rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", ["ply", "spz", "splat"])
def test_damage_is_refused_and_never_crashes(tmp_path: Path, make_splats, suffix: str, survives_corruption) -> None:
    path = tmp_path / f"a.{suffix}"
    write_splats(path, make_splats(degree=1))
    assert survives_corruption(path, read_splats, flips=200) > 20


def test_values_that_no_file_should_hold(tmp_path: Path, make_splats) -> None:
    splats = make_splats()
    nan = splats.means.clone()
    nan[3:5, 1] = float("nan")
    with pytest.raises(ValueError, match="2 of 40 splats have means that are not finite numbers"):
        write_splats(tmp_path / "a.ply", Splats(nan, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh))
    with pytest.raises(ValueError, match="some scales are negative"):
        write_splats(
            tmp_path / "a.ply", Splats(splats.means, -splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
        )
    with pytest.raises(ValueError, match="some opacities lie outside 0 to 1"):
        write_splats(
            tmp_path / "a.ply", Splats(splats.means, splats.scales, splats.quats_wxyz, splats.opacities + 1, splats.sh)
        )
    with pytest.raises(ValueError, match="no splats in it"):
        write_splats(tmp_path / "a.ply", make_splats(0))
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_in_a_file(tmp_path: Path, make_splats) -> None:
    write_splats(tmp_path / "a.splat", make_splats())
    data = bytearray((tmp_path / "a.splat").read_bytes())
    data[32:36] = struct.pack("<f", float("nan"))
    (tmp_path / "a.splat").write_bytes(data)
    with pytest.raises(InputError, match=r"a.splat: 1 of 40 splats have means that are not finite numbers"):
        read_splats(tmp_path / "a.splat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"magic": b"ABCD"}, "not an SPZ file"),
        ({"version": 1}, "SPZ of version 1; this reads 2, 3 and 4"),
        ({"count": 10**9}, r"damaged SPZ header \(1000000000 splats"),
        ({"count": 0}, "damaged SPZ header"),
        ({"count": 2}, "cut short"),
        ({"count": 9_000_000}, "cannot hold the 9000000 splats"),
        ({"degree": 4}, "SH degree 4"),
        ({"bits": 40}, "40 fractional bits"),
    ],
)
def test_lying_spz_headers(tmp_path: Path, change: dict, message: str) -> None:
    head = {"magic": b"NGSP", "version": 2, "count": 1, "degree": 0, "bits": 12, "flags": 0, "reserved": 0} | change
    (tmp_path / "a.spz").write_bytes(gzip.compress(struct.pack("<4sIIBBBB", *head.values()) + bytes(19)))
    with pytest.raises(InputError, match=message):
        read_splats(tmp_path / "a.spz")


def _as_version_4(body: bytes) -> bytes:
    """Pack the uncompressed bytes of version 3, without SH, as version 4."""
    _, _, n, degree, bits, flags, _ = struct.unpack_from("<4sIIBBBB", body)
    assert degree == 0
    ends = 16 + np.cumsum([0, 9 * n, n, 3 * n, 3 * n, 4 * n])
    planes = [body[a:b] for a, b in itertools.pairwise(ends)]
    frames = [zstandard.ZstdCompressor().compress(plane) for plane in planes]
    header = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, n, degree, bits, flags, len(planes), 32)
    table = [struct.pack("<QQ", len(frame), len(plane)) for frame, plane in zip(frames, planes, strict=True)]
    return b"".join([header, *table, *frames])


def _version_3(n: int) -> bytes:
    header = struct.pack("<4sIIBBBB", b"NGSP", 3, n, 0, 12, 0, 0)
    return header + np.random.default_rng(0).integers(0, 256, 20 * n, np.uint8).tobytes()


def test_spz_of_every_packing_holds_the_same_splats(tmp_path: Path) -> None:
    body = _version_3(7)
    packed = {"gzip": gzip.compress(body), "raw": body, "v4": _as_version_4(body)}
    for name, data in packed.items():
        (tmp_path / f"{name}.spz").write_bytes(data)
    expected, *others = [read_splats(tmp_path / f"{name}.spz") for name in packed]
    for other in others:
        for name in ("means", "scales", "quats_wxyz", "opacities", "sh"):
            assert torch.equal(getattr(other, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (15, 4, "damaged SPZ header .4 streams"),
        (16, 8, "table at byte 8"),
        (32, 255, "damaged, or cut short"),
        (40, 1, "a stream of 1 bytes where 63 should be"),
        (118, 255, "damaged SPZ file"),
        (13, 24, "24 fractional bits"),
    ],
)
def test_damaged_spz_of_version_4(tmp_path: Path, at: int, value: int, message: str) -> None:
    data = bytearray(_as_version_4(_version_3(7)))
    data[at] = value
    (tmp_path / "a.spz").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_splats(tmp_path / "a.spz")


@pytest.mark.parametrize("pack", [bytes, _as_version_4], ids=["raw", "v4"])
def test_spz_cut_anywhere_is_told(tmp_path: Path, pack) -> None:
    data = pack(_version_3(3))
    for length in range(1, len(data)):
        (tmp_path / "a.spz").write_bytes(data[:length])
        with pytest.raises(InputError):
            read_splats(tmp_path / "a.spz")


def test_an_spz_bomb_unpacks_no_further_than_its_header_allows(tmp_path: Path) -> None:
    head = struct.pack("<4sIIBBBB", b"NGSP", 2, 1, 0, 12, 0, 0)
    (tmp_path / "a.spz").write_bytes(gzip.compress(head + bytes(50_000_000)))
    assert len(read_splats(tmp_path / "a.spz")) == 1


def test_strangers(tmp_path: Path, make_splats) -> None:
    with pytest.raises(OutputError, match=r"written as \.ply \.spz \.splat \.glb, not as '\.obj'"):
        write_splats(tmp_path / "a.obj", make_splats())
    with pytest.raises(InputError, match=r"read from \.ply \.spz \.splat \.glb, not from '\.ksplat'"):
        read_splats(tmp_path / "a.ksplat")
    for suffix in ("ply", "spz", "splat", "glb"):
        with pytest.raises(InputError, match="cannot be read: no such file"):
            read_splats(tmp_path / f"none.{suffix}")
    (tmp_path / "mesh.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nelement face 0\nend_header\n1\n"
    )
    with pytest.raises(InputError, match=r"a mesh: it has no x y z f_dc_0|a mesh: it has no y z f_dc_0"):
        read_splats(tmp_path / "mesh.ply")
    (tmp_path / "packed.ply").write_text(
        "ply\nformat ascii 1.0\nelement chunk 1\nproperty float min_x\nelement vertex 1\n"
        "property uint packed_position\nend_header\n0 0\n"
    )
    with pytest.raises(InputError, match=r"unpack it first: npx @playcanvas/splat-transform packed.ply plain.ply"):
        read_splats(tmp_path / "packed.ply")


def test_too_little_disk(tmp_path: Path, make_splats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 100))
    with pytest.raises(ResourceError, match="not enough disk space"):
        write_splats(tmp_path / "a.ply", make_splats())
