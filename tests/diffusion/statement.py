"""The published model stated once more, straight on its checkpoint's names: plain torch, no diffusers, no shortcuts.

Sources: the layers are those of Stable Diffusion 1.5 (Rombach et al., arXiv 2112.10752) and of CLIP's text encoder
(Radford et al., arXiv 2103.00020); views, masks, guidance and passes are those of SpinMeRound (arXiv 2504.10716).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from spinmeround.diffusion.model.checkpoint import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX


@dataclass(frozen=True)
class Part:
    """A layer or several, and the names below it."""

    tensors: Mapping[str, Tensor]
    name: str = ""

    def __truediv__(self, name: object) -> Part:
        return Part(self.tensors, f"{self.name}{name}.")

    def has(self, name: object) -> bool:
        return any(key.startswith(f"{self.name}{name}.") for key in self.tensors)

    def get(self, kind: str) -> Tensor | None:
        found = self.tensors.get(self.name + kind)
        return None if found is None else found.float()

    def linear(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.get("weight"), self.get("bias"))

    def conv(self, x: Tensor, *, stride: int = 1, padding: int = 1) -> Tensor:
        return functional.conv2d(x, self.get("weight"), self.get("bias"), stride, padding)

    def pointwise(self, x: Tensor) -> Tensor:
        """A linear layer at every pixel; some checkpoints hold it as a 1 × 1 convolution."""
        return torch.einsum("oi,nihw->nohw", self.get("weight").flatten(1), x) + self.get("bias")[:, None, None]

    def group_norm(self, x: Tensor, eps: float) -> Tensor:
        return functional.group_norm(x, 32, self.get("weight"), self.get("bias"), eps)

    def layer_norm(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.get("weight"), self.get("bias"))


def attention(query: Tensor, key: Tensor, value: Tensor, *, heads: int, mask: Tensor | float = 0.0) -> Tensor:
    """Softmax written out; ``[rows, length, width]``."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + mask).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)


class Unet:
    """The network; rows are consecutive groups of ``views`` views that see each other.

    Args:
        heads: of attention, by the width it works in.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, heads: Callable[[int], int]) -> None:
        self.root, self.heads = Part(tensors, UNET_PREFIX), heads
        self.width = int(tensors[UNET_PREFIX + "time_embed.0.weight"].shape[1])

    def __call__(self, x: Tensor, level: Tensor, context: Tensor, *, views: int) -> Tensor:
        self.views, self.context = views, context
        turns = level[:, None] * torch.exp(-math.log(10000) * torch.arange(self.width // 2) / (self.width // 2))
        time = self.root / "time_embed"
        self.time = (time / 2).linear(functional.silu((time / 0).linear(torch.cat([turns.cos(), turns.sin()], -1))))
        depth, kept = 0, []
        for i in range(self._count("input_blocks")):
            block = self.root / "input_blocks" / i
            if i == 0:
                x = (block / 0).conv(x)
            elif block.has("0.op"):
                x, depth = (block / 0 / "op").conv(x, stride=2), depth + 1
            else:
                x = self._block(block, x, joint=depth > 0)
            kept.append(x)
        middle = self.root / "middle_block"
        x = self._residual(middle / 2, self._transformer(middle / 1, self._residual(middle / 0, x), joint=True))
        for i in range(self._count("output_blocks")):
            block = self.root / "output_blocks" / i
            x = self._block(block, torch.cat([x, kept.pop()], 1), joint=depth > 0)
            for up in (block / 1, block / 2):
                if up.has("conv"):
                    x, depth = (up / "conv").conv(functional.interpolate(x, scale_factor=2.0)), depth - 1
        out = self.root / "out"
        return (out / 2).conv(functional.silu((out / 0).group_norm(x, 1e-5)))

    def _count(self, name: str) -> int:
        return next(i for i in range(1000) if not (self.root / name).has(i))

    def _block(self, block: Part, x: Tensor, *, joint: bool) -> Tensor:
        x = self._residual(block / 0, x)
        return self._transformer(block / 1, x, joint=joint) if block.has("1.norm") else x

    def _residual(self, block: Part, x: Tensor) -> Tensor:
        h = (block / "in_layers" / 2).conv(functional.silu((block / "in_layers" / 0).group_norm(x, 1e-5)))
        h = h + (block / "emb_layers" / 1).linear(functional.silu(self.time))[:, :, None, None]
        h = (block / "out_layers" / 3).conv(functional.silu((block / "out_layers" / 0).group_norm(h, 1e-5)))
        return h + ((block / "skip_connection").pointwise(x) if block.has("skip_connection") else x)

    def _transformer(self, block: Part, x: Tensor, *, joint: bool) -> Tensor:
        h = (block / "proj_in").pointwise((block / "norm").group_norm(x, 1e-6)).flatten(2).transpose(1, 2)
        for i in range(next(i for i in range(100) if not (block / "transformer_blocks").has(i))):
            layer = block / "transformer_blocks" / i
            h = h + self._attention(layer / "attn1", (layer / "norm1").layer_norm(h), None, joint=joint)
            h = h + self._attention(layer / "attn2", (layer / "norm2").layer_norm(h), self.context, joint=False)
            value, gate = (layer / "ff" / "net" / 0 / "proj").linear((layer / "norm3").layer_norm(h)).chunk(2, -1)
            h = h + (layer / "ff" / "net" / 2).linear(value * functional.gelu(gate))
        return x + (block / "proj_out").pointwise(h.transpose(1, 2).unflatten(2, x.shape[2:]))

    def _attention(self, layer: Part, x: Tensor, context: Tensor | None, *, joint: bool) -> Tensor:
        rows, length, width = x.shape
        if joint:
            x = x.reshape(rows // self.views, self.views * length, width)
        context = x if context is None else context
        parts = (layer / "to_q").linear(x), (layer / "to_k").linear(context), (layer / "to_v").linear(context)
        return (layer / "to_out" / 0).linear(attention(*parts, heads=self.heads(width))).reshape(rows, length, width)


class Vae:
    """The autoencoder."""

    def __init__(self, tensors: Mapping[str, Tensor], *, scale: float) -> None:
        self.root, self.scale = Part(tensors, VAE_PREFIX), scale
        self.levels = next(i for i in range(100) if not (self.root / "encoder" / "down").has(i))

    def moments(self, pictures: Tensor) -> Tensor:
        coder = self.root / "encoder"
        x = (coder / "conv_in").conv(pictures)
        for level in range(self.levels):
            place = coder / "down" / level
            x = self._blocks(place, x)
            if level < self.levels - 1:
                x = (place / "downsample" / "conv").conv(functional.pad(x, (0, 1, 0, 1)), stride=2, padding=0)
        return (self.root / "quant_conv").pointwise(self._end(coder, self._middle(coder, x)))

    def encode(self, pictures: Tensor, noise: Tensor) -> Tensor:
        mean, log_variance = self.moments(pictures).chunk(2, 1)
        return self.scale * (mean + (0.5 * log_variance.clamp(-30, 20)).exp() * noise)

    def decode(self, latents: Tensor) -> Tensor:
        coder = self.root / "decoder"
        x = (self.root / "post_quant_conv").pointwise(latents / self.scale)
        x = self._middle(coder, (coder / "conv_in").conv(x))
        for level in reversed(range(self.levels)):
            place = coder / "up" / level
            x = self._blocks(place, x)
            if level:
                x = (place / "upsample" / "conv").conv(functional.interpolate(x, scale_factor=2.0))
        return self._end(coder, x)

    def _blocks(self, place: Part, x: Tensor) -> Tensor:
        for i in range(next(i for i in range(100) if not (place / "block").has(i))):
            x = self._residual(place / "block" / i, x)
        return x

    def _residual(self, block: Part, x: Tensor) -> Tensor:
        h = (block / "conv1").conv(functional.silu((block / "norm1").group_norm(x, 1e-6)))
        h = (block / "conv2").conv(functional.silu((block / "norm2").group_norm(h, 1e-6)))
        return h + ((block / "nin_shortcut").pointwise(x) if block.has("nin_shortcut") else x)

    def _middle(self, coder: Part, x: Tensor) -> Tensor:
        x = self._residual(coder / "mid" / "block_1", x)
        layer = coder / "mid" / "attn_1"
        h = (layer / "norm").group_norm(x, 1e-6)
        parts = [(layer / name).pointwise(h).flatten(2).transpose(1, 2) for name in "qkv"]
        h = attention(*parts, heads=1).transpose(1, 2).unflatten(2, x.shape[2:])
        return self._residual(coder / "mid" / "block_2", x + (layer / "proj_out").pointwise(h))

    def _end(self, coder: Part, x: Tensor) -> Tensor:
        return (coder / "conv_out").conv(functional.silu((coder / "norm_out").group_norm(x, 1e-6)))


def text_tokens(tensors: Mapping[str, Tensor], ids: Tensor, *, face: Tensor, face_id: int, heads: int) -> Tensor:
    """CLIP's text encoder, with a face in the place of one word."""
    root = Part(tensors, TEXT_PREFIX + "encoder.text_model.")
    words = (root / "embeddings" / "token_embedding").get("weight")[ids]
    padded = functional.pad(face, (0, words.shape[-1] - face.shape[-1]))
    x = torch.where((ids == face_id)[..., None], padded[:, None], words)
    x = x + (root / "embeddings" / "position_embedding").get("weight")
    ahead = torch.full((x.shape[1], x.shape[1]), -math.inf).triu(1)
    for i in range(next(i for i in range(100) if not (root / "encoder" / "layers").has(i))):
        layer = root / "encoder" / "layers" / i
        h = (layer / "layer_norm1").layer_norm(x)
        parts = [(layer / "self_attn" / f"{name}_proj").linear(h) for name in "qkv"]
        x = x + (layer / "self_attn" / "out_proj").linear(attention(*parts, heads=heads, mask=ahead))
        h = (layer / "mlp" / "fc1").linear((layer / "layer_norm2").layer_norm(x))
        x = x + (layer / "mlp" / "fc2").linear(h * torch.sigmoid(1.702 * h))
    return (root / "final_layer_norm").layer_norm(x)


def denoised(network: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Clean latents from the network's output (v-prediction)."""
    return x / (sigma**2 + 1) - network * sigma / (sigma**2 + 1).sqrt()


def euler(x: Tensor, clean: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    return x + (sigma_next - sigma) * (x - clean) / sigma


def normals_step(unet: Unet, x: Tensor, sigma: Tensor, *, photo: Tensor, rays: Tensor, cond: Tensor, step: float):
    """Clean latents of one view by itself, its colours moved along the gradient of their distance to the photo's."""
    seen = torch.cat([x / (sigma**2 + 1).sqrt(), rays, torch.ones_like(rays[:, :1])], 1)
    clean = denoised(unet(seen, sigma.log()[None] / 4, cond, views=1), x, sigma)
    colours = photo.shape[1]
    gradient = torch.zeros_like(clean)
    gradient[:, :colours] = 2 * (clean[:, :colours] - photo) / clean.numel()
    return clean - step * gradient


def guided_step(
    unet,
    x: Tensor,
    sigma: Tensor,
    *,
    given: Sequence[int],
    clean: Tensor,
    empty: Tensor,
    rays: Tensor,
    cond: Tensor,
    uncond: Tensor,
    scale: float,
) -> dict[str, Tensor]:
    """All that happens in one step to all views, given ones (at any position) included."""
    views = len(x)
    mask = torch.ones(views, 1, *x.shape[2:])
    mask[given] = 0
    with_photo = torch.cat([rays, mask], dim=1)
    without = with_photo.clone()
    without[given] = 0
    latents = torch.cat([x, x])
    latents[given] = empty
    latents[[views + i for i in given]] = clean
    seen = latents / (sigma**2 + 1).sqrt()
    level = (sigma.log() / 4).expand(2 * views)
    embeddings = torch.cat([uncond.repeat(views, 1, 1), cond.repeat(views, 1, 1)])
    out = unet(torch.cat([seen, torch.cat([without, with_photo])], dim=1), level, embeddings, views=views)
    halves = denoised(out, latents, sigma)
    x_uncond, x_cond = halves.chunk(2)
    guided = x_uncond + scale * (x_cond - x_uncond)
    return {"latents": latents, "seen": seen, "level": level, "out": out, "halves": halves, "guided": guided}
