"""Our .glb in three.js, in a headless Chromium, compared with our own pictures of it.

    mkdir three && cd three && npm install three@0.170.0 && cd ..
    python benchmarks/interop_three.py --three three/node_modules/three [--glb head.glb] [--sheet out.png]

Chromium draws with WebGL on the CPU (SwiftShader). Silhouettes are compared at rest, with expressions, from the side
and from behind; normals, with and without a normal map on the coarsest level, with those of the finest.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from measures import angles_deg, mask_iou
from npm import install
from pictures import write_rgb
from tables import Figure, print_figures

from spinmeround.geometry import METRES_PER_UNIT
from spinmeround.inspection.drawing import mesh_drawer
from spinmeround.inspection.expressions import ROW, posed
from spinmeround.io import read_avatar, write_avatar
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.types import Avatar, Cameras

EXAMPLES = Path(__file__).parent.parent / "docs" / "avatar"
_SIZE_PX = 512
_PAGE = """<!doctype html><meta charset="utf-8">
<script type="importmap">
{"imports": {"three": "./three/build/three.module.js", "three/addons/": "./three/jsm/"}}
</script>
<script type="module">
const tell = seen => fetch('seen', { method: 'POST', body: JSON.stringify(seen) });
addEventListener('error', event => tell({ error: event.message }));
addEventListener('unhandledrejection', event => tell({ error: String(event.reason) }));
const THREE = await import('three');
const { GLTFLoader } = await import('three/addons/loaders/GLTFLoader.js');
const { express } = await import('./head.mjs');
const { size, shots, shown } = await (await fetch('shots.json')).json();
const gltf = await new GLTFLoader().loadAsync('head.glb');
const scene = new THREE.Scene();
scene.add(gltf.scene, new THREE.HemisphereLight(0xffffff, 0x888888, 3));
gltf.scene.traverse(part => {
  part.frustumCulled = false;
  if (!part.isMesh || shown == 'lit') return;
  const { map, side, normalMap, normalScale } = part.material;
  part.material = shown == 'normals'
    ? new THREE.MeshNormalMaterial({ side, normalMap, normalScale })
    : new THREE.MeshBasicMaterial({ map, side });
});
const renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
renderer.setSize(size, size);
const camera = new THREE.Camera();
camera.matrixAutoUpdate = false;
const pictures = [];
for (const shot of shots) {
  express(gltf.scene, shot.weights);
  camera.projectionMatrix.set(...shot.projection.flat());
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
  camera.matrix.set(...shot.world_from_camera.flat());
  camera.matrixWorldNeedsUpdate = true;
  renderer.render(scene, camera);
  pictures.push(renderer.domElement.toDataURL('image/png'));
}
await tell({ pictures });
</script>
"""


@dataclass(frozen=True)
class Browser:
    """Where three.js and Chromium are."""

    three: Path
    chromium: str


def find_browser(three: Path | None = None, chromium: str | None = None) -> Browser:
    """Return the given three.js and Chromium, or those found on this machine.

    Raises:
        FileNotFoundError: no three.js or no Chromium.
    """
    places = [three] if three else [Path(os.environ["THREE"])] if "THREE" in os.environ else []
    found = [place for place in places if (place / "build" / "three.module.js").is_file()]
    program = (
        shutil.which(chromium)
        if chromium
        else next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    )
    if not found or program is None:
        raise FileNotFoundError(
            "three.js (npm install three; --three or THREE names its folder) and chromium are needed"
        )
    return Browser(found[0], program)


def pictures(
    browser: Browser,
    glb: Path,
    cameras: Cameras,
    weights: Sequence[Mapping[str, float]],
    *,
    shown: Literal["albedo", "lit", "normals"] = "albedo",
) -> np.ndarray:
    """Render by three.js: RGBA in [0, 255], straight colour, one picture for each camera and expression.

    Args:
        shown: plain colours, colours in light from above, or normals in the frame of each camera, +Y up, +Z toward it.
    """
    shots = [
        {
            "weights": dict(w),
            "projection": _projection(cameras, k).tolist(),
            "world_from_camera": pose_m(cameras, k).tolist(),
        }
        for k, w in enumerate(weights)
    ]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shutil.copytree(browser.three / "build", folder / "three" / "build")
        shutil.copytree(browser.three / "examples" / "jsm", folder / "three" / "jsm")
        shutil.copy(EXAMPLES / "head.mjs", folder)
        shutil.copy(glb, folder / "head.glb")
        (folder / "shots.json").write_text(json.dumps({"size": cameras.width_px, "shots": shots, "shown": shown}))
        (folder / "page.html").write_text(_PAGE)
        seen = page_findings(browser, folder)
    files = [base64.b64decode(url.split(",")[1]) for url in seen["pictures"]]
    return np.stack([cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]] for f in files])


class _Folder(SimpleHTTPRequestHandler):
    """Serves a folder and receives the page's findings."""

    def do_POST(self) -> None:
        """Keep the body of a request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.seen.put(json.loads(body))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def page_findings(browser: Browser, folder: Path) -> dict[str, Any]:
    """Open ``page.html`` of a folder and return what it posts; over HTTP, since browsers load no modules from files.

    Raises:
        RuntimeError: an error in the page, or nothing for five minutes.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Folder, directory=str(folder)))
    server.seen = queue.Queue()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    options = [
        "--headless",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        f"--user-data-dir={folder}/profile",
    ]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        options.append("--no-sandbox")
    url = f"http://127.0.0.1:{server.server_port}/page.html"
    shown = subprocess.Popen([browser.chromium, *options, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        seen = server.seen.get(timeout=300)
    except queue.Empty:
        raise RuntimeError("chromium showed nothing for five minutes") from None
    finally:
        shown.terminate()
        shown.wait(30)
        server.shutdown()
        thread.join()
        server.server_close()
    if "error" in seen:
        raise RuntimeError(f"in the page: {seen['error']}")
    return seen


def _projection(cameras: Cameras, index: int) -> np.ndarray:
    """Return OpenGL's projection matrix of a pinhole camera, depths from 0.1 to 10 m."""
    k, width, height, near, far = cameras.intrinsics_px[index], cameras.width_px, cameras.height_px, 0.1, 10.0
    return np.array(
        [
            [2 * k[0, 0] / width, 0, 1 - 2 * k[0, 2] / width, 0],
            [0, 2 * k[1, 1] / height, 2 * k[1, 2] / height - 1, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )


def pose_m(cameras: Cameras, index: int) -> np.ndarray:
    """Return world-from-camera with OpenGL's axes, in metres."""
    camera_from_world = np.diag([1.0, -1, -1, 1]) @ cameras.camera_from_world[index]
    camera_from_world[:3, 3] *= METRES_PER_UNIT
    return np.linalg.inv(camera_from_world)


def _mean_head(*, lod: int = 1, texture_px: int = 512, normal_map: bool = False) -> Avatar:
    from heads import mean_avatar

    return mean_avatar(skin_px=512, lod=lod, texture_px=texture_px, normal_map=normal_map)


def compare(browser: Browser, glb: Path, sheet: Path | None = None) -> list[Figure]:
    """Compare silhouettes and colours of three.js and ours, for the preview's expressions and from all sides."""
    avatar = read_avatar(glb)
    weights = [*ROW.values(), {}, {}, {}]
    azimuths = [0.0] * len(ROW) + [45.0, 90.0, 180.0]
    cameras = orbit_cameras(azimuths, [0] * len(azimuths), size_px=_SIZE_PX, focal_widths=WHOLE_FOCAL_WIDTHS)
    theirs = pictures(browser, glb, cameras, weights)
    figures, columns = [], []
    for k, (name, w) in enumerate(zip([*ROW, "45 deg", "90 deg", "180 deg"], weights, strict=True)):
        one = Cameras(cameras.camera_from_world[k : k + 1], cameras.intrinsics_px[k : k + 1], _SIZE_PX, _SIZE_PX)
        ours = mesh_drawer(*(posed(part, w) for part in avatar.parts))(one)
        shape, other = ours.alpha[0] > 0.5, theirs[k, ..., 3] > 127
        iou = mask_iou(shape, other)
        both = shape & other
        off = float(np.abs(ours.rgb[0][both] - theirs[k, ..., :3][both] / 255).mean())
        figures += [
            Figure(f"three.js, {name}: silhouette IoU", iou, 0.97, at_most=False),
            Figure(f"three.js, {name}: colours differ by", 255 * off, 4, unit="/255"),
        ]
        white = theirs[k, ..., :3] * (theirs[k, ..., 3:] / 255) + 255 - theirs[k, ..., 3:]
        mine = 255 * (ours.rgb[0] * ours.alpha[0][..., None] + 1 - ours.alpha[0][..., None])
        columns.append(np.vstack([mine, white]))
    if sheet is not None:
        write_rgb(sheet, np.uint8(np.hstack(columns).clip(0, 255)))
    return figures


def compare_normals(browser: Browser) -> list[Figure]:
    """Compare the normals that three.js gives the coarsest mean head with those of the finest."""
    azimuths = [0.0, 50.0, 120.0, -70.0]
    cameras = orbit_cameras(azimuths, [0] * len(azimuths), size_px=_SIZE_PX, focal_widths=WHOLE_FOCAL_WIDTHS)
    finest = mesh_drawer(*(part.mesh for part in _mean_head(lod=0).parts))(cameras)
    figures = []
    for what, normal_map in (("no map", False), ("normal map", True)):
        with tempfile.TemporaryDirectory() as folder:
            glb = Path(folder, "head.glb")
            write_avatar(glb, _mean_head(lod=2, texture_px=2048, normal_map=normal_map))
            seen = pictures(browser, glb, cameras, [{}] * len(azimuths), shown="normals")
        in_camera = seen[..., :3] / 255.0 * 2 - 1
        toward_world = np.diag([1.0, -1, -1]) @ cameras.camera_from_world[:, :3, :3]
        normals = np.einsum("vij,vhwi->vhwj", toward_world, in_camera)
        both = (seen[..., 3] > 254) & (finest.alpha > 0.99)
        cosine = (normals * finest.normals_world)[both].sum(-1) / np.linalg.norm(normals[both], axis=-1)
        error = angles_deg(cosine)
        note = f"95 of 100 below {np.percentile(error, 95):.1f}"
        bar = 1.0 if normal_map else None
        name = f"three.js, coarsest level, {what}: normals differ by"
        figures.append(Figure(name, float(np.median(error)), bar, unit=" deg", note=note))
    return figures


def measure(*, quick: bool) -> list[Figure]:
    """Measure the mean head; three.js is at the variable THREE, else npm installs it temporarily."""
    del quick
    with tempfile.TemporaryDirectory() as folder:
        named = None if "THREE" in os.environ else install(Path(folder), "three@0.170.0") / "three"
        browser = find_browser(named)
        write_avatar(Path(folder, "head.glb"), _mean_head())
        return compare(browser, Path(folder, "head.glb")) + compare_normals(browser)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--three", type=Path, help="the folder of the npm package three")
    parser.add_argument("--chromium", help="the browser (default: chromium or google-chrome)")
    parser.add_argument("--glb", type=Path, help="an avatar (default: the mean head)")
    parser.add_argument("--sheet", type=Path, help="write the pictures as a PNG, ours above theirs")
    given = parser.parse_args()
    browser = find_browser(given.three, given.chromium)
    with tempfile.TemporaryDirectory() as folder:
        glb = given.glb or Path(folder, "head.glb")
        if given.glb is None:
            write_avatar(glb, _mean_head())
        figures = compare(browser, glb, given.sheet) + compare_normals(browser)
        print_figures(figures, title="three.js in Chromium")


if __name__ == "__main__":
    main()
