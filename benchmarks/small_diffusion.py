"""A multi-view diffusion model small enough to train in minutes on rendered heads, for benchmarks of solvers.

Solvers cannot be compared on random weights. This model has the full one's layout (joint attention, poses,
identity, guidance, v-prediction) and is trained as that one must have been, but on pictures instead of latents: eight
channels at a few pixels, three colours and a grey, three parts of the normal and the coverage.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from torch import Tensor

from spinmeround import mesh_raster
from spinmeround.diffusion.model.pose_map import model_angles_deg, pose_maps
from spinmeround.diffusion.model.unet import MultiViewUNet, Samples
from spinmeround.diffusion.sampling import schedules
from spinmeround.diffusion.sampling.loop import ConditioningViews, Embeddings, Guidance, GuidedViews
from spinmeround.orbits import WHOLE_FOCAL_WIDTHS, orbit_cameras
from spinmeround.template.model.head_model import load_head_model
from spinmeround.types import Cameras

_TOKENS, _WIDTH = 77, 32
_UNCONDITIONAL = 0.15
_SPREAD = 0.5
"""Of the pictures' values, for the weighting of Karras et al. (arXiv 2206.00364, table 1)."""


def rendered_heads(
    people: int, *, azimuths_deg: tuple[float, ...], size_px: int, seed: int = 0
) -> Float[Tensor, "people views 8 size size"]:
    """Random heads in random colours, seen from all sides: colours, grey, normals, coverage, in [-1, 1]."""
    rng = np.random.default_rng(seed)
    model = load_head_model()
    components = [i for i, name in enumerate(model.shape_names) if name.startswith("pca_")]
    cameras = orbit_cameras(
        azimuths_deg, [0.0] * len(azimuths_deg), size_px=4 * size_px, focal_widths=WHOLE_FOCAL_WIDTHS
    )
    drawn = []
    for _ in range(people):
        shape = rng.standard_normal(len(components))
        vertices = (model.mean + np.tensordot(shape, model.shape_plus[components], axes=1)).astype(np.float32)
        skin, hair = rng.uniform(0.3, 0.9, 3), rng.uniform(0.0, 0.6, 3)
        above = np.clip((vertices[:, 1] - 0.15 - 0.3 * vertices[:, 2]) * 20, 0, 1)[:, None]
        colours = (skin * (1 - above) + hair * above).astype(np.float32)
        drawn.append([_drawn(vertices, model.faces, colours, cameras, i, size_px) for i in range(len(cameras))])
    return torch.from_numpy(np.array(drawn, np.float32))


class SmallModel:
    """The model, its training and a guided pass.

    Args:
        size: pixels of a picture along one side.
    """

    def __init__(self, *, azimuths_deg: tuple[float, ...], size: int, seed: int = 0) -> None:
        from diffusers import UNet2DConditionModel

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = UNet2DConditionModel(
                sample_size=size,
                in_channels=153,
                out_channels=8,
                down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
                block_out_channels=(32, 64),
                layers_per_block=1,
                cross_attention_dim=_WIDTH,
                attention_head_dim=4,
            )
            self.embeddings = torch.randn(2, _TOKENS, _WIDTH)
        self.unet = MultiViewUNet(self.network)
        poses = [(azimuth, 0.0) for azimuth in azimuths_deg]
        self.rays = pose_maps(torch.from_numpy(model_angles_deg(poses)).float(), height=size, width=size)
        self._generator = torch.Generator().manual_seed(seed)

    def train(self, heads: Float[Tensor, "people views 8 size size"], *, steps: int, batch: int = 2) -> list[float]:
        """Train on noisy views given the clean first one; return the losses. The weights are a moving average."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        kept, losses = copy.deepcopy(self.network.state_dict()), []
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * (1 - 0.9 * step / steps)
            people = torch.randint(len(heads), (batch,), generator=self._generator)
            loss = self._loss(heads[people])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            for key, value in self.network.state_dict().items():
                kept[key].lerp_(value, max(0.01, 1 / (step + 1)))
        self.network.load_state_dict(kept)
        self.network.eval()
        return losses

    def guided(self, head: Float[Tensor, "views 8 size size"], *, guidance: Guidance) -> GuidedViews:
        """Make the denoiser that samples all other views of a head from its first."""
        embeddings = Embeddings(cond=self.embeddings[1:], uncond=self.embeddings[:1])
        known = ConditioningViews(head[:1], self.rays[:1], torch.zeros_like(head[:1]))
        return GuidedViews(
            self.unet,
            known=known,
            rays=self.rays[1:],
            embeddings=embeddings,
            guidance=guidance,
        )

    def _loss(self, clean: Float[Tensor, "b views 8 size size"]) -> Float[Tensor, ""]:
        batch, views = clean.shape[:2]
        sigma = torch.exp(1.6 * torch.randn(batch, generator=self._generator) + 0.2)
        # One draw for all views of a head, as when sampling.
        noise = torch.randn(batch, 1, *clean.shape[2:], generator=self._generator).expand_as(clean)
        noisy = clean + sigma[:, None, None, None, None] * noise
        masked = torch.ones(batch, views, 1, *clean.shape[3:])
        masked[:, 0] = 0
        rays = torch.cat([self.rays.expand(batch, -1, -1, -1, -1), masked], dim=2)
        without = torch.rand(batch, generator=self._generator) < _UNCONDITIONAL
        noisy[:, 0] = torch.where(without[:, None, None, None], 0.0, clean[:, 0])
        rays[:, 0] = torch.where(without[:, None, None, None], 0.0, rays[:, 0])
        tokens = self.embeddings[(~without).long()]
        level = sigma.repeat_interleave(views)[:, None, None, None]
        x = noisy.flatten(0, 1)
        seen = torch.cat([x * schedules.c_in(level), rays.flatten(0, 1)], dim=1)
        sizes = (views,) * batch
        out = self.unet(seen, schedules.c_noise(level.flatten()), Samples(tokens, sizes, sizes, (1,) * batch))
        guess = (out * schedules.c_out(level) + x * schedules.c_skip(level)).unflatten(0, (batch, views))
        weight = (sigma**2 + _SPREAD**2) / (sigma * _SPREAD) ** 2
        error = ((guess - clean)[:, 1:] ** 2).flatten(1).mean(1)
        return (weight * error).mean()


def _drawn(
    vertices: Float[np.ndarray, "n 3"],
    faces: Int[np.ndarray, "f 3"],
    colours: Float[np.ndarray, "n 3"],
    cameras: Cameras,
    index: int,
    size_px: int,
) -> Float[np.ndarray, "8 size size"]:
    """One view, averaged down from four times its size."""
    buffer = mesh_raster.rasterize(vertices, faces, cameras, index)
    normals = np.asarray(trimesh.Trimesh(vertices, faces, process=False).vertex_normals, np.float32)
    hit = (buffer.face >= 0).astype(np.float32)
    rgb = mesh_raster.interpolate(colours, faces, buffer)
    light = mesh_raster.interpolate(normals, faces, buffer)
    shade = np.clip(0.6 + 0.4 * light[..., 1:2] + 0.2 * light[..., 2:3], 0, 1)
    rgb = np.where(hit[..., None] > 0, rgb * shade, 1.0) * 2 - 1
    planes = np.concatenate([rgb, rgb.mean(-1, keepdims=True), light * hit[..., None], hit[..., None] * 2 - 1], axis=-1)
    return planes.reshape(size_px, 4, size_px, 4, 8).mean((1, 3)).transpose(2, 0, 1).astype(np.float32)
