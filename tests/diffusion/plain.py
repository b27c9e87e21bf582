"""The guided step written down without any shortcut: the reference that the fast one is held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class PlainAttention:
    """Softmax written out; joint over ``views`` where ``joins``."""

    def __init__(self, *, joins: bool) -> None:
        self.joins = joins

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, *, views):
        rows, length, width = hidden_states.shape
        joint = self.joins and encoder_hidden_states is None
        x = hidden_states.reshape(rows // views, views * length, width) if joint else hidden_states
        told = x if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for part in (attn.to_q(x), attn.to_k(told), attn.to_v(told))
        )
        share = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return attn.to_out[0]((share @ value).transpose(1, 2).flatten(2)).reshape(rows, length, width)


def joins(name: str, levels: int) -> bool:
    """Self-attention sees all views everywhere but at the first level, on the way down and up."""
    return ".attn1." in name and not name.startswith(("down_blocks.0.", f"up_blocks.{levels - 1}."))


def guided_step(
    unet,
    x: Tensor,
    sigma: Tensor,
    *,
    given: Sequence[int],
    clean: Tensor,
    empty: Tensor,
    rays: Tensor,
    person: Tensor,
    nobody: Tensor,
    scale: float,
) -> Tensor:
    """Clean guess of all views, given ones (at any position) included, from a stock ``UNet2DConditionModel``."""
    levels = len(unet.config["block_out_channels"])
    unet.set_attn_processor({name: PlainAttention(joins=joins(name, levels)) for name in unet.attn_processors})
    views = len(x)
    mask = torch.ones(views, 1, *x.shape[2:])
    mask[given] = 0
    with_photo = torch.cat([rays, mask], dim=1)
    without = with_photo.clone()
    without[given] = 0
    latents = torch.cat([x, x])
    latents[given] = empty
    latents[[views + i for i in given]] = clean
    seen = torch.cat([latents / (sigma**2 + 1) ** 0.5, torch.cat([without, with_photo])], dim=1)
    out = unet(
        seen,
        (sigma.log() / 4).expand(2 * views),
        encoder_hidden_states=torch.cat([nobody.repeat(views, 1, 1), person.repeat(views, 1, 1)]),
        cross_attention_kwargs={"views": views},
        return_dict=False,
    )[0]
    guess = latents / (sigma**2 + 1) - out * sigma / (sigma**2 + 1) ** 0.5
    uncond, cond = guess.chunk(2)
    return uncond + scale * (cond - uncond)
