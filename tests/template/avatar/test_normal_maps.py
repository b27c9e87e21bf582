"""Normal maps of avatars: coarse levels shade like the dense head, finer normals pass, strands tilt the hair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinmeround.io.meshes.corners import smooth_normals
from spinmeround.tangent_space import texel_frames
from spinmeround.template.avatar.build import AvatarDetail, build_avatar
from spinmeround.template.avatar.normal_maps import with_strand_normals
from spinmeround.template.hair.texture import HEIGHT, WIDTH, HairTexture
from spinmeround.template.model.head_model import load_head_model
from spinmeround.template.render import Covering
from spinmeround.template.texture.bake import SkinTexture
from spinmeround.types import Avatar, Mesh, TexturedMesh
from tests.pipelines.fakes import sphere_mesh

_PX = 256
_MADE = ("skin", "eyes", "teeth", "tongue")


def bald(lod: int = 0, **how) -> Avatar:
    model = load_head_model()
    skin = SkinTexture(np.full((_PX, _PX, 3), 0.5, np.float32), np.zeros((_PX, _PX), np.float32))
    bare = np.zeros(model.subdivision.shape[0])
    return build_avatar(model, model.mean, bare, skin, (), AvatarDetail(lod, _PX, normal_map=True), **how)


def dense_normals() -> np.ndarray:
    """World normals of the dense mean head at each texel, 0 between its charts."""
    model = load_head_model()
    blank = np.zeros((_PX, _PX, 3), np.float32)
    dense = TexturedMesh(model.dense(model.mean), model.dense_faces, model.uv.astype(float), model.uv_faces, blank)
    frames = texel_frames(dense, smooth_normals(dense))
    out = np.zeros((_PX, _PX, 3))
    out[frames.covered] = frames.normals / np.linalg.norm(frames.normals, axis=1, keepdims=True)
    return out


def angles_deg(mesh: TexturedMesh, wanted: np.ndarray, *, mapped: bool) -> np.ndarray:
    """From the normals that are shaded to the wanted ones, where the mesh and they have texels."""
    frames = texel_frames(mesh, smooth_normals(mesh))
    inside = mesh.normal_map[frames.covered] if mapped else np.tile([0.0, 0, 1], (len(frames.points), 1))
    wanted = wanted[frames.covered]
    known = np.linalg.norm(wanted, axis=1) > 0.5
    cosine = (frames.to_world(inside)[known] * wanted[known]).sum(1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("lod", [1, 2])
def test_coarse_levels_shade_like_the_dense_head(lod):
    avatar, wanted = bald(lod=lod), dense_normals()
    assert [part.name for part in avatar.parts] == list(_MADE)
    for part in avatar.parts:
        assert part.mesh.normal_map is avatar.parts[0].mesh.normal_map
        assert part.mesh.normal_map.shape == part.mesh.albedo.shape
        error = angles_deg(part.mesh, wanted, mapped=True)
        assert np.median(error) < 0.1
        assert np.median(angles_deg(part.mesh, wanted, mapped=False)) > 10 * np.median(error)
    skin = avatar.parts[0].mesh
    assert np.percentile(angles_deg(skin, wanted, mapped=True), 95) < 1
    assert np.percentile(angles_deg(skin, wanted, mapped=False), 95) > (8 if lod == 2 else 4)


def test_finer_normals_go_through_to_the_level():
    tilt = np.radians(20)
    normals = np.tile(np.array([np.sin(tilt), 0, np.cos(tilt)], np.float32), (_PX, _PX, 1))
    skin = bald(lod=2, fine_normals=normals).parts[0].mesh
    error = angles_deg(skin, dense_normals(), mapped=True)
    assert np.median(error) == pytest.approx(20, abs=0.5)


def test_strands_tilt_the_normals_of_the_hair_across_the_seam_too():
    ball = sphere_mesh()
    rng = np.random.default_rng(0)
    relief = rng.normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    seen, occupied = np.zeros_like(relief), np.ones(relief.shape, bool)
    plain = np.full((HEIGHT, WIDTH, 3), 0.2, np.float32)
    texture = HairTexture(np.zeros(3), plain, plain, relief, seen, occupied)
    uv = texture.corner_uv(ball.vertices, ball.faces)
    assert uv.max() > 1
    mesh = TexturedMesh(
        ball.vertices, ball.faces, uv.reshape(-1, 2), np.arange(ball.faces.size).reshape(-1, 3), texture.albedo
    )
    whole = Mesh(ball.vertices, ball.faces)
    smooth = with_strand_normals(mesh, Covering("hair", whole, replace(texture, relief=0 * relief))).normal_map
    rough = with_strand_normals(mesh, Covering("hair", whole, texture)).normal_map
    assert smooth.shape == texture.albedo.shape
    occupied = slice(100, 500)
    assert np.percentile(smooth[occupied, :, 2], 1) > np.cos(np.radians(3))
    for columns in (slice(0, 40), slice(400, 600), slice(WIDTH - 40, WIDTH)):
        tilt_deg = np.degrees(np.arccos(np.clip(rough[occupied, columns, 2], -1, 1)))
        assert 5 < np.median(tilt_deg) < 40
