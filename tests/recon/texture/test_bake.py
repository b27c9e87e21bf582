"""Decimation, atlas and baking, judged by rendering the result from cameras that were not used."""

from __future__ import annotations

import builtins
from dataclasses import replace

import cv2
import numpy as np
import pytest

from spinmeround.errors import MissingDependencyError
from spinmeround.mesh_raster import rasterize, rasterize_pixels
from spinmeround.recon.texture.atlas import simplify, unwrap
from spinmeround.recon.texture.bake import bake_texture, colour_vertices
from spinmeround.types import Cameras, TexturedMesh
from tests.recon import scenes
from tests.recon.test_hull import as_trimesh

BALL = scenes.sphere(radii=(0.17, 0.22, 0.19), subdivisions=6)


def stripes(points: np.ndarray) -> np.ndarray:
    """Colours with broad waves and fine stripes."""
    fine = 0.15 * np.sin(140 * points[:, [1, 2, 0]])
    return np.clip(0.5 + 0.25 * np.sin(12 * points + [0, 1, 2]) + fine, 0, 1)


def render(mesh: TexturedMesh, cameras: Cameras, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Plain textured rendering, bilinear; row 0 of the texture is v = 1."""
    buffer = rasterize(mesh.vertices, mesh.faces, cameras, index)
    hit = buffer.face >= 0
    uv = (mesh.uv[mesh.uv_faces[buffer.face]] * buffer.barycentric[..., None]).sum(-2).astype(np.float32)
    height, width = mesh.albedo.shape[:2]
    return cv2.remap(mesh.albedo, uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5, cv2.INTER_LINEAR), hit


def psnr_held_out(mesh: TexturedMesh, colour=stripes) -> float:
    held_out = scenes.cameras([(20, 10), (110, -5), (200, 15), (290, 40)], size_px=192)
    truth = scenes.draw(BALL, held_out, colour)
    squares = []
    for index in range(len(held_out)):
        rgb, hit = render(mesh, held_out, index)
        squares.append(((rgb - truth.rgb[index]) ** 2)[hit & (truth.alpha[index] > 0.5)].ravel())
    return float(-10 * np.log10(np.concatenate(squares).mean()))


@pytest.mark.parametrize("faces", [1000, 5000])
def test_the_face_budget_is_met_and_the_mesh_stays_closed(faces):
    small = simplify(BALL[0], faces)
    assert abs(len(small.faces) - faces) <= 0.02 * faces
    assert as_trimesh(small).is_watertight
    assert simplify(small, 10 * faces) is small


def test_charts_do_not_overlap_and_keep_the_order_of_faces():
    small = simplify(BALL[0], 2000)
    atlas = unwrap(small, 512)
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    assert atlas.uv_faces.shape == small.faces.shape
    layout = np.concatenate([atlas.uv * 1024, np.ones((len(atlas.uv), 1))], axis=1)
    texels = np.bincount(rasterize_pixels(layout, atlas.uv_faces, 1024, 1024).face.ravel() + 1, minlength=2001)[1:]
    a, b, c = (layout[atlas.uv_faces[:, k], :2] for k in range(3))
    area = np.abs(np.cross(np.pad(b - a, ((0, 0), (0, 1))), np.pad(c - a, ((0, 0), (0, 1))))[:, 2]) / 2
    assert np.abs(texels - area).max() < 40, "every face owns the texels it covers"
    assert texels.sum() > 0.4 * 1024**2


def test_held_out_views_are_met_and_fine_stripes_survive():
    views = scenes.draw(BALL, scenes.cameras(size_px=192), stripes)
    mesh = bake_texture(views, BALL[0], size_px=512, faces=4000)
    assert mesh.albedo.shape == (512, 512, 3) and mesh.albedo.dtype == np.float32
    assert mesh.albedo.min() >= 0 and mesh.albedo.max() <= 1
    assert psnr_held_out(mesh) > 33


def test_vertices_of_the_whole_surface_take_the_colours_of_the_views_and_unseen_ones_those_around():
    views = scenes.draw(BALL, scenes.cameras(scenes.LEVEL, size_px=192), lambda points: np.clip(0.5 + points, 0, 1))
    mesh = colour_vertices(views, BALL[0])
    assert mesh.faces is BALL[0].faces
    apart = np.abs(mesh.colours - np.clip(0.5 + mesh.vertices, 0, 1)).max(axis=1)
    assert np.quantile(apart, 0.95) < 0.02
    assert apart.max() < 0.1


def test_brightness_that_differs_between_views_leaves_no_seam():
    """Views with their own exposure: the result may drift from one to the other, but not jump."""
    views = scenes.draw(BALL, scenes.cameras(size_px=192), lambda points: np.full_like(points, 0.5))
    gains = np.float32([0.85, 1.15] * 6)[:, None, None, None]
    mesh = bake_texture(replace(views, rgb=views.rgb * gains), BALL[0], size_px=256, faces=2000)
    rgb, hit = render(mesh, scenes.cameras([(20, 10)], size_px=192), 0)
    inside = cv2.erode(hit.astype(np.uint8), np.ones((5, 5))) > 0
    steps = np.abs(np.diff(rgb[..., 0], axis=1))[inside[:, 1:]]
    assert rgb[inside].max() - rgb[inside].min() > 0.02, "the views do differ"
    assert np.percentile(steps, 99.5) < 0.01


def test_backgrounds_do_not_bleed_in():
    views = scenes.draw(BALL, scenes.cameras(size_px=192), lambda points: np.full_like(points, 0.3))
    magenta = np.where(views.alpha[..., None] > 0.5, views.rgb, np.float32([1, 0, 1]))
    albedo = bake_texture(replace(views, rgb=magenta), BALL[0], size_px=256, faces=2000).albedo
    assert np.abs(albedo - 0.3).max() < 0.02


def test_unseen_parts_continue_their_surroundings():
    front = scenes.cameras([(-30, 0), (0, 10), (30, 0)], size_px=192)
    views = scenes.draw(BALL, front, lambda points: np.full_like(points, 0.6) * [1, 0.5, 0.25])
    mesh = bake_texture(views, BALL[0], size_px=256, faces=2000)
    assert np.abs(mesh.albedo - np.float32([0.6, 0.3, 0.15])).max() < 0.02


def test_distrusted_views_do_not_paint():
    views = scenes.draw(BALL, scenes.cameras(size_px=192), lambda points: np.full_like(points, 0.5))
    rgb, weight = views.rgb.copy(), views.weight.copy()
    rgb[0], weight[0] = 1.0, 0.0
    albedo = bake_texture(replace(views, rgb=rgb, weight=weight), BALL[0], size_px=256, faces=2000).albedo
    assert np.abs(albedo - 0.5).max() < 0.02


def test_baking_repeats_to_the_bit_and_tells_how_far_it_is():
    views, told = scenes.draw(BALL, scenes.cameras(), stripes), []
    one = bake_texture(views, BALL[0], size_px=256, faces=2000, progress=lambda share, what: told.append(share))
    two = bake_texture(views, BALL[0], size_px=256, faces=2000)
    np.testing.assert_array_equal(one.albedo, two.albedo)
    np.testing.assert_array_equal(one.uv, two.uv)
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1


def test_without_xatlas_the_user_is_told_what_to_install(monkeypatch):
    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name == "xatlas":
            raise ImportError("no wheel")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingDependencyError, match="pip install xatlas"):
        unwrap(simplify(BALL[0], 500), 128)
