"""The composition: what is made for which outputs, what the report says, and what is left behind when a room fails."""

from __future__ import annotations

import errno
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import torch

from spinmeround import make_views, reconstruct
from spinmeround.errors import (
    CancelledError,
    InputError,
    NoFaceError,
    OutputError,
    PoorResultError,
    ResourceError,
    WeightsError,
)
from spinmeround.geometry import project
from spinmeround.io import read_avatar, read_mesh, read_splats, read_views
from spinmeround.io.pictures import read_picture
from spinmeround.pipelines.outputs import OutputOptions
from spinmeround.pipelines.settings import AvatarOptions, PhotoOptions, RunSettings
from tests.pipelines.fakes import (
    GOOD_PHOTO,
    HEAD_REPORT,
    PHOTO_CAMERA,
    RADIUS,
    FakeBackends,
    MovingHead,
    PaintedBall,
    install,
    sphere_texture,
)

PARTS = ("photo", "portrait", "head", "surface", "splats", "texture")
DRAFT = RunSettings(quality="draft")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "face.jpg"
    path.write_bytes(b"stands for a photo")
    return path


@pytest.fixture
def backends(monkeypatch):
    """Runs work on a sphere; call it to say how."""

    def again(**how):
        install(monkeypatch, **how)

    again()
    return again


def left_behind(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_makes_only_what_the_outputs_need(backends, photo, tmp_path):
    entered: list[str] = []
    backends(before=entered.append)
    for out, expected in (("a.ply", {"splats"}), ("a.glb", {"texture"}), ("a.spz", {"splats"})):
        entered.clear()
        result = reconstruct(photo, out=tmp_path / out, settings=DRAFT)
        assert {"splats", "texture"} & set(entered) == expected
        assert (result.splats is not None) == ("splats" in expected)
        assert (result.mesh is not None) == ("texture" in expected)
        assert result.files == (tmp_path / out,)
    both = reconstruct(photo, settings=DRAFT)
    assert both.splats is not None
    assert both.mesh is not None
    assert both.files == ()


def test_an_avatar_alone_needs_no_surface_and_no_texture(backends, photo, tmp_path):
    entered: list[str] = []
    backends(before=entered.append, head=MovingHead())
    out, preview = tmp_path / "a.glb", tmp_path / "p.png"
    tall = replace(DRAFT, height_m=2.0)
    result = reconstruct(photo, out=out, settings=tall, outputs=OutputOptions(preview=preview))
    assert not {"views", "surface", "texture", "splats"} & set(entered)
    assert len(result.views) == 0
    assert result.avatar is not None and result.mesh is None and "surface" not in result.report
    assert preview.stat().st_size > 1000
    assert np.ptp(read_mesh(out, metres_per_unit=1.0).vertices[:, 1]) == pytest.approx(2.0, rel=1e-4)
    reconstruct(photo, out=[out, tmp_path / "a.obj"], settings=DRAFT)
    assert {"views", "surface", "texture"} <= set(entered)
    entered.clear()
    views = OutputOptions(views=tmp_path / "views")
    assert len(reconstruct(photo, out=out, settings=DRAFT, outputs=views).views) > 8
    assert "views" in entered


def test_splats_of_a_painted_head_need_no_surface(backends, photo, tmp_path):
    entered: list[str] = []
    backends(before=entered.append, head=PaintedBall())
    planned: list[tuple[str, ...]] = []

    @contextmanager
    def watch(stages):
        yield
        planned.append(stages.planned)

    result = reconstruct(photo, out=tmp_path / "a.ply", settings=replace(DRAFT, height_m=0.25), watch=watch)
    assert "splats" in entered and not {"surface", "texture"} & set(entered)
    assert "surface" not in planned[0] and [each["stage"] for each in result.report["stages"]] == list(planned[0])
    assert result.report["splats"]["started_on"] == "what the views were drawn from"
    assert "surface" not in result.report
    alone = (tmp_path / "a.ply").read_bytes()
    for out in ([tmp_path / "b.ply", tmp_path / "b.obj"], [tmp_path / "c.obj"]):
        entered.clear()
        made = reconstruct(photo, out=out, settings=replace(DRAFT, height_m=0.25))
        assert {"surface", "texture"} <= set(entered), "a mesh is made of a fitted surface"
        assert made.report["surface"]["vertices"] > 0
    assert (tmp_path / "b.ply").read_bytes() == alone, "splats do not depend on what else is asked for"
    assert made.splats is None


def test_a_splat_fitter_that_knows_no_painted_surface_starts_on_a_fitted_one(backends, photo, tmp_path, monkeypatch):
    entered: list[str] = []
    backends(before=entered.append, head=PaintedBall())
    monkeypatch.setattr(FakeBackends, "splat_fitter", object())
    result = reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT)
    assert {"surface", "splats"} <= set(entered)
    assert result.report["splats"]["started_on"] == "a fitted surface"


def test_a_resumed_run_of_a_painted_head_gives_the_same_bytes(backends, photo, tmp_path, monkeypatch):
    backends(head=PaintedBall())
    reconstruct(photo, out=tmp_path / "whole.ply", settings=DRAFT)
    entered: list[str] = []
    backends(before=entered.append, head=PaintedBall())
    with monkeypatch.context() as patch:
        patch.setattr("spinmeround.io.splats.gaussian_ply.write_splat_ply", fail_to_write)
        with pytest.raises(ResourceError):
            reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT)
    entered.clear()
    again = reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT)
    assert "splats" not in entered and again.report["resumed"] == ["splats"]
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "whole.ply").read_bytes()


def fail_to_write(*args, **kwargs):
    raise OSError(errno.ENOSPC, "no space left on device")


def test_avatars_rest_and_carry_the_photos_expression(backends, photo, tmp_path):
    backends(head=MovingHead())
    out = [tmp_path / "a.glb", tmp_path / "a.vrm"]
    preview = tmp_path / "p.png"
    result = reconstruct(photo, out=out, settings=DRAFT, outputs=OutputOptions(preview=preview))
    assert result.avatar.poses == {"photo": {"jawOpen": 0.5}}
    assert result.report["avatar"]["poses"] == ["photo"]
    assert [read_avatar(path).poses for path in out] == [result.avatar.poses] * 2
    at_rest = read_mesh(tmp_path / "a.glb").vertices
    assert np.linalg.norm(at_rest, axis=1).max() == pytest.approx(RADIUS, rel=1e-3)
    last = read_picture(preview)[512:, 512 + 5 * 256 : 512 + 6 * 256]
    assert last.shape[1] == 256 and (last < 200).any(), "the pose is the sixth face"
    report = reconstruct(photo, out=tmp_path / "b.glb", settings=replace(DRAFT, photo=PhotoOptions(neutral=True)))
    assert report.avatar.poses == result.avatar.poses


def test_an_avatar_acts(backends, photo, tmp_path):
    backends(head=MovingHead())
    (tmp_path / "take.csv").write_text("Timecode,JawOpen,HeadYaw\n00:00:00:00,0,0\n00:00:00:30,1,0.5\n")
    result = reconstruct(
        photo,
        out=tmp_path / "a.glb",
        settings=replace(DRAFT, avatar=AvatarOptions(expression={"jawOpen": 0.5}, animate=tmp_path / "take.csv")),
        outputs=OutputOptions(preview=tmp_path / "p.png"),
    )
    assert result.report["expression"] == {"jawOpen": 0.5}
    assert result.report["animation"] == {"frames": 2, "seconds": 0.5}
    file = pygltflib.GLTF2().load_binary(str(tmp_path / "a.glb"))
    assert file is not None
    assert [channel.target.path for channel in file.animations[0].channels] == ["weights", "rotation"]
    assert [animation.name for animation in file.animations] == ["face", "photo"]
    assert read_picture(tmp_path / "p.png").shape == (768, 512 + 8 * 256, 3)


@pytest.mark.usefixtures("backends")
def test_every_kind_of_output_in_one_run(photo, tmp_path, monkeypatch):
    monkeypatch.setattr("spinmeround.inspection.drawing._FILM_FRAMES", 6)
    names = ("head.ply", "head.splat", "head.glb", "mesh.obj")
    result = reconstruct(
        [photo, photo],
        out=[tmp_path / name for name in names],
        settings=DRAFT,
        outputs=OutputOptions(
            views=tmp_path / "views",
            report=tmp_path / "report.json",
            preview=tmp_path / "preview.png",
            turntable=tmp_path / "turn.mp4",
        ),
    )
    expected = {*names, "mesh.mtl", "mesh_albedo.png", "views", "report.json", "preview.png", "turn.mp4", "face.jpg"}
    assert left_behind(tmp_path) == expected
    assert len(read_splats(tmp_path / "head.ply")) == len(result.splats)
    np.testing.assert_allclose(np.ptp(read_mesh(tmp_path / "head.glb").vertices[:, 1]), 0.5, rtol=1e-3)
    assert read_views(tmp_path / "views")[0].names[:3] == ("photo", "az+0_el+0", "az+45_el+0")
    assert (tmp_path / "turn.mp4").read_bytes()[4:8] == b"ftyp"
    assert set(map(str, result.files)) == {
        str(tmp_path / n) for n in (*names, "views", "report.json", "preview.png", "turn.mp4")
    }


@pytest.mark.usefixtures("backends")
def test_ply_can_hold_a_mesh(photo, tmp_path):
    result = reconstruct(photo, out=tmp_path / "head.ply", settings=DRAFT, outputs=OutputOptions(ply="mesh"))
    assert result.splats is None
    assert len(read_mesh(tmp_path / "head.ply").faces) == len(result.mesh.faces)
    assert result.report["whole_mesh"]["triangles"] == len(result.mesh.faces)


@pytest.mark.usefixtures("backends")
def test_glb_can_hold_splats(photo, tmp_path):
    result = reconstruct(photo, out=tmp_path / "a.glb", settings=DRAFT, outputs=OutputOptions(glb="splats"))
    assert result.mesh is None and result.avatar is None
    torch.testing.assert_close(read_splats(tmp_path / "a.glb").means, result.splats.means, rtol=1e-6, atol=1e-7)
    with pytest.raises(InputError, match="only splats"):
        read_mesh(tmp_path / "a.glb")


@pytest.mark.parametrize("moves", [True, False])
def test_glb_can_hold_splats_beside_the_head(backends, photo, tmp_path, moves):
    backends(**({"head": MovingHead()} if moves else {}))
    options = OutputOptions(glb="both", report=tmp_path / "r.json")
    settings = replace(DRAFT, avatar=AvatarOptions(rig=moves))
    result = reconstruct(photo, out=[tmp_path / "a.glb", tmp_path / "b.ply"], settings=settings, outputs=options)
    assert [path.name for path in result.files] == ["b.ply", "a.glb", "r.json"]
    both, alone = read_splats(tmp_path / "a.glb"), read_splats(tmp_path / "b.ply")
    torch.testing.assert_close(both.means, alone.means, rtol=1e-6, atol=1e-7)
    assert (result.avatar is not None) is moves
    beside = read_mesh(tmp_path / "a.glb").vertices
    assert np.linalg.norm(beside, axis=1).max() == pytest.approx(RADIUS, rel=0.05)
    if moves:
        assert read_avatar(tmp_path / "a.glb").poses == {"photo": {"jawOpen": 0.5}}


@pytest.mark.usefixtures("backends")
def test_height_scales_splats_and_meshes_alike(photo, tmp_path):
    reconstruct(photo, out=[tmp_path / "a.ply", tmp_path / "a.glb"], settings=replace(DRAFT, height_m=2.0))
    assert np.ptp(read_mesh(tmp_path / "a.glb", metres_per_unit=1.0).vertices[:, 1]) == pytest.approx(2.0, rel=1e-4)
    assert np.ptp(read_splats(tmp_path / "a.ply", metres_per_unit=1.0).means[:, 1].numpy()) == pytest.approx(
        2, rel=1e-4
    )


def test_a_mesh_that_was_simplified_keeps_the_scale_of_the_splats(photo, tmp_path, monkeypatch):
    class Flattening(FakeBackends):
        def bake_texture(self, views, surface, *, faces, progress):
            painted = sphere_texture(surface)
            return replace(painted, vertices=painted.vertices * [1, 0.98, 1])

    install(monkeypatch, Flattening)
    reconstruct(photo, out=[tmp_path / "a.ply", tmp_path / "a.glb"], settings=replace(DRAFT, height_m=2.0))
    mesh = read_mesh(tmp_path / "a.glb", metres_per_unit=1.0).vertices
    splats = read_splats(tmp_path / "a.ply", metres_per_unit=1.0).means.numpy()
    np.testing.assert_allclose(np.ptp(mesh, axis=0), np.ptp(splats, axis=0) * [1, 0.98, 1], rtol=1e-4)


@pytest.mark.usefixtures("backends")
def test_report_says_what_was_chosen_and_why_and_what_it_took(photo, tmp_path):
    result = reconstruct(
        photo,
        out=tmp_path / "a.ply",
        settings=replace(DRAFT, seed=3),
        outputs=OutputOptions(report=tmp_path / "r.json"),
    )
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report == json.loads(json.dumps(result.report))
    assert report["seed"] == 3
    assert report["choices"]["prior"]["took"] == "template"
    assert "weights" in report["choices"]["prior"]["why"]
    assert [s["stage"] for s in report["stages"]] == [
        "photo",
        "portrait",
        "head",
        "views",
        "surface",
        "splats",
        "files",
    ]
    assert all(s["seconds"] >= 0 and s["peak_memory_mb"] > 10 for s in report["stages"])
    assert report["photos"] == [{"file": "face.jpg", "faces_seen": 1, "face_taken": 1, "notes": []}]
    assert report["quality"]["verdict"] == "good"
    assert report["quality"]["reasons"] == []
    assert report["quality"]["sharpness"] == 1
    assert report["quality"]["likeness"] is None, "nothing is known of a sphere's likeness"
    assert report["head"] == HEAD_REPORT
    assert report["texture"] == {"skin": {"observed": 0.3, "invented": 0.7}}
    assert {"torch", "numpy", "python"} <= set(report["versions"])
    kinds = {entry["kind"] for entry in report["licences"]}
    assert kinds == {"code", "model", "library"}
    assert any("CC0" in entry["licence"] for entry in report["licences"])


@pytest.mark.usefixtures("backends")
def test_views_start_with_the_photo_and_then_follow_the_rig(photo):
    from spinmeround.orbits import ORBITS

    views = reconstruct(photo, settings=DRAFT).views
    assert views.names[0] == "photo"
    assert len(views) == 1 + len(ORBITS["orbit-8"])
    own = PHOTO_CAMERA
    np.testing.assert_array_equal(views.cameras.camera_from_world[0], own.camera_from_world[0])
    centre = project(np.zeros((1, 3)), views.cameras.camera_from_world[0], views.cameras.intrinsics_px[0])[0, :2]
    np.testing.assert_allclose(centre, views.cameras.width_px / 2, err_msg="the photo's camera is cropped to the head")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), ResourceError),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes"), ResourceError),
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError),
        (RuntimeError("a defect"), RuntimeError),
    ],
    ids=["ctrl-c", "memory", "torch-memory", "disk", "defect"],
)
def test_a_failing_part_leaves_nothing_behind(part, raised, expected, backends, photo, tmp_path):
    def before(name: str) -> None:
        if name == part:
            raise raised

    backends(before=before)
    outs = [tmp_path / "head.ply", tmp_path / "head.glb"]
    with pytest.raises(expected):
        reconstruct(
            photo,
            out=outs,
            settings=DRAFT,
            outputs=OutputOptions(preview=tmp_path / "p.png", report=tmp_path / "r.json"),
        )
    waits = part in ("splats", "texture") and not isinstance(raised, KeyboardInterrupt)
    finished = {".head.ply.unfinished"} if waits else set()
    assert left_behind(tmp_path) == {"face.jpg"} | finished


@pytest.mark.parametrize("part", PARTS)
def test_a_cancelled_run_leaves_nothing_behind(part, backends, photo, tmp_path):
    entered: list[str] = []
    backends(before=entered.append)
    with pytest.raises(CancelledError):
        reconstruct(
            photo,
            out=[tmp_path / "head.ply", tmp_path / "head.obj"],
            settings=DRAFT,
            outputs=OutputOptions(report=tmp_path / "r.json"),
            cancel=lambda: part in entered,
        )
    assert entered[-1] == part
    assert left_behind(tmp_path) == {"face.jpg"}


@pytest.mark.usefixtures("backends")
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("where", ["write_contact_sheet", "_turn"])
def test_a_failing_picture_keeps_what_was_whole(where, raised, photo, tmp_path, monkeypatch):
    from spinmeround.inspection import drawing

    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(drawing, where, fail)
    with pytest.raises((KeyboardInterrupt, ResourceError)):
        reconstruct(
            photo,
            out=tmp_path / "a.ply",
            settings=DRAFT,
            outputs=OutputOptions(preview=tmp_path / "p.png", turntable=tmp_path / "t.mp4"),
        )
    whole = {"face.jpg", "a.ply"} | ({"p.png"} if where == "_turn" else set())
    whole |= set() if isinstance(raised, KeyboardInterrupt) else {".a.ply.unfinished"}
    assert left_behind(tmp_path) == whole
    assert len(read_splats(tmp_path / "a.ply")) > 0


@pytest.mark.usefixtures("backends")
def test_ctrl_c_while_writing_keeps_the_old_file(photo, tmp_path, monkeypatch):

    (tmp_path / "head.ply").write_text("precious")

    def fail(path, *_, **__):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("spinmeround.io.splats.gaussian_ply.write_splat_ply", fail)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(photo, out=tmp_path / "head.ply", settings=DRAFT)
    assert (tmp_path / "head.ply").read_text() == "precious"
    assert left_behind(tmp_path) == {"face.jpg", "head.ply"}


def test_places_are_refused_before_any_work(backends, photo, tmp_path):
    def before(name: str) -> None:
        raise AssertionError("work began")

    backends(before=before)
    for out in ("head.xyz", "head", "nowhere/head.ply", "."):
        with pytest.raises(OutputError):
            reconstruct(photo, out=tmp_path / out)
    with pytest.raises(OutputError, match="written twice"):
        reconstruct(photo, out=[tmp_path / "a.obj"], outputs=OutputOptions(preview=tmp_path / "a_albedo.png"))
    with pytest.raises(OutputError, match=r"ends in \.png"):
        reconstruct(photo, out=tmp_path / "a.ply", outputs=OutputOptions(preview=tmp_path / "a.jpg"))
    with pytest.raises(InputError, match="no such file"):
        reconstruct(tmp_path / "missing.jpg", out=tmp_path / "a.ply")
    with pytest.raises(InputError, match="no photo given"):
        reconstruct([], out=tmp_path / "a.ply")
    with pytest.raises(WeightsError, match=r"spmr\.ckpt"):
        reconstruct(photo, out=tmp_path / "a.ply", settings=RunSettings(prior="diffusion"))
    assert left_behind(tmp_path) == {"face.jpg"}


def test_the_photo_is_never_written_over(backends, tmp_path):
    backends(before=lambda name: pytest.fail("work began"))
    photo = tmp_path / "head.png"
    photo.write_bytes(b"stands for a photo")
    with pytest.raises(OutputError, match=r"head\.png is what the head is made from: name another place"):
        reconstruct([photo], out=tmp_path / "head.ply", outputs=OutputOptions(preview=tmp_path / "head.png"))
    with pytest.raises(OutputError, match="is what the head is made from"):
        reconstruct(photo.rename(tmp_path / "head_albedo.png"), out=tmp_path / "head.obj")
    folder = tmp_path / "views"
    (folder / "images").mkdir(parents=True)
    with pytest.raises(OutputError, match="holds what the head is made from"):
        make_views(
            (tmp_path / "head_albedo.png").rename(folder / "images" / "a.png"), outputs=OutputOptions(views=folder)
        )
    assert left_behind(tmp_path) == {"views"}


def test_too_small_a_disk_is_refused_before_any_work(backends, photo, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=150 * 2**20))
    backends(before=lambda name: pytest.fail("work began"))
    with pytest.raises(ResourceError, match="not enough disk space"):
        reconstruct(photo, out=[tmp_path / "a.ply", tmp_path / "a.glb"])


def test_too_little_memory_is_refused_before_any_work(backends, photo, tmp_path, monkeypatch):
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=700 * 2**20))
    monkeypatch.setattr(psutil, "swap_memory", lambda: swap._replace(free=100 * 2**20))
    backends(before=lambda name: pytest.fail("work began"))
    with pytest.raises(ResourceError, match=r"needs \d+ MB of free memory and 800 MB are free; close .* draft quality"):
        reconstruct(photo, out=tmp_path / "a.ply")


def test_no_face_and_several_faces(backends, photo, tmp_path, caplog):
    backends(faces_seen=0)
    with pytest.raises(NoFaceError, match=r"face\.jpg: no face found"):
        reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT)
    backends(faces_seen=3)
    result = reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT)
    assert result.report["photos"][0]["faces_seen"] == 3
    assert "3 faces; took the largest" in caplog.text


@pytest.mark.usefixtures("backends")
def test_views_then_fit_is_the_same_head(photo, tmp_path):
    from spinmeround import fit_views

    made = make_views(
        photo, settings=DRAFT, outputs=OutputOptions(views=tmp_path / "views", report=tmp_path / "v.json")
    )
    fitted = fit_views(
        tmp_path / "views", out=tmp_path / "head.ply", settings=DRAFT, outputs=OutputOptions(report=tmp_path / "f.json")
    )
    assert fitted.views.names == made.names
    np.testing.assert_allclose(fitted.views.cameras.camera_from_world, made.cameras.camera_from_world, atol=1e-6)
    assert json.loads((tmp_path / "f.json").read_text())["views"]["with_normals"] is True
    assert json.loads((tmp_path / "v.json").read_text())["views"]["count"] == len(made)


@pytest.mark.usefixtures("backends")
def test_asked_directions_are_taken_alone(photo):
    from spinmeround.geometry import camera_centres

    views = make_views(photo, directions=[(0, 0), (30, 0), (-30, 10)], settings=DRAFT)
    assert views.names == ("az+0_el+0", "az+30_el+0", "az-30_el+10")
    centres = camera_centres(views.cameras)
    azimuths = np.degrees(np.arctan2(centres[:, 0], centres[:, 2]))
    np.testing.assert_allclose(azimuths, [0, 30, -30], atol=1e-9)
    with pytest.raises(InputError, match="twice"):
        make_views(photo, directions=[(0, 0), (360, 0)])
    with pytest.raises(InputError, match="elevations within ±85"):
        make_views(photo, directions=[(0, 90)])
    with pytest.raises(InputError, match="orbit-16"):
        make_views(photo, orbit="orbit-7")


BLURRED = replace(GOOD_PHOTO, blur_px=4.0)


def test_a_poor_result_is_made_and_told(backends, photo, tmp_path, caplog):
    backends(measures=BLURRED)
    result = reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT)
    assert result.files == (tmp_path / "a.ply",)
    assert result.report["quality"]["verdict"] == "poor"
    assert result.report["quality"]["reasons"] == ["the photo is blurred"]
    assert caplog.records[-1].getMessage() == "quality: poor (the photo is blurred)"
    assert caplog.records[-1].levelname == "WARNING"


@pytest.mark.parametrize("make", ["head", "views"])
def test_strict_runs_make_nothing_of_a_poor_photo_but_the_report(make, backends, photo, tmp_path):
    entered: list[str] = []
    backends(measures=BLURRED, before=entered.append)
    outputs = OutputOptions(report=tmp_path / "r.json", strict=True)
    with pytest.raises(PoorResultError, match="the photo is blurred; use a better photo") as raised:
        if make == "head":
            reconstruct(photo, out=tmp_path / "a.ply", settings=DRAFT, outputs=outputs)
        else:
            make_views(photo, settings=DRAFT, outputs=replace(outputs, views=tmp_path / "views"))
    assert raised.value.settings == ("strict",)
    assert entered == ["photo", "portrait", "head", "views"]
    assert left_behind(tmp_path) == {"face.jpg", "r.json"}
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["quality"]["verdict"] == "poor"
    assert report["files"] == []


def test_strict_runs_keep_good_and_fair_results(backends, photo, tmp_path):
    for name, measures in (("good", GOOD_PHOTO), ("fair", replace(GOOD_PHOTO, blur_px=1.9))):
        backends(measures=measures)
        result = reconstruct(photo, out=tmp_path / f"{name}.ply", settings=DRAFT, outputs=OutputOptions(strict=True))
        assert result.report["quality"]["verdict"] == name
