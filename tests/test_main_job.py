"""The main job itself, run once as a user runs it: what it leaves, that it repeats, and that it needs no network."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.io
import torch
import trimesh
from PIL import Image

from spinmeround import weights
from spinmeround.errors import WeightsError
from spinmeround.io import read_splats, read_views
from spinmeround.io.pictures import read_picture
from spinmeround.portrait.landmarks import find_faces
from spinmeround.recon.raster.gaussians import NumbaRasterizer
from spinmeround.types import Cameras
from tests.server.serving import AppServer

pytestmark = pytest.mark.slow

_GUARDED = """
import sys

def guard(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        raise SystemExit(f"a connection was begun: {event} {arguments}")

sys.addaudithook(guard)
from spinmeround.cli.recon import main
sys.exit(main(sys.argv[1:]))
"""
NAMES = ("head.ply", "head.glb", "preview.png", "report.json")


def namespace_without_network() -> list[str]:
    """Words that put a command where no interface exists, or none if this machine does not allow it."""
    unshare = shutil.which("unshare")
    command = [unshare or "unshare", "--map-root-user", "--net"]
    allowed = unshare is not None and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if allowed else []


@pytest.fixture(scope="session")
def main_job(tmp_path_factory) -> Callable[[], Path]:
    """Runs the main job on the photo that scikit-image ships, offline, and gives the folder it wrote to."""
    with contextlib.suppress(WeightsError):
        weights.fetch()
    needed = [each for each in weights.verify() if each[0].needed_by_all and not each[0].optional]
    unfit = [f"{entry.name}: {said}" for entry, state, said in needed if state != "ok"]
    if unfit:
        pytest.skip(f"model files are not in place ({'; '.join(unfit)}); run: spmr-weights fetch")
    photo = tmp_path_factory.mktemp("photo") / "astronaut.png"
    skimage.io.imsave(photo, skimage.data.astronaut())

    def run() -> Path:
        folder = tmp_path_factory.mktemp("job")
        head, mesh, preview, report = (str(folder / name) for name in NAMES)
        command = [*namespace_without_network(), sys.executable, "-c", _GUARDED, str(photo), "--quality", "draft"]
        command += ["--out", head, "--out", mesh, "--preview", preview, "--report", report]
        command += ["--views-out", str(folder / "views")]
        environment = {**os.environ, "SPMR_WEIGHTS": str(weights.folder().resolve())}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        assert done.returncode == 0, done.stderr
        counts = re.findall(r"^\[(\d+)/(\d+)\]", done.stderr, re.MULTILINE)
        assert counts == [(f"{number}", f"{len(counts)}") for number in range(1, len(counts) + 1)], (
            "known from the start"
        )
        return folder

    return run


@pytest.fixture(scope="session")
def finished(main_job) -> Path:
    return main_job()


def test_it_leaves_what_was_asked_for_and_nothing_else(finished):
    assert {path.name for path in finished.iterdir()} == {*NAMES, "views"}


def test_the_head_is_a_head(finished):
    """Sizes in metres, the right way round: the mesh and the splats fill the same box, taller than deep."""
    splats = read_splats(finished / "head.ply", metres_per_unit=1.0)
    parts = trimesh.load(finished / "head.glb").geometry
    assert set(parts) >= {"skin", "eyes", "teeth", "tongue"}
    vertices = np.concatenate([parts[name].sample(20_000, seed=0) for name in ("skin", "hair") if name in parts])
    boxes = [np.quantile(points, [0.002, 0.998], axis=0) for points in (splats.means.numpy(), vertices)]
    np.testing.assert_allclose(boxes[0], boxes[1], atol=0.015)
    width, height, depth = np.ptp(boxes[1], axis=0)
    assert 0.12 < width < 0.45
    assert 0.2 < height < 0.5
    assert 0.15 < depth < 0.45


def test_the_colours_face_the_camera(finished):
    """Skin in front, in the middle of the face."""
    splats = read_splats(finished / "head.ply", metres_per_unit=1.0)
    means, colours = splats.means.numpy(), splats.sh[:, 0].numpy() * 0.28209479 + 0.5
    front = np.abs(means[:, :2]).max(axis=1) < 0.04
    front &= means[:, 2] > np.quantile(means[front, 2], 0.5)
    red, green, blue = np.median(colours[front], axis=0)
    assert red > green > blue


def test_the_report_is_complete(finished):
    report = json.loads((finished / "report.json").read_text(encoding="utf-8"))
    assert report["photos"][0]["faces_seen"] >= 1
    fitted = report["head"]["photos"][0]
    assert fitted["landmark_error_px"] > 0
    assert fitted["outline_iou"] > 0.9
    assert 0 < report["head"]["observed_share"]["skin"] < 1
    assert report["quality"]["verdict"] in ("good", "fair")
    for figure in ("sharpness", "size", "light", "pose", "occlusion", "matte", "fit", "likeness", "hidden"):
        assert 0.2 <= report["quality"][figure] <= 1, figure
    assert report["peak_memory_mb"] < 4096
    assert report["splats"]["count"] > 10_000
    assert [s["stage"] for s in report["stages"]][:4] == ["photo", "portrait", "head", "views"]


def test_the_photos_camera_sees_the_head_as_the_photo_does(finished):
    """Landmarks found in a picture of the splats, drawn from the report's camera, meet those found in the photo."""
    report = json.loads((finished / "report.json").read_text(encoding="utf-8"))
    described = report["photo_camera"]
    photo = skimage.data.astronaut() / np.float32(255)
    assert (described["height_px"], described["width_px"]) == photo.shape[:2]
    camera = Cameras(
        np.array(described["camera_from_world"])[None],
        np.array(described["intrinsics_px"])[None],
        described["width_px"],
        described["height_px"],
    )
    splats = read_splats(finished / "head.ply", metres_per_unit=1.0)
    with torch.no_grad():
        drawn = NumbaRasterizer().render(splats, camera).rgb[0].numpy()
    seen, expected = find_faces(np.clip(drawn, 0, 1))[0], find_faces(photo)[0]
    off_px = np.linalg.norm(seen.landmarks_px - expected.landmarks_px, axis=1).mean()
    assert off_px < 0.03 * expected.eye_distance_px


def test_preview_and_views_are_pictures(finished):
    assert read_picture(finished / "preview.png").shape == (768, 2560, 3), "two rows of views and one of expressions"
    views, _ = read_views(finished / "views")
    assert views.names[0] == "photo"
    covered = views.alpha.mean(axis=(1, 2))
    assert ((covered > 0.1) & (covered < 0.9)).all()


def test_the_same_photo_and_seed_give_the_same_bytes(finished, main_job):
    again = main_job()
    for name in ("head.ply", "head.glb", "preview.png"):
        assert (again / name).read_bytes() == (finished / name).read_bytes(), name


def test_the_app_makes_the_same_bytes(finished, tmp_path):
    server = AppServer(tmp_path / "heads", stub=False)
    try:
        stream = io.BytesIO()
        Image.fromarray(skimage.data.astronaut()).save(stream, "PNG")
        head = server.make(stream.getvalue(), quality="draft")
        assert head["state"] == "done"
        for name in ("head.ply", "head.glb", "preview.png"):
            assert server.file(head["id"], name) == (finished / name).read_bytes(), name
        report = json.loads((finished / "report.json").read_text(encoding="utf-8"))
        assert head["photo_camera"] == report["photo_camera"]
        assert str(tmp_path) not in server.file(head["id"], "report.json").decode()
    finally:
        server.stop()


def test_it_ran_where_no_network_is():
    prefix = namespace_without_network()
    if not prefix:
        pytest.skip("this machine allows no network namespace; connections were still guarded inside Python")
    code = "import psutil; print(sum(interface.isup for interface in psutil.net_if_stats().values()))"
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
