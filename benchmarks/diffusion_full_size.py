"""The diffusion model at its published size, with random weights: does it fit, and what does a step cost?

    python benchmarks/diffusion_full_size.py [--quick]

A checkpoint laid out as the published one is written, converted, and opened again; then one guided step of eight views
is taken in bfloat16 by this package, and in float32 by diffusers' own UNet with joint attention and nothing skipped.
Each is a process of its own, whose processor time and largest memory are read. --quick takes pictures of 256².
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from tables import Figure, print_figures
from torch import Tensor

from spinmeround.diffusion.model import checkpoint, networks
from spinmeround.diffusion.model.architecture import build_text_encoder, build_unet, build_vae, published
from spinmeround.diffusion.model.convert import convert
from spinmeround.diffusion.model.pose_map import pose_maps
from spinmeround.diffusion.model.unet import MultiViewUNet, Samples
from spinmeround.diffusion.sampling.loop import ConditioningViews, Embeddings, Guidance, GuidedViews

_MEMORY_BAR_GB = 5.0
_TIME_BAR = 0.6
_VIEWS = 8
_SIGMA = 3.7


def write_checkpoint(folder: Path) -> None:
    """A checkpoint of the published keys and shapes, in 16 bits, whose values keep activations near one."""
    layout = published()
    unet, vae, text = (build(layout).state_dict() for build in (build_unet, build_vae, build_text_encoder))
    names = {
        **{name: unet[key] for key, name in checkpoint.unet_names(unet, blocks=2).items()},
        **{name: vae[key] for key, name in checkpoint.vae_names(vae, levels=4).items()},
        **{f"{checkpoint.TEXT_PREFIX}encoder.text_model.{key}": text[key] for key in text},
    }
    generator = torch.Generator().manual_seed(0)
    torch.save({"state_dict": {name: _random(like, generator) for name, like in names.items()}}, folder / "spmr.ckpt")


def step(folder: Path, latents: int) -> Callable[[], Tensor]:
    """One guided step of this package, in bfloat16."""
    parts = networks.load(folder / "spinmeround", dtype=torch.bfloat16, unet_dtype=torch.bfloat16)
    s = _scene(latents)
    denoise = GuidedViews(
        MultiViewUNet(parts.unet),
        known=ConditioningViews(s["x"][:1], s["rays"][:1], s["x"][:1]),
        rays=s["rays"][1:],
        embeddings=Embeddings(s["tokens"][:1], s["tokens"][1:]),
        guidance=Guidance(3.5),
    )
    return lambda: denoise(s["x"][1:], torch.tensor(_SIGMA))


def plain(folder: Path, latents: int) -> Callable[[], Tensor]:
    """The same step by diffusers' UNet in float32, every row and every token computed."""
    unet = networks.load(folder / "spinmeround", dtype=torch.bfloat16, unet_dtype=torch.float32).unet
    multiview = MultiViewUNet(unet)
    s = _scene(latents)
    x = torch.cat([s["x"] / math.sqrt(_SIGMA**2 + 1), s["rays"], torch.ones_like(s["rays"][:, :1])], dim=1).repeat(
        2, 1, 1, 1
    )
    tokens = s["tokens"].repeat_interleave(_VIEWS, dim=0)
    samples = Samples(tokens, (1,) * len(x), (_VIEWS, _VIEWS), (1, 1))
    return lambda: multiview(x, torch.full((len(x),), math.log(_SIGMA) / 4), samples)


def measure(*, quick: bool) -> list[Figure]:
    """All figures."""
    latents = 32 if quick else 64
    with tempfile.TemporaryDirectory(prefix="spmr-full-") as scratch:
        folder = Path(scratch)
        write_checkpoint(folder)
        started = time.process_time()
        convert(folder / "spmr.ckpt", folder / "spinmeround")
        converted = time.process_time() - started
        (folder / "spmr.ckpt").unlink()
        ours, theirs = (_apart(kind, folder, latents) for kind in ("step", "plain"))
    size = f"{_VIEWS} views of {latents * 8}²"
    return [
        Figure("full size: convert", converted, unit=" s", note="processor time; 1067 M parameters"),
        Figure("full size: guided step, memory", ours["peak_gb"], _MEMORY_BAR_GB, unit=" GB", note=f"bfloat16, {size}"),
        Figure("full size: guided step", ours["cpu_s"], unit=" s", note=f"processor time, bfloat16, {size}"),
        Figure(
            "full size: over plain float32",
            ours["cpu_s"] / theirs["cpu_s"],
            _TIME_BAR,
            note=f"processor time of diffusers in float32: {theirs['cpu_s']:.0f} s, {theirs['peak_gb']:.1f} GB",
        ),
    ]


def _apart(kind: str, folder: Path, latents: int) -> dict[str, float]:
    """Run one step in a process of its own and sample its memory twenty times a second."""
    command = [sys.executable, __file__, "--worker", kind, "--folder", str(folder), "--latents", str(latents)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    seen, watched = 0, psutil.Process(process.pid)
    while process.poll() is None:
        seen = max(seen, watched.memory_info().rss)
        time.sleep(0.05)
    assert process.stdout is not None
    return {**json.loads(process.stdout.read()), "peak_gb": seen / 1e9}


@torch.inference_mode()
def _work(kind: str, folder: Path, latents: int) -> None:
    one = {"step": step, "plain": plain}[kind](folder, latents)
    started = time.process_time()
    out = one()
    assert torch.isfinite(out).all()
    print(json.dumps({"cpu_s": time.process_time() - started}))


def _scene(latents: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    angles = torch.tensor([[0.0, 360 / _VIEWS * i, 0.0] for i in range(_VIEWS)])
    return {
        "x": torch.randn(_VIEWS, 8, latents, latents, generator=generator),
        "rays": pose_maps(angles, height=latents, width=latents),
        "tokens": torch.randn(2, 77, 768, generator=generator),
    }


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    if like.ndim == 1:
        return torch.ones(like.shape, dtype=torch.float16) * 0.5
    deviation = 1 / math.sqrt(like[0].numel())
    return (torch.randn(like.shape, generator=generator) * deviation).half()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="pictures of 256²")
    parser.add_argument("--worker", choices=("step", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--latents", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _work(given.worker, given.folder, given.latents)
    else:
        print_figures(measure(quick=given.quick), title="the diffusion model at full size")


if __name__ == "__main__":
    main()
