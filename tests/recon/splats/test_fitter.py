"""The splat fit: starts on the surface, improves, stays inside the silhouettes, honours weights, repeats."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from spinmeround import mesh_raster
from spinmeround.errors import FitError
from spinmeround.geometry import project, resized, select, vertex_normals
from spinmeround.images import composite, resize
from spinmeround.orbits import orbit_cameras
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.recon.splats import fitter as fitter_module
from spinmeround.recon.splats.fitter import SPLAT_PRESETS, GaussianFitter, SplatSettings
from spinmeround.recon.splats.initialisation import merge_fits, outside_silhouettes, splats_on_surface, z_axes
from spinmeround.recon.splats.optimizer import LearningRateSchedule, SplatOptimizer, ViewCrop
from spinmeround.types import SH_C0, Mesh, Splats, Views

SIZE_PX = 96
AROUND = ([0.0, 60.0, 120.0, 180.0, 240.0, 300.0, 30.0, 210.0], [10.0, -20.0, 5.0, -10.0, 15.0, 0.0, 40.0, -40.0])
BETWEEN = ([25.0, 150.0, 265.0], [0.0, 12.0, -12.0])
QUICK = SplatSettings(count=2500, iterations=80)


def egg() -> Mesh:
    """A closed surface without symmetry in size, about as large as a head."""
    sphere = trimesh.creation.icosphere(subdivisions=4)
    vertices = np.array(sphere.vertices) * [0.17, 0.27, 0.21] + [0.01, -0.02, 0.0]
    return Mesh(vertices, np.array(sphere.faces).astype(np.int64))


def colour_at(points):
    waves = np.sin(points * [40.0, 31.0, 23.0] + [0.0, 1.0, 2.0])
    return np.clip(0.5 + 0.35 * waves, 0, 1)


def photograph(surface: Mesh, azimuths_deg, elevations_deg) -> Views:
    """Views of a painted surface: colour by position, normals from the mesh; nine rays a pixel, so edges are soft."""
    cameras = orbit_cameras(azimuths_deg, elevations_deg, size_px=SIZE_PX)
    fine = resized(cameras, 3 * SIZE_PX, 3 * SIZE_PX)
    attributes = np.concatenate([surface.vertices, vertex_normals(surface.vertices, surface.faces)], axis=1)
    planes = []
    for index in range(len(cameras)):
        buffer = mesh_raster.rasterize(surface.vertices, surface.faces, fine, index)
        picture = mesh_raster.interpolate(attributes, surface.faces, buffer)
        hit = (buffer.face >= 0)[..., None].astype(np.float32)
        picture = np.concatenate([hit * colour_at(picture[..., :3]), picture[..., 3:], hit], axis=-1).astype(np.float32)
        planes.append(resize(picture, SIZE_PX, SIZE_PX))
    premultiplied, normals, alpha = np.split(np.stack(planes), [3, 6], axis=-1)
    length = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    return Views(
        cameras,
        premultiplied / np.maximum(alpha, 1e-6),
        np.where(alpha > 0.5, normals / length, 0).astype(np.float32),
        alpha[..., 0],
        np.ones_like(alpha[..., 0]),
        tuple(f"view_{index}" for index in range(len(cameras))),
    )


@pytest.fixture(scope="module")
def surface() -> Mesh:
    return egg()


@pytest.fixture(scope="module")
def views(surface) -> Views:
    return photograph(surface, *AROUND)


@pytest.fixture(scope="module")
def held_out(surface) -> Views:
    return photograph(surface, *BETWEEN)


@pytest.fixture(scope="module")
def fitted(views, surface) -> Splats:
    return GaussianFitter(NumbaRasterizer(), QUICK).fit(views, surface, seed=0)


def psnr_on_head(splats: Splats, views: Views) -> float:
    with torch.no_grad():
        drawn = NumbaRasterizer().render(splats, views.cameras)
    ours = drawn.rgb.numpy() + 1 - drawn.alpha.numpy()[..., None]
    error = (ours - composite(views.rgb, views.alpha)) ** 2
    return float(-10 * np.log10(error[views.alpha > 0].mean()))


def start(views: Views, surface: Mesh, count: int = 3000) -> Splats:
    return splats_on_surface(views, surface, count=count, sh_degree=0, rng=np.random.default_rng(0))


def test_discs_are_as_thin_as_asked_and_the_fit_keeps_them_so(views, surface, fitted):
    thin = splats_on_surface(views, surface, count=500, sh_degree=0, rng=np.random.default_rng(0), flatness=0.06)
    torch.testing.assert_close(thin.scales[:, 2], 0.06 * thin.scales[:, 0])
    ratio = fitted.scales[:, 2] / fitted.scales.max(dim=1).values
    assert float(ratio.min()) > 0.019 and float(ratio.median()) < 0.12


def test_the_start_lies_on_the_surface_and_wears_its_colours(views, surface):
    splats = start(views, surface)
    means = splats.means.numpy().astype(np.float64)
    radius = np.linalg.norm((means - [0.01, -0.02, 0.0]) / [0.17, 0.27, 0.21], axis=1)
    assert radius.min() > 0.93 and radius.max() < 1
    z = torch.nn.functional.normalize(splats.means - torch.tensor([0.01, -0.02, 0.0]), dim=1)
    quats = splats.quats_wxyz
    torch.testing.assert_close(quats.norm(dim=1), torch.ones(len(splats)))
    assert float((z_axes(quats) * z).sum(dim=1).min()) > 0.85
    assert bool((splats.scales[:, 2] < splats.scales[:, 0]).all())
    wrong = np.abs(0.5 + SH_C0 * splats.sh[:, 0].numpy() - colour_at(means)).mean(axis=1)
    assert np.median(wrong) < 0.05


def test_the_start_is_even_by_area(views, surface):
    """Sixteen sectors of equal area on a plain ball get about equal shares."""
    views = replace(views, rgb=np.full_like(views.rgb, 0.5))
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.2)
    ball = Mesh(np.array(sphere.vertices), np.array(sphere.faces).astype(np.int64))
    means = start(views, ball, 8000).means.numpy()
    band = np.histogram(means[:, 1] / np.linalg.norm(means, axis=1), bins=16, range=(-1, 1))[0]
    assert band.min() > 0.85 * 500 and band.max() < 1.15 * 500


def test_the_start_is_denser_where_there_is_detail(views, surface):
    noise = np.random.default_rng(0).random(views.rgb.shape, np.float32)
    column = np.arange(SIZE_PX) < SIZE_PX // 2
    speckled = np.where(column[:, None], noise, np.float32(0.5))
    front = slice(0, 1)
    one = Views(
        select(views.cameras, front), speckled[front], *(v[front] for v in (views.normals_world, views.alpha)),
        views.weight[front], views.names[front],
    )  # fmt: skip
    seen = start(one, surface).means.numpy()
    seen = seen[seen[:, 2] > 0.1]
    x = project(seen, one.cameras.camera_from_world[0], one.cameras.intrinsics_px[0])[:, 0]
    assert (x < SIZE_PX / 2).mean() > 0.7
    assert (x > SIZE_PX / 2 + 8).sum() > 100


def test_what_no_view_sees_takes_a_neighbours_colour(surface):
    front_only = photograph(surface, [0.0], [0.0])
    splats = start(front_only, surface)
    colours = 0.5 + SH_C0 * splats.sh[:, 0].numpy()
    assert np.isfinite(colours).all()
    assert colours.min() > 0.05 and colours.max() < 0.95


def test_the_fit_shows_views_it_has_not_seen(views, held_out, surface, fitted):
    before, after = psnr_on_head(start(views, surface, QUICK.count), held_out), psnr_on_head(fitted, held_out)
    assert after > before + 2
    assert after > 28.5
    drawn = NumbaRasterizer().render(fitted, held_out.cameras)
    inside = (held_out.alpha > 0.6) & (drawn.alpha.numpy() > 0.5)
    assert inside.sum() > 0.99 * (held_out.alpha > 0.6).sum()
    normals = torch.nn.functional.normalize(drawn.normals_world, dim=-1).numpy()
    cosine = (normals * held_out.normals_world).sum(-1)[inside]
    assert np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1)))) < 4
    assert np.mean((drawn.alpha.numpy() > 0.5) & (held_out.alpha < 0.1)) < 0.01


def test_no_floaters_and_no_needles(views, fitted):
    assert not outside_silhouettes(fitted.means.numpy(), views).any()
    in_plane = fitted.scales[:, :2]
    assert float((in_plane.max(dim=1).values / in_plane.min(dim=1).values).max()) < 5.01
    assert bool((fitted.scales[:, 2] <= in_plane.min(dim=1).values + 1e-7).all())
    assert float(fitted.opacities.min()) > 0.02
    torch.testing.assert_close(fitted.quats_wxyz.norm(dim=1), torch.ones(len(fitted)))
    assert not fitted.means.requires_grad


def test_same_seed_same_bytes_other_seed_other_bytes(views, surface):
    settings = SplatSettings(count=800, iterations=6)
    runs = [
        GaussianFitter(NumbaRasterizer(threads=t), settings).fit(views, surface, seed=s)
        for t, s in ((1, 3), (3, 3), (1, 4))
    ]
    assert torch.equal(runs[0].means, runs[1].means) and torch.equal(runs[0].sh, runs[1].sh)
    assert not torch.equal(runs[0].sh[:100], runs[2].sh[:100])


def test_a_splat_outside_one_silhouette_is_found(views):
    points = np.array([[0.01, -0.02, 0.0], [0.0, 0.0, 0.3], [0.25, 0.0, 0.0], [0.0, 0.0, 5.0]])
    assert outside_silhouettes(points, views).tolist()[:3] == [False, True, True]
    unsure = Views(views.cameras, views.rgb, views.normals_world, views.alpha, 0.3 * views.weight, views.names)
    assert not outside_silhouettes(points, unsure).any()


def test_floaters_are_removed_from_the_result(views, surface, caplog):
    """A start surface with a satellite that no silhouette knows."""
    moon = trimesh.creation.icosphere(subdivisions=2, radius=0.03)
    vertices = np.concatenate([surface.vertices, np.array(moon.vertices) + np.array([0.3, 0.2, 0.0])])
    faces = np.concatenate([surface.faces, np.array(moon.faces) + len(surface.vertices)]).astype(np.int64)
    with caplog.at_level(logging.INFO):
        splats = GaussianFitter(NumbaRasterizer(), SplatSettings(count=2000, iterations=4)).fit(
            views, Mesh(vertices, faces), seed=0
        )
    assert len(splats) < 2000
    assert float(splats.means[:, 0].max()) < 0.25
    assert "lay outside a silhouette" in caplog.text


def test_where_views_disagree_the_trusted_one_wins(views, surface):
    """One camera, two colours: the weights decide, at every pixel."""
    twice = [0, 0]
    rgb = np.stack([np.zeros_like(views.rgb[0]), np.ones_like(views.rgb[0])])
    weight = np.stack([np.full_like(views.weight[0], 0.2), np.full_like(views.weight[0], 0.2)])
    weight[0, :, : SIZE_PX // 2], weight[1, :, SIZE_PX // 2 :] = 1.0, 1.0
    pair = Views(select(views.cameras, twice), rgb, views.normals_world[twice], views.alpha[twice], weight, ("a", "b"))
    splats = GaussianFitter(NumbaRasterizer(), SplatSettings(count=3000, iterations=60)).fit(pair, surface, seed=0)
    drawn = NumbaRasterizer().render(splats, select(views.cameras, [0])).rgb[0].numpy()
    inner = views.alpha[0] > 0
    left, right = inner.copy(), inner.copy()
    left[:, SIZE_PX // 2 - 4 :], right[:, : SIZE_PX // 2 + 4] = False, False
    assert drawn[left].mean() < 0.35 and drawn[right].mean() > 0.65


def test_views_without_normals_are_fitted_too(views, held_out, surface):
    plain = Views(views.cameras, views.rgb, 0 * views.normals_world, views.alpha, views.weight, views.names)
    splats = GaussianFitter(NumbaRasterizer(), SplatSettings(count=3000, iterations=30)).fit(plain, surface, seed=0)
    assert psnr_on_head(splats, held_out) > 24


def test_neighbours_that_contradict_each_other_are_fitted_softly_with_what_lies_between_them(surface, caplog):
    near = photograph(surface, [15.0 * k for k in range(5)], [0.0] * 5)
    rgb = near.rgb.copy()
    rgb[1::2] = rgb[1::2, ..., ::-1]
    inconsistent = replace(near, rgb=rgb, normals_world=0 * near.normals_world)
    with caplog.at_level(logging.INFO):
        splats = GaussianFitter(NumbaRasterizer(), SplatSettings(count=300, iterations=2)).fit(
            inconsistent, surface, seed=0
        )
    assert "4 pictures between them join the fit" in caplog.text
    assert splats.sh.shape[1:] == (16, 3)
    pixel = 2.7 / float(near.cameras.intrinsics_px[0, 0, 0])
    assert float(splats.scales[:, :2].min()) > 1.4 * pixel


def test_views_that_contradict_each_other_are_fitted_coarse_first(surface, monkeypatch):
    near = photograph(surface, [15.0 * k for k in range(3)], [0.0] * 3)
    rgb = near.rgb.copy()
    rgb[1] = rgb[1, ..., ::-1]
    inconsistent = replace(near, rgb=rgb, normals_world=0 * near.normals_world)
    work = replace(fitter_module._INCONSISTENT_WORK, coarse_px=SIZE_PX // 2)
    monkeypatch.setattr(fitter_module, "_INCONSISTENT_WORK", work)
    focal_px, sizes = [], []

    class Watched:
        def render(self, splats, cameras, **how):
            focal_px.append(float(cameras.intrinsics_px[0, 0, 0]))
            sizes.append(len(splats))
            return NumbaRasterizer().render(splats, cameras, **how)

    GaussianFitter(Watched(), SplatSettings(count=100, iterations=2)).fit(inconsistent, surface, seed=0)
    full_px = float(near.cameras.intrinsics_px[0, 0, 0])
    coarse = len(focal_px) - 2
    assert coarse > 10
    assert focal_px == pytest.approx([full_px / 2] * coarse + [full_px] * 2)
    assert max(sizes[:-2]) == 50 and sizes[-2:] == [sizes[-1]] * 2 and sizes[-1] > 50


def test_merged_fits_have_the_transmittance_of_one(views, surface):
    one = start(views, surface, 300)
    opaque = replace(one, opacities=torch.linspace(0, 1, 300))
    assert merge_fits([one]) is one
    three = merge_fits([opaque] * 3)
    assert len(three) == 900 and bool((three.opacities < 1).all())
    torch.testing.assert_close(three.means[300:600], one.means)
    torch.testing.assert_close(1 - (1 - three.opacities[:300]) ** 3, opaque.opacities, atol=1e-5, rtol=0)


def optimise(begin: Splats, schedule: LearningRateSchedule, steps: int = 1) -> tuple[SplatOptimizer, list[Splats]]:
    """Minimise a linear loss, and return the splats after each step."""
    optimizer, seen = SplatOptimizer(begin, 0.01, regularise_positions=False, schedule=schedule), []
    for step in range(steps):
        now = optimizer.splats()
        optimizer.step(now.means.sum() + now.sh[:, :1].sum(), step / steps)
        now = optimizer.splats()
        seen.append(replace(now, means=now.means.detach().clone(), sh=now.sh.detach()))
    return optimizer, seen


def test_a_schedule_scales_geometry_apart_from_colours(views, surface):
    begin = start(views, surface, 50)
    usual, fast = (optimise(begin, LearningRateSchedule(first=0.5, geometry=g))[1][0] for g in (1.0, 2.0))
    torch.testing.assert_close(fast.means - begin.means, 2 * (usual.means - begin.means), atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(fast.sh, usual.sh)
    torch.testing.assert_close(begin.sh - usual.sh, torch.full_like(begin.sh, 0.5 * 3.5e-2), atol=1e-6, rtol=1e-3)


def test_a_schedule_may_average_the_last_steps(views, surface):
    begin = start(views, surface, 50)
    optimizer, seen = optimise(begin, LearningRateSchedule(last=1.0, averaged_fraction=0.5), 8)
    expected = torch.stack([splats.means for splats in seen[4:]]).mean(dim=0)
    torch.testing.assert_close(optimizer.result().means, expected)
    assert not optimizer.result().means.requires_grad
    optimizer, seen = optimise(begin, LearningRateSchedule(), 3)
    assert torch.equal(optimizer.result().means, seen[-1].means)


@pytest.mark.parametrize("degree", [1, 3])
def test_higher_harmonics_are_fitted_when_asked(views, surface, degree):
    settings = SplatSettings(count=500, iterations=4, sh_degree=degree)
    splats = GaussianFitter(NumbaRasterizer(), settings).fit(views, surface, seed=0)
    assert splats.sh.shape[1:] == ((degree + 1) ** 2, 3)
    assert splats.sh[:, 1:].abs().max() > 0


def test_the_threads_of_torch_are_given_back(views, surface):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    GaussianFitter(NumbaRasterizer(), SplatSettings(count=200, iterations=1)).fit(views, surface, seed=0)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_progress_goes_from_none_to_all(views, surface):
    seen = []
    fitter = GaussianFitter(NumbaRasterizer(), SplatSettings(count=300, iterations=3))
    fitter.fit(views, surface, seed=0, progress=lambda fraction, message: seen.append((fraction, message)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions[0] == 0 and fractions[-1] == 1 and fractions == sorted(fractions)
    assert all(message for _, message in seen)


def test_bad_input_is_said(views, surface):
    fitter = GaussianFitter(NumbaRasterizer(), SplatSettings(count=100, iterations=2))
    with pytest.raises(FitError, match="no area"):
        fitter.fit(views, Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), seed=0)
    with pytest.raises(FitError, match="no view sees"):
        fitter.fit(views, Mesh(surface.vertices + np.array([0.0, 0.0, 9.0]), surface.faces), seed=0)


def test_presets_grow():
    sizes = [(SPLAT_PRESETS[name].count, SPLAT_PRESETS[name].iterations) for name in ("draft", "standard", "high")]
    assert sizes == sorted(sizes) and sizes[1][0] == 200_000
    with pytest.raises(TypeError):
        SPLAT_PRESETS["standard"] = SplatSettings()  # type: ignore[index]


def test_crops_cover_the_head(views):
    """What the fit draws of a view is where the view's head is, in the same pixels."""
    picture = ViewCrop.of(views, 0)
    assert picture.rgb.shape[:2] == (picture.camera.height_px, picture.camera.width_px)
    assert picture.camera.width_px < SIZE_PX
    assert float(picture.alpha.sum()) == pytest.approx(views.alpha[0].sum(), rel=1e-5)
    point = np.array([[0.02, 0.05, 0.1]])
    whole = project(point, views.cameras.camera_from_world[0], views.cameras.intrinsics_px[0])[0, :2]
    cut = project(point, picture.camera.camera_from_world[0], picture.camera.intrinsics_px[0])[0, :2]
    x, y = np.floor(whole).astype(int)
    xc, yc = np.floor(cut).astype(int)
    np.testing.assert_array_equal(views.rgb[0, y, x], picture.rgb[yc, xc].numpy())
