"""Our splats in glTF as PlayCanvas draws them, in a headless Chromium, compared with our .ply of the same splats.

    python benchmarks/interop_playcanvas.py [--sheet out.png]

The engine comes from npm, and draws with WebGL on the CPU (SwiftShader). The .glb holds splats alone, or beside an
avatar.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from heads import mean_avatar
from interop_three import Browser, page_findings, pose_m
from npm import install
from pictures import write_rgb
from tables import Figure, print_figures

from spinmeround.geometry import vertex_normals
from spinmeround.io import write_avatar, write_splats
from spinmeround.orbits import orbit_cameras
from spinmeround.types import SH_C0, Avatar, Splats

_PACKAGE = "playcanvas@2.23.3"
_SIZE_PX = 512
_MAX_DIFFERENCE = 4.5
"""Root mean square, of 255: a peak signal-to-noise ratio of 35 dB."""
_VIEWS_DEG = ((0.0, 0.0), (60.0, 10.0))
_FILES = {"head.ply": "", "head.glb": "splats alone", "both.glb": "splats beside an avatar"}
_PAGE = """<!doctype html><meta charset="utf-8"><canvas></canvas>
<script type="module">
const tell = seen => fetch('seen', { method: 'POST', body: JSON.stringify(seen) });
addEventListener('error', event => tell({ error: event.message }));
addEventListener('unhandledrejection', event => tell({ error: String(event.reason) }));
const pc = await import('./playcanvas.mjs');
const { size, eyes, fov, files } = await (await fetch('shots.json')).json();
const canvas = document.querySelector('canvas');
const app = new pc.Application(canvas, { graphicsDeviceOptions: { antialias: false, preserveDrawingBuffer: true } });
app.setCanvasFillMode(pc.FILLMODE_NONE);
app.setCanvasResolution(pc.RESOLUTION_FIXED, size, size);
app.start();
const camera = new pc.Entity();
camera.addComponent('camera', { fov, nearClip: 0.1, farClip: 10, clearColor: new pc.Color(1, 1, 1) });
app.root.addChild(camera);
const load = (url, type) => new Promise((done, fail) =>
  app.assets.loadFromUrl(url, type, (error, asset) => error ? fail(new Error(error)) : done(asset)));
const frames = count => new Promise(done => app.on('frameend', () => { if (--count == 0) done(); }));
const pictures = [];
for (const file of files) {
  let entity = new pc.Entity();
  if (file.endsWith('.ply')) entity.addComponent('gsplat', { asset: await load(file, 'gsplat') });
  else entity = (await load(file, 'container')).resource.instantiateRenderEntity();
  if (entity.findByName('head')) entity.findByName('head').enabled = false;
  app.root.addChild(entity);
  for (const eye of eyes) {
    camera.setPosition(...eye);
    camera.lookAt(0, 0, 0);
    await frames(10);
    await new Promise(done => setTimeout(done, 2000));  // a worker sorts
    await frames(5);
    pictures.push(canvas.toDataURL('image/png'));
  }
  entity.destroy();
}
await tell({ pictures });
</script>
"""


def measure(*, quick: bool, sheet: Path | None = None) -> list[Figure]:
    """Return how far the pictures of a .glb are from those of a .ply."""
    del quick
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if chromium is None:
        raise FileNotFoundError("chromium is needed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        package = install(folder, _PACKAGE) / "playcanvas"
        shutil.copy(package / "build" / "playcanvas.mjs", folder)
        avatar = mean_avatar(skin_px=128, lod=1, texture_px=128)
        splats = _splats(avatar)
        write_splats(folder / "head.ply", splats)
        write_splats(folder / "head.glb", splats)
        write_avatar(folder / "both.glb", avatar, splats=splats)
        drawn = _pictures(Browser(package, chromium), folder)
    if sheet is not None:
        write_rgb(sheet, np.vstack([np.hstack(row) for row in drawn]))
    expected, seen = drawn[0], float((drawn[0] < 250).any(-1).mean())
    figures = [Figure("PlayCanvas, .ply: part of the picture that is drawn", seen, 0.1, at_most=False)]
    for pictures, what in zip(drawn[1:], list(_FILES.values())[1:], strict=True):
        off = float(np.sqrt(np.mean((pictures.astype(float) - expected) ** 2, axis=(1, 2, 3)).max()))
        name = f"PlayCanvas, .glb with {what}: pictures differ from the .ply's by (root mean square)"
        figures.append(Figure(name, off, _MAX_DIFFERENCE, unit="/255"))
    return figures


def _splats(avatar: Avatar) -> Splats:
    """Return a splat for each vertex of the skin, coloured by its normal, with harmonics of degree 1."""
    mesh = avatar.parts[0].mesh
    count, generator = len(mesh.vertices), torch.Generator().manual_seed(0)
    colours = torch.from_numpy(vertex_normals(mesh.vertices, mesh.faces)).float() * 0.5
    harmonics = torch.rand(count, 3, 3, generator=generator) * 0.4 - 0.2
    return Splats(
        torch.from_numpy(mesh.vertices).float(),
        torch.rand(count, 3, generator=generator) * 0.006 + 0.001,
        torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
        torch.rand(count, generator=generator) * 0.5 + 0.45,
        torch.cat([colours[:, None] / SH_C0, harmonics], dim=1),
    )


def _pictures(browser: Browser, folder: Path) -> np.ndarray:
    """Draw each file from each side: RGB in [0, 255]."""
    cameras = orbit_cameras(*map(list, zip(*_VIEWS_DEG, strict=True)), size_px=_SIZE_PX)
    shots = {
        "size": _SIZE_PX,
        "eyes": [pose_m(cameras, k)[:3, 3].tolist() for k in range(len(_VIEWS_DEG))],
        "fov": float(np.degrees(2 * np.arctan(_SIZE_PX / 2 / cameras.intrinsics_px[0, 1, 1]))),
        "files": list(_FILES),
    }
    (folder / "shots.json").write_text(json.dumps(shots))
    (folder / "page.html").write_text(_PAGE)
    files = [base64.b64decode(url.split(",")[1]) for url in page_findings(browser, folder)["pictures"]]
    decoded = [cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for file in files]
    return np.stack(decoded).reshape(len(_FILES), len(_VIEWS_DEG), _SIZE_PX, _SIZE_PX, 3)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sheet", type=Path, help="write the pictures as a PNG, a row a file")
    print_figures(measure(quick=False, sheet=parser.parse_args().sheet), title="PlayCanvas in Chromium")


if __name__ == "__main__":
    main()
