"""A folder of inputs and outputs of the original code; everything is built from its ``config.json``."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spinmeround.diffusion.model import networks
from spinmeround.diffusion.model.unet import Samples
from spinmeround.diffusion.pipeline import SpinMeRoundPipeline
from spinmeround.diffusion.sampling import loop
from spinmeround.diffusion.sampling.loop import ConditioningViews, Embeddings, Guidance, GuidedViews


class Golden:
    """A folder of recordings.

    Args:
        photo_guidance: step toward the photo, of the pass that finds its normals.
    """

    def __init__(self, folder: Path, *, photo_guidance: float = loop.PHOTO_GUIDANCE) -> None:
        self.folder = folder
        self.photo_guidance = photo_guidance

    def arrays(self, name: str) -> dict[str, Tensor]:
        with np.load(self.folder / f"{name}.npz") as file:
            return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}

    @cached_property
    def _networks(self) -> networks.Networks:
        file, config = self.folder / "spmr.ckpt", self.folder / "config.json"
        return networks.from_single_file(file, config=config, dtype=torch.float32, unet_dtype=torch.float32)

    def pipeline(self) -> SpinMeRoundPipeline:
        """A pipeline of its own each time, so that one can be spoilt."""
        return SpinMeRoundPipeline(copy.deepcopy(self._networks))

    @cached_property
    def step(self) -> dict[str, Tensor]:
        return self.arrays("cfg_step")

    @property
    def sampled(self) -> Tensor:
        """Which views of the guided step are sampled rather than given."""
        return self.step["mask"] == 1

    def network_error(self, pipeline: SpinMeRoundPipeline, k: int) -> float:
        """Largest error of the network in the k-th guided step, given views included and no work skipped."""
        step, views, rays = self.step, len(self.sampled), self.step["cond_images_f32"]
        without = rays.clone()
        without[~self.sampled] = 0
        x = torch.cat([step[f"net_x_{k}"], torch.cat([without, rays])], dim=1)
        tokens = torch.cat([step["crossattn_uc"], step["crossattn"]])
        samples = Samples(tokens, (views, views), (views, views), (1, 1))
        return float((pipeline.unet(x, step[f"net_t_{k}"], samples) - step[f"net_out_{k}"]).abs().max())

    def guided(self, pipeline: SpinMeRoundPipeline, *, empty: Tensor | None = None) -> GuidedViews:
        """What the guided step was recorded from."""
        step, sampled = self.step, self.sampled
        rays = step["cond_images_f32"][:, :144]
        return GuidedViews(
            pipeline.unet,
            known=ConditioningViews(step["gt_z"], rays[~sampled], step["empty"] if empty is None else empty),
            rays=rays[sampled],
            embeddings=Embeddings(step["crossattn"], step["crossattn_uc"]),
            guidance=Guidance(float(step["scale"])),
        )


def three_angles(angles: Tensor) -> Tensor:
    """The model's angles about x, y and z; recordings may leave out the last, which is 0 then."""
    return torch.nn.functional.pad(angles.float(), (0, 3 - angles.shape[1]))


def relative(got: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value expected."""
    return float((got - expected).abs().max() / expected.abs().max())
