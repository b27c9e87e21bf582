"""The app's server: killed in every stage it makes the same bytes, fifty clients are answered, no request is a defect.

    python benchmarks/server.py [--quick]

The photo is scikit-image's astronaut, the quality draft. The cases against the contract need schemathesis as a command
(``pip install schemathesis``, also in an environment of its own), and are left out without it.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import skimage.data
import skimage.io
from command_line import benchmark_parser
from PIL import Image
from tables import Figure, print_figures_and_exit

from spinmeround.server.settings import Limits
from tests.server.serving import AppServer, has_begun

STAGES = ("photo", "portrait", "head", "views", "splats", "avatar", "files", "preview")
FILES = ("head.ply", "head.glb", "preview.png")
_CLIENTS, _ROUNDS = 50, 5
_CASES = 2000
_DRAFT = {"quality": "draft"}
_LIMITS = dataclasses.asdict(Limits())


def measure(*, quick: bool = False) -> list[Figure]:
    """Measure.

    Args:
        quick: one stage is killed rather than all, and a fifth of the cases is run.
    """
    with tempfile.TemporaryDirectory(prefix="spmr-server-") as name:
        folder = Path(name)
        photo = folder / "astronaut.png"
        skimage.io.imsave(photo, skimage.data.astronaut())
        expected = _command(photo, folder)
        server = AppServer(folder / "heads", stub=False, limits=_LIMITS)
        try:
            figures = [
                *_kills(server, photo, expected, stages=STAGES[4:5] if quick else STAGES),
                *_clients(server, photo),
            ]
            figures += [*_frames(server, photo), *_deletion(server), *_memory(server, photo)]
            return figures + _contract(server, cases=_CASES // 5 if quick else _CASES)
        finally:
            server.stop()


def _command(photo: Path, folder: Path) -> dict[str, bytes]:
    """Return the files that the command makes of the photo."""
    out = folder / "command"
    out.mkdir()
    code = "import sys; from spinmeround.cli.recon import main; sys.exit(main(sys.argv[1:]))"
    places = [("--out", FILES[0]), ("--out", FILES[1]), ("--preview", FILES[2])]
    options = [word for option, name in places for word in (option, str(out / name))]
    subprocess.run([sys.executable, "-c", code, str(photo), "--quality", "draft", "--quiet", *options], check=True)
    return {name: (out / name).read_bytes() for name in FILES}


def _kills(server: AppServer, photo: Path, expected: dict[str, bytes], *, stages: Sequence[str]) -> list[Figure]:
    """Kill the server in each stage of a run of its own, start it again, and compare the files with the command's."""
    other_files, left, late = 0, 0, []
    for stage in stages:
        head = server.post(photo.read_bytes(), **_DRAFT).json()
        server.until(head["id"], lambda each, stage=stage: has_begun(each, stage))
        workers = psutil.Process(server.process.pid).children(recursive=True)
        server.kill()
        began = time.monotonic()
        psutil.wait_procs(workers, timeout=30)
        late.append(time.monotonic() - began)
        server.start()
        assert server.settled(head["id"])["state"] == "done"
        differing = [name for name in FILES if server.file(head["id"], name) != expected[name]]
        print(f"killed in {stage}: {differing or 'the same bytes'}", flush=True)
        other_files += len(differing)
        left += (
            len(list((server.folder / head["id"]).rglob("*.unfinished")))
            + (server.folder / head["id"] / "work").exists()
        )
    return [
        Figure("files other than the command's after kill -9", other_files, 0, note=f"in {', '.join(stages)}"),
        Figure("folders left by killed runs", left, 0),
        Figure("longest life of a process after its server", max(late), 5, unit=" s"),
    ]


def _clients(server: AppServer, photo: Path) -> list[Figure]:
    """Time the answers to fifty clients at once while a job computes."""
    head = server.post(photo.read_bytes(), **_DRAFT).json()
    server.until(head["id"], lambda each: has_begun(each, "head"))
    paths = ("/api/heads", "/api/server", f"/api/heads/{head['id']}", "/", "/api/options")
    barrier = threading.Barrier(_CLIENTS)
    base = f"http://{server.host}:{server.port}"

    def ask(index: int) -> list[float]:
        with httpx.Client(base_url=base, timeout=60) as client:
            client.get("/api/server")
            seconds = []
            for round_ in range(_ROUNDS):
                barrier.wait()
                began = time.perf_counter()
                client.get(paths[(index + round_) % len(paths)]).raise_for_status()
                seconds.append(time.perf_counter() - began)
            return seconds

    with ThreadPoolExecutor(_CLIENTS) as pool:
        seconds = np.sort(np.concatenate(list(pool.map(ask, range(_CLIENTS)))))
    assert server.head(head["id"])["state"] == "running", "it was to compute meanwhile"
    server.client.delete(f"/api/heads/{head['id']}")
    return [
        Figure("fifty at once, slowest answer", 1e3 * seconds[-1], 200, unit=" ms", note="clients on the same cores"),
        Figure("fifty at once, median", 1e3 * float(np.median(seconds)), 200, unit=" ms"),
    ]


def _frames(server: AppServer, photo: Path) -> list[Figure]:
    """Time the reading of a camera's frames."""
    frame = _as_jpeg(photo)

    def ask() -> float:
        began = time.perf_counter()
        answer = server.client.post("/api/expressions", content=frame, headers={"content-type": "image/jpeg"})
        assert answer.json()["face"]
        return time.perf_counter() - began

    return [
        Figure("a frame's expressions, warm", 1e3 * float(np.median([ask() for _ in range(20)][5:])), 60, unit=" ms")
    ]


def _as_jpeg(photo: Path) -> bytes:
    stream = io.BytesIO()
    Image.open(photo).convert("RGB").resize((480, 480)).save(stream, "JPEG")
    return stream.getvalue()


def _deletion(server: AppServer) -> list[Figure]:
    """Delete all heads; count what is left of them."""
    for head in server.client.get("/api/heads").json()["heads"]:
        server.client.delete(f"/api/heads/{head['id']}")
    return [Figure("files left of deleted heads", len([*server.folder.glob("[!.]*"), *server.folder.glob(".*-*")]), 0)]


def _memory(server: AppServer, photo: Path) -> list[Figure]:
    """Send what is too large in several ways; see what memory the server took for it."""
    before_mb = server.rss_mb()

    def parts() -> object:
        yield b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
        for _ in range(2048):
            yield bytes(2**20)

    for _ in range(3):
        try:
            headers = {"content-type": "multipart/form-data; boundary=b"}
            assert server.client.post("/api/heads", content=parts(), headers=headers).status_code == 413
        except httpx.TransportError:
            pass  # the connection was closed while more was sent
    return [Figure("memory after three bodies of 2 GB", server.rss_mb() - before_mb, 50, unit=" MB")]


def _contract(server: AppServer, *, cases: int) -> list[Figure]:
    """Run cases made from the contract against the server; count answers that are defects."""
    command = shutil.which("st") or os.environ.get("SCHEMATHESIS")
    if command is None:
        return [Figure("cases against the contract", 0, note="schemathesis is not installed: pip install schemathesis")]
    base = f"http://{server.host}:{server.port}"
    run: list[str] = [command, "run", f"{base}/openapi.json", "--exclude-path-regex", "events$", "--seed", "1"]
    run += ["-c", "not_a_server_error", "-n", str(cases // 10), "--request-timeout", "30"]
    done = subprocess.run(run, capture_output=True, text=True)
    made = re.search(r"(\d+) generated", done.stdout)
    if made is None:
        raise RuntimeError(f"schemathesis said: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    assert server.client.get("/api/server").status_code == 200
    return [
        Figure("cases against the contract", int(made[1]), cases, at_most=False),
        Figure("cases that were defects", 0 if done.returncode == 0 else 1, 0, note="status 500 and above"),
    ]


def main() -> None:
    """Print the figures."""
    given = benchmark_parser(__doc__, quick="one stage is killed, and fewer cases are run").parse_args()
    print_figures_and_exit(measure(quick=given.quick), title="the app's server")


if __name__ == "__main__":
    main()
