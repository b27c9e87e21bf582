"""Avatars to and from files: checks and the choice of the format. ``gltf`` and ``usd`` hold the formats themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spinmeround.errors import InputError, OutputError
from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.io.atomic import atomic_files
from spinmeround.io.formats import check_available, find_format, find_readable, formats
from spinmeround.io.meshes.faults import LARGEST_COORDINATE, mesh_fault
from spinmeround.io.splats.faults import splats_beside
from spinmeround.types import Avatar, AvatarPart, Collider, FaceClip, Joint, Splats


def write_avatar(
    path: Path | str,
    avatar: Avatar,
    *,
    metres_per_unit: float = METRES_PER_UNIT,
    clip: FaceClip | None = None,
    splats: Splats | None = None,
) -> None:
    """Write an avatar in the format of the suffix, in metres, +Y up and +Z to the front.

    ``.glb``, ``.vrm`` and ``.usdz`` are built in, and carry the avatar's poses. The same avatar gives the same bytes.

    Args:
        metres_per_unit: factor from head units to metres.
        clip: the animation, for formats that hold one (not ``.vrm``).
        splats: of the same head, for a ``.glb``: a scene of their own, behind the avatar's, which is shown at first.

    Raises:
        OutputError: an unknown suffix, a clip or splats for a format without, or a place that cannot be written.
        MissingDependencyError: a package that the format needs is not installed.
        ResourceError: the disk is full.
    """
    path = Path(path)
    wanted = find_format(path, "avatar")
    if clip is not None and not wanted.animation:
        animated = " or ".join(known.suffix for known in formats(holds="avatar") if known.animation)
        raise OutputError(f"{path}: animations go into a {animated}; write one")
    check_available(wanted, path)
    beside = splats_beside(path, wanted, splats)
    with atomic_files(path) as unfinished:
        wanted.load_writer()(unfinished, avatar, metres_per_unit=metres_per_unit, clip=clip, **beside)


def read_avatar(path: Path | str, *, metres_per_unit: float = METRES_PER_UNIT) -> Avatar:
    """Read what ``write_avatar`` writes as glTF, and rigged heads that passed through other programs.

    Vertices that the file splits along the seams of a texture are joined again. The frame of the file is kept: the head
    of a ``.vrm`` stands as high as its body. Poses are animations of one key that move nothing but morph targets, and
    custom expressions of a ``.vrm``; other animations and expressions are ignored.

    Args:
        metres_per_unit: that of the writer; 1 keeps the units of the file.

    Raises:
        InputError: an unknown suffix, no such file, damaged, compressed, without a skeleton, or with values that are
            no finite numbers.
    """
    path = Path(path)
    avatar = find_readable(path, "avatar").load_reader()(path)
    for part in avatar.parts:
        wild = [name for name, moved in part.morphs.items() if not (np.abs(moved) < LARGEST_COORDINATE).all()]
        fault = mesh_fault(part.mesh) or (f"some values of {wild[0]} are not finite numbers" if wild else "")
        if fault:
            raise InputError(f"{path}: the part {part.name!r}: {fault}; export it again")
    return replace(
        avatar,
        parts=tuple(_in_head_units(part, metres_per_unit) for part in avatar.parts),
        joints=tuple(Joint(j.name, j.parent, j.position / metres_per_unit) for j in avatar.joints),
        springs=tuple(replace(each, hit_radii=each.hit_radii / metres_per_unit) for each in avatar.springs),
        colliders=tuple(
            Collider(c.joint, c.start / metres_per_unit, c.end / metres_per_unit, c.radius / metres_per_unit)
            for c in avatar.colliders
        ),
    )


def _in_head_units(part: AvatarPart, metres_per_unit: float) -> AvatarPart:
    mesh = replace(part.mesh, vertices=part.mesh.vertices / metres_per_unit)
    return replace(part, mesh=mesh, morphs={name: moved / metres_per_unit for name, moved in part.morphs.items()})
