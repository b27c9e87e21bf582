"""Niantic's SPZ: packed fixed-point splats, about 20 bytes each. Writes version 2, reads versions 2, 3 and 4.

Versions 2 and 3 are one gzip stream, or the same bytes without compression; version 4 is a longer header, a table of
sizes, and one Zstandard frame a plane.

Layout and quantisation follow the format's public description: positions in 24-bit fixed point, log scales in
sixteenths, colours as ``0.15 f_dc + 0.5``, opacities linear, all in planes, not interleaved. The axes are RUB (right,
up, back, seen by whoever looks at the splats), which are the axes of our world: nothing is flipped.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from spinmeround.errors import InputError, OutputError
from spinmeround.io.splats.scaling import scaled
from spinmeround.types import Splats

_HEADER = struct.Struct("<IIIBBBB")
_MAGIC = 0x5053474E
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
_MAX_SPLATS = 10_000_000
_MAX_GROWTH, _FREE_GROWTH_BYTES = 64, 1 << 20
"""So many times a file may grow when decompressed, and what any may grow to.

Positions of splats hardly compress and are a seventh of the bytes at least: what grows further is no head."""
_TABLE_AT, _TABLE_ROW = 32, struct.Struct("<QQ")
"""Of version 4: first byte at which the table of streams may stand, after extensions; bytes compressed and not."""
_SH0_SCALE = 0.15
"""Of the SH of degree 0, so that 8 bits hold colours somewhat beyond [0, 1]."""
_MAX_POSITION, _MAX_SCALE = 1 << 22, float(np.exp(255 / 16 - 10))
_FRACTIONAL_BITS = 16
"""A step of 15 µm in a file in metres, and room for 128 m; the format's usual 12 bits would be a quarter millimetre."""


def write_spz(path: Path, splats: Splats, *, metres_per_unit: float) -> None:
    """Write version 2, in metres.

    Quantised are scales to ±3 %, rotations to half a degree on average, colours and opacities to 8 bits, SH of degree 1
    to 5 bits and above to 4, as in the format's own writer. A quaternion may come back rotated by 180 degrees about an
    axis of its Gaussian, which is the same Gaussian.

    Raises:
        OutputError: splats too large or too far away for the format's numbers.
    """
    splats = scaled(splats, metres_per_unit)
    n, k = splats.sh.shape[:2]
    means = splats.means.double().numpy()
    _check_range(path, np.abs(means).max(initial=0), float(splats.scales.max()))
    # Far positions take fewer fractional bits, so that 24 bits hold them.
    bits = min(_FRACTIONAL_BITS, 22 - int(np.ceil(np.log2(max(np.abs(means).max(initial=0), 1)))))
    scales = np.log(np.maximum(splats.scales.double().numpy(), 1e-30))
    planes = [
        _int24(np.rint(means * 2.0**bits).astype(np.int64)),
        _byte(splats.opacities.double().numpy() * 255),
        _byte(splats.sh[:, 0].double().numpy() * _SH0_SCALE * 255 + 127.5),
        _byte((scales + 10) * 16),
        _byte(_with_large_w(splats.quats_wxyz.double().numpy())[:, 1:] * 127.5 + 127.5),
        _quantise_sh(splats.sh[:, 1:].double().numpy()),
    ]
    header = _HEADER.pack(_MAGIC, 2, n, int(k**0.5) - 1, bits, 0, 0)
    body = b"".join([header, *(np.ascontiguousarray(plane).tobytes() for plane in planes)])
    # Python's gzip module writes a byte that tells the operating system; this way the file is the same everywhere.
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    with path.open("wb") as file:
        file.write(_GZIP_HEADER + deflate.compress(body) + deflate.flush())
        file.write(struct.pack("<II", zlib.crc32(body), len(body) & 0xFFFFFFFF))


def read_spz(path: Path) -> Splats:
    """Read versions 2, 3 and 4, and versions 2 and 3 without compression.

    Never decompresses more than the header's count allows, or than a file of this size can hold.

    Raises:
        InputError: not such a file, cut short, or of another version.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    unpack = _planes_of_frames if packed[4:5] == b"\x04" and packed[:4] == b"NGSP" else _planes_of_stream
    header, raw = unpack(path, packed)
    means = _from_int24(raw[0]) / 2.0**header.fractional_bits
    quats = _quats_from_xyz(raw[4]) if header.version == 2 else _quats_from_smallest_three(raw[4])
    dc = (raw[2] / 255 - 0.5) / _SH0_SCALE
    rest = raw[5].reshape(header.count, -1, 3)
    sh = np.concatenate([dc[:, None], (rest - 128.0) / 128], axis=1)
    return Splats(
        torch.from_numpy(means),
        torch.from_numpy(np.exp(raw[3] / 16 - 10)),
        torch.from_numpy(quats),
        torch.from_numpy(raw[1][:, 0] / 255),
        torch.from_numpy(sh),
    )


@dataclass(frozen=True)
class _Header:
    """What the first 16 bytes of every version tell; ``streams`` is of version 4."""

    version: int
    count: int
    sh_degree: int
    fractional_bits: int
    streams: int

    @property
    def widths(self) -> list[int]:
        """Bytes a splat: position, opacity, colour, log scale, quaternion, SH beyond degree 0."""
        return [9, 1, 3, 3, 3 if self.version == 2 else 4, 3 * ((self.sh_degree + 1) ** 2 - 1)]


def _parse_header(path: Path, data: bytes, file_bytes: int) -> _Header:
    magic, version, count, degree, bits, _, streams = _HEADER.unpack(data)
    if magic != _MAGIC:
        raise InputError(f"{path}: not an SPZ file")
    if version not in (2, 3, 4):
        raise InputError(f"{path}: SPZ of version {version}; this reads 2, 3 and 4")
    header = _Header(version, count, degree, bits, streams)
    if degree > 3 or bits > 23 or not 0 < count <= _MAX_SPLATS:
        raise InputError(f"{path}: a damaged SPZ header ({count} splats, SH degree {degree}, {bits} fractional bits)")
    if count * sum(header.widths) > max(_MAX_GROWTH * file_bytes, _FREE_GROWTH_BYTES):
        raise InputError(f"{path}: {file_bytes} bytes cannot hold the {count} splats that the header promises")
    return header


def _planes_of_stream(path: Path, packed: bytes) -> tuple[_Header, list[UInt8[np.ndarray, "n w"]]]:
    """Split the body of versions 2 and 3, gzipped or as it is."""
    if packed[:4] == b"NGSP":
        head, body = packed[: _HEADER.size], packed[_HEADER.size :]
        if len(head) < _HEADER.size:
            raise _cut_short(path, len(packed), _HEADER.size)
        header = _parse_header(path, head, len(packed))
    else:
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        header = _parse_header(path, _decompress(path, inflate, packed, _HEADER.size), len(packed))
        body = _decompress(path, inflate, inflate.unconsumed_tail, header.count * sum(header.widths))
    sizes = [header.count * width for width in header.widths]
    if len(body) < sum(sizes):
        raise _cut_short(path, len(body), sum(sizes))
    planes = np.split(np.frombuffer(body, np.uint8, sum(sizes)), np.cumsum(sizes)[:-1])
    return header, [plane.reshape(header.count, -1) for plane in planes]


def _planes_of_frames(path: Path, packed: bytes) -> tuple[_Header, list[UInt8[np.ndarray, "n w"]]]:
    """Decompress the frames of version 4; its planes come in the order of the other versions."""
    import zstandard  # needed for these files alone

    if len(packed) < _TABLE_AT:
        raise _cut_short(path, len(packed), _TABLE_AT)
    header = _parse_header(path, packed[: _HEADER.size], len(packed))
    (table_at,) = struct.unpack_from("<I", packed, _HEADER.size)
    sizes = [header.count * width for width in header.widths if width]
    frames_at = table_at + header.streams * _TABLE_ROW.size
    if header.streams != len(sizes) or table_at < _TABLE_AT or frames_at > len(packed):
        raise InputError(f"{path}: a damaged SPZ header ({header.streams} streams, their table at byte {table_at})")
    planes, at = [], frames_at
    for row, size in enumerate(sizes):
        compressed, promised = _TABLE_ROW.unpack_from(packed, table_at + row * _TABLE_ROW.size)
        if promised != size or compressed > len(packed) - at:
            raise InputError(f"{path}: damaged, or cut short: a stream of {promised} bytes where {size} should be")
        try:
            # The frame states its own size, by which Zstandard would allocate memory.
            stated = zstandard.frame_content_size(packed[at : at + compressed])
            if stated not in (size, -1):
                raise zstandard.ZstdError(f"a frame of {stated} bytes")
            body = zstandard.ZstdDecompressor().decompress(packed[at : at + compressed], max_output_size=size)
        except zstandard.ZstdError as error:
            raise InputError(f"{path}: a damaged SPZ file ({error})") from error
        if len(body) != size:
            raise _cut_short(path, len(body), size)
        planes.append(np.frombuffer(body, np.uint8).reshape(header.count, -1))
        at += compressed
    if len(planes) < len(header.widths):
        planes.append(np.zeros((header.count, 0), np.uint8))
    return header, planes


def _check_range(path: Path, furthest: float, largest: float) -> None:
    """Check against what a byte of log scale (255 / 16 - 10) and 24 bits of position hold."""
    if furthest > _MAX_POSITION or largest > _MAX_SCALE:
        raise OutputError(
            f"{path.suffix} holds positions up to {_MAX_POSITION} m and splats up to {_MAX_SCALE:.0f} m, got "
            f"{furthest:.4g} m and {largest:.4g} m; write a smaller head, or a .ply"
        )


def _decompress(path: Path, inflate, packed: bytes, size: int) -> bytes:
    """Decompress exactly ``size`` bytes, however many more a small file would expand to."""
    try:
        data = inflate.decompress(packed, size)
    except zlib.error as error:
        raise InputError(f"{path}: not an SPZ file, or a damaged one ({error})") from error
    if len(data) < size:
        raise _cut_short(path, len(data), size)
    return data


def _cut_short(path: Path, present: int, expected: int) -> InputError:
    return InputError(f"{path}: cut short: {present} bytes where {expected} should be; copy or export it again")


def _byte(values: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _quantise_sh(sh: Float[np.ndarray, "n r 3"]) -> UInt8[np.ndarray, "n r 3"]:
    """Quantise to 8 bits, of which degree 1 keeps 5 and the rest 4, so that gzip can compress them."""
    step = np.where(np.arange(sh.shape[1]) < 3, 8, 16)[:, None]
    return np.clip(np.floor((np.rint(sh * 128) + 128 + step // 2) / step) * step, 0, 255).astype(np.uint8)


def _int24(values) -> UInt8[np.ndarray, "n 3 3"]:
    return np.stack([values & 0xFF, values >> 8 & 0xFF, values >> 16 & 0xFF], axis=-1).astype(np.uint8)


def _from_int24(raw: UInt8[np.ndarray, "n 9"]) -> Float[np.ndarray, "n 3"]:
    low, middle, high = np.moveaxis(raw.reshape(-1, 3, 3).astype(np.int64), -1, 0)
    value = low | middle << 8 | high << 16
    return np.where(value >= 1 << 23, value - (1 << 24), value).astype(np.float64)


def _with_large_w(quats: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Return quaternions of the same Gaussians with w at least one half.

    The file stores xyz alone. Near w = 0, computing w from them loses up to 12 degrees. A rotation by 180 degrees about
    a local axis leaves a Gaussian as it is, and one of q, qi, qj and qk has its largest component as w.
    """
    w, x, y, z = quats.T
    equivalent = np.stack([[w, x, y, z], [-x, w, z, -y], [-y, -z, w, x], [-z, y, -x, w]])
    largest = np.abs(quats).argmax(axis=1)
    chosen = equivalent[largest, :, np.arange(len(quats))]
    return chosen * np.where(chosen[:, :1] < 0, -1, 1)


def _quats_from_xyz(raw: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    xyz = raw / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(1, keepdims=True)))
    return np.concatenate([w, xyz], axis=1)


def _quats_from_smallest_three(raw: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Decode version 3: the largest component's index in the top two bits, three of 9 bits and a sign; order xyzw."""
    packed = np.ascontiguousarray(raw).view("<u4")[:, 0].astype(np.int64)
    largest = packed >> 30
    xyzw = np.zeros((len(packed), 4))
    for component in (3, 2, 1, 0):
        small = component != largest
        value = (packed & 0x1FF) / 511 * np.sqrt(0.5) * np.where(packed >> 9 & 1, -1, 1)
        xyzw[small, component] = value[small]
        packed = np.where(small, packed >> 10, packed)
    rows = np.arange(len(packed))
    xyzw[rows, largest] = np.sqrt(np.maximum(0, 1 - (xyzw**2).sum(1)))
    return xyzw[:, [3, 0, 1, 2]]
