"""The multi-view UNet: diffusers' own, with one attention in which the views of a sample see each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


@dataclass(frozen=True)
class Samples:
    """How the rows of a batch belong together: consecutive rows are the views of one sample.

    Attributes:
        tokens: what the views are told.
        told: how many consecutive rows share each of the tokens.
        views: rows of each sample.
        stands_for: how many equal views the first row of each sample stands for. Equal rows stay equal through the
            whole network, so one of them is computed and the others only counted where views see each other: the same
            result, up to rounding, for less work.
        keys_values: of the tokens, by layer. They do not depend on the noise, so they are computed once for all steps
            and all views of a sample: the same result for less work.
    """

    tokens: Float[Tensor, "t 77 d"]
    told: tuple[int, ...]
    views: tuple[int, ...]
    stands_for: tuple[int, ...]
    keys_values: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def only(self, kept: Int[Tensor, "kept"]) -> Samples:
        """The same samples with fewer rows; keys and values of the tokens stay the same ones."""
        views = _counted(kept, self.views)
        return Samples(self.tokens, _counted(kept, self.told), views, (1,) * len(views), self.keys_values)


class MultiViewUNet:
    """Calls a ``UNet2DConditionModel`` whose self-attention joins views at every level but the first.

    Args:
        unet: its attention processors are replaced.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.network = unet
        self._kept: Tensor | None = None
        last_up = f"up_blocks.{len(unet.config['block_out_channels']) - 1}."
        processors: Any = {
            name: ViewAttention(name, joins=".attn1." in name and not name.startswith(("down_blocks.0.", last_up)))
            for name in unet.attn_processors
        }
        unet.set_attn_processor(processors)
        unet.up_blocks[-1].register_forward_pre_hook(self._keep_rows, with_kwargs=True)

    def __call__(
        self,
        x: Float[Tensor, "rows c_in h w"],
        noise_level: Float[Tensor, "rows"],
        samples: Samples,
        *,
        kept: Int[Tensor, "kept"] | None = None,
    ) -> Float[Tensor, "kept c_out h w"]:
        """The network's output in float32, whatever it computes in.

        Args:
            noise_level: ``schedules.c_noise`` of each row.
            kept: the rows whose output is wanted, default all. The others are dropped where views see each other no
                more, before the last and largest level: the same result for less work.
        """
        dtype = self.network.dtype
        with self._keeping(kept):
            out = self.network(
                x.to(dtype),
                noise_level,
                encoder_hidden_states=samples.tokens.to(dtype),
                cross_attention_kwargs={"samples": samples},
                return_dict=False,
            )[0]
        return out.float()

    @contextmanager
    def _keeping(self, kept: Tensor | None) -> Iterator[None]:
        self._kept = kept
        try:
            yield
        finally:
            self._kept = None

    def _keep_rows(self, _block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if self._kept is None:
            return args, kwargs
        assert not args
        chosen = {
            "hidden_states": kwargs["hidden_states"][self._kept],
            "temb": kwargs["temb"][self._kept],
            "res_hidden_states_tuple": tuple(skip[self._kept] for skip in kwargs["res_hidden_states_tuple"]),
        }
        joint = kwargs.get("cross_attention_kwargs")
        if joint is not None:
            chosen["cross_attention_kwargs"] = {"samples": joint["samples"].only(self._kept)}
        return args, {**kwargs, **chosen}


class ViewAttention:
    """Attention processor; with ``joins``, self-attention is over all views of a sample.

    Args:
        name: of the layer, under which keys and values of the tokens are remembered.
    """

    def __init__(self, name: str, *, joins: bool) -> None:
        self.name = name
        self.joins = joins

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        samples: Samples,
    ) -> Tensor:
        """Rows of tokens to rows of tokens, ``[rows, length, width]``; ``attn`` is diffusers' ``Attention``."""
        query = attn.to_q(hidden_states)
        if encoder_hidden_states is not None:
            if self.name not in samples.keys_values:
                tokens = encoder_hidden_states
                samples.keys_values[self.name] = attn.to_k(tokens), attn.to_v(tokens)
            key, value = samples.keys_values[self.name]
            out = _told(query, key, value, samples, heads=attn.heads)
        elif self.joins:
            key, value = attn.to_k(hidden_states), attn.to_v(hidden_states)
            out = _joined(query, key, value, samples, heads=attn.heads)
        else:
            key, value = attn.to_k(hidden_states), attn.to_v(hidden_states)
            out = _attend(query, key, value, heads=attn.heads)
        return attn.to_out[0](out)


def _attend(
    query: Float[Tensor, "b q c"], key: Float[Tensor, "b k c"], value: Float[Tensor, "b k c"], *, heads: int
) -> Float[Tensor, "b q c"]:
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _joined(query: Tensor, key: Tensor, value: Tensor, samples: Samples, *, heads: int) -> Float[Tensor, "rows l c"]:
    """Every view looks at every view of its sample."""
    parts = []
    for q, k, v, copies in zip(*(x.split(samples.views) for x in (query, key, value)), samples.stands_for, strict=True):
        if copies > 1:
            k, v = (torch.cat([x[:1].expand(copies - 1, -1, -1), x]) for x in (k, v))
        parts.append(_attend(*(x.flatten(0, 1)[None] for x in (q, k, v)), heads=heads)[0].unflatten(0, q.shape[:2]))
    return torch.cat(parts)


def _told(query: Tensor, key: Tensor, value: Tensor, samples: Samples, *, heads: int) -> Float[Tensor, "rows l c"]:
    """Every view looks at what it is told."""
    parts = [
        _attend(q.flatten(0, 1)[None], k[None], v[None], heads=heads)[0].unflatten(0, q.shape[:2])
        for q, k, v in zip(query.split(samples.told), key, value, strict=True)
    ]
    return torch.cat(parts)


def _counted(kept: Int[Tensor, "kept"], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """How many of the kept rows lie in each of consecutive groups of rows."""
    group = torch.repeat_interleave(torch.tensor(sizes))
    return tuple(torch.bincount(group[kept.cpu()], minlength=len(sizes)).tolist())
