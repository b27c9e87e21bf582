"""Train the package's own hair network on synthetic people, and write it as one small array file.

    PYTHONPATH=benchmarks python tools/train_hair_network.py [--people 300] [--steps 1200]

Seeded and deterministic on one machine; one thread. Draws the people first (about a second each), keeps what the
network sees of them in a temporary folder (1.9 MB a crop), and trains. Takes about half an hour on one core. Needs the
``dev`` extra (anny) and the models of the weights registry. No photograph of any person is used.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hair_people import make_person
from hair_samples import Samples, read_samples, write_samples
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel

from spinmeround.portrait.hair_network import WEIGHTS, HairHead

FIRST_TRAINING_SEED = 1000
"""People with smaller seeds are for tests."""
_VIEWS = 5
_BATCH = 8
_PEAK_RATE = 4e-3
_HELD_OUT = 12
"""Each twelfth person is held out, to be measured."""
_AVERAGED_EVERY = 200
"""Steps between the weights that are averaged, in the second half of the training."""


def main() -> None:
    """Train and write from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=Path, metavar="FOLDER", help="keep the samples, or take those that are there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kept = arguments.samples or Path(folder)
        if not (kept / "person.npy").exists():
            people = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + arguments.people)
            write_samples(kept, people, views=_VIEWS, draw=make_person)
        head = train(read_samples(kept), steps=arguments.steps, seed=arguments.seed)
    write(head, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e3:.0f} kB")


def train(samples: Samples, *, steps: int, seed: int) -> HairHead:
    """Train a head; prints the intersection over union on the people that are held out.

    The result is the mean of the weights at several steps of the second half (Izmailov et al., "Averaging weights leads
    to wider optima and better generalization", UAI 2018).
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    held_out = samples.person % _HELD_OUT == 0
    training = np.flatnonzero(~held_out)
    head = HairHead()
    _set_input_scale(head, samples, rng.choice(training, min(200, len(training)), replace=False))
    averaged = AveragedModel(head)
    optimizer = torch.optim.AdamW(head.parameters(), _PEAK_RATE, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=steps, pct_start=0.1)
    started, recent = time.perf_counter(), []
    order = np.concatenate([rng.permutation(training) for _ in range(-(-steps * _BATCH // len(training)))])
    for step in range(steps):
        inputs, label = _batch(samples, np.sort(order[step * _BATCH : (step + 1) * _BATCH]))
        loss = _loss(head(*_roughened(inputs)), label)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step >= steps // 2 and (steps - 1 - step) % _AVERAGED_EVERY == 0:
            averaged.update_parameters(head)
        recent.append(loss.item())
        if step % 100 == 99 or step == steps - 1:
            print(
                f"step {step + 1}: loss {np.mean(recent[-100:]):.4f}, {time.perf_counter() - started:.0f} s", flush=True
            )
    head.load_state_dict(averaged.module.state_dict())
    iou = _iou(head, samples, np.flatnonzero(held_out))
    print(f"held-out synthetic people: IoU {np.mean(iou):.3f} mean, {np.median(iou):.3f} median, {len(iou)} crops")
    return head


def _batch(samples: Samples, rows: np.ndarray) -> tuple[list[Tensor], Float[Tensor, "b 1 128 128"]]:
    inputs = [torch.from_numpy(np.asarray(values[rows], np.float32)) for values in samples.inputs]
    return inputs, torch.from_numpy(np.asarray(samples.labels[rows], np.float32))[:, None]


def _roughened(inputs: list[Tensor]) -> list[Tensor]:
    """Drop some channels, so that no single one is relied on."""
    *features, planes = inputs
    dropped = [f * (torch.rand(*f.shape[:2], 1, 1) > 0.08) for f in features]
    return [*dropped, planes * (torch.rand(*planes.shape[:2], 1, 1) > 0.04)]


def _loss(
    logits: tuple[Float[Tensor, "b 1 128 128"], Float[Tensor, "b 1 64 64"]], label: Float[Tensor, "b 1 128 128"]
) -> Float[Tensor, ""]:
    """Return cross entropy and one minus the soft intersection over union, at both resolutions."""
    total = torch.zeros(())
    for value, wanted, weight in zip(logits, (label, avg_pool2d(label, 2)), (1.0, 0.4), strict=True):
        p = torch.sigmoid(value)
        common = (p * wanted).sum((1, 2, 3))
        smooth = 0.01 * p[0].numel()
        iou = (common + smooth) / (p.sum((1, 2, 3)) + wanted.sum((1, 2, 3)) - common + smooth)
        total = total + weight * (binary_cross_entropy_with_logits(value, wanted) + 0.3 * (1 - iou).mean())
    return total


def _set_input_scale(head: HairHead, samples: Samples, rows: np.ndarray) -> None:
    """Set mean and inverse deviation of each feature."""
    for side, values in zip((16, 32, 64, 128), samples.inputs[:4], strict=True):
        sample = np.asarray(values[np.sort(rows)], np.float32)
        deviation = sample.std((0, 2, 3)) + 1e-2
        scale = getattr(head, f"at_{side}")
        scale.mean.copy_(torch.from_numpy(sample.mean((0, 2, 3)))[:, None, None])
        scale.scale.copy_(torch.from_numpy(1 / deviation)[:, None, None])


def _iou(head: HairHead, samples: Samples, rows: np.ndarray) -> list[float]:
    """Return the intersection over union of each crop with hair on more than 3 % of it."""
    result = []
    with torch.inference_mode():
        for row in rows:
            inputs, label = _batch(samples, np.array([row]))
            found, true = head(*inputs)[0] > 0, label > 0.5
            if true.float().mean() > 0.03:
                result.append(float((found & true).sum() / (found | true).sum()))
    return result


def write(head: HairHead, path: Path) -> None:
    """Write the weights as halves; the same weights give the same bytes."""
    np.savez_compressed(path, **{name: value.numpy().astype(np.float16) for name, value in head.state_dict().items()})


if __name__ == "__main__":
    main()
