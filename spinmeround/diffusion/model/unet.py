"""The multi-view UNet: diffusers' own, with self-attention over all views of a sample."""

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
    """Layout of a batch: consecutive rows are the views of one sample.

    Attributes:
        embeddings: of the prompt, which cross-attention attends to.
        rows_per_embedding: how many consecutive rows share each of the embeddings.
        views: rows of each sample.
        multiplicity: how many equal views the first row of each sample stands for. Equal rows stay equal through the
            whole network, so that one of them is computed, and counted several times in multi-view attention: the same
            result, up to rounding, for less work.
        kv_cache: keys and values of the embeddings, by layer. They do not depend on the noise, so that they are
            computed once for all steps and all views of a sample.
    """

    embeddings: Float[Tensor, "t 77 d"]
    rows_per_embedding: tuple[int, ...]
    views: tuple[int, ...]
    multiplicity: tuple[int, ...]
    kv_cache: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def select_rows(self, rows: Int[Tensor, "kept"]) -> Samples:
        """Return the same samples with some of the rows; the cache is shared."""
        views = _group_sizes(rows, self.views)
        per_embedding = _group_sizes(rows, self.rows_per_embedding)
        return Samples(self.embeddings, per_embedding, views, (1,) * len(views), self.kv_cache)


class MultiViewUNet:
    """A ``UNet2DConditionModel`` with multi-view self-attention at every level but the first.

    Args:
        unet: its attention processors are replaced.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.network = unet
        self._output_rows: Tensor | None = None
        first_level = ("down_blocks.0.", f"up_blocks.{len(unet.config['block_out_channels']) - 1}.")
        processors: Any = {
            name: MultiViewAttention(name, multi_view=".attn1." in name and not name.startswith(first_level))
            for name in unet.attn_processors
        }
        unet.set_attn_processor(processors)
        unet.up_blocks[-1].register_forward_pre_hook(self._drop_rows, with_kwargs=True)

    def __call__(
        self,
        x: Float[Tensor, "rows c_in h w"],
        noise_level: Float[Tensor, "rows"],
        samples: Samples,
        *,
        output_rows: Int[Tensor, "kept"] | None = None,
    ) -> Float[Tensor, "kept c_out h w"]:
        """Return the network's output in float32, whatever precision it computes in.

        Args:
            noise_level: ``schedules.c_noise`` of each row.
            output_rows: the rows whose output is wanted, default all. The others are dropped before the last and
                largest level, which has no multi-view attention: the same result for less work.
        """
        dtype = self.network.dtype
        with self._dropping_all_but(output_rows):
            out = self.network(
                x.to(dtype),
                noise_level,
                encoder_hidden_states=samples.embeddings.to(dtype),
                cross_attention_kwargs={"samples": samples},
                return_dict=False,
            )[0]
        return out.float()

    @contextmanager
    def _dropping_all_but(self, rows: Tensor | None) -> Iterator[None]:
        self._output_rows = rows
        try:
            yield
        finally:
            self._output_rows = None

    def _drop_rows(self, _block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Forward pre-hook of the last level: leave only the rows whose output is wanted."""
        rows = self._output_rows
        if rows is None:
            return args, kwargs
        assert not args
        selected = {
            "hidden_states": kwargs["hidden_states"][rows],
            "temb": kwargs["temb"][rows],
            "res_hidden_states_tuple": tuple(skip[rows] for skip in kwargs["res_hidden_states_tuple"]),
        }
        attention = kwargs.get("cross_attention_kwargs")
        if attention is not None:
            selected["cross_attention_kwargs"] = {"samples": attention["samples"].select_rows(rows)}
        return args, {**kwargs, **selected}


class MultiViewAttention:
    """Attention processor of diffusers.

    Args:
        name: of the layer, under which keys and values of the prompt are cached.
        multi_view: whether self-attention is over all views of a sample rather than each view for itself.
    """

    def __init__(self, name: str, *, multi_view: bool) -> None:
        self.name = name
        self.multi_view = multi_view

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        samples: Samples,
    ) -> Tensor:
        """Attend: ``[rows, length, width]`` to the same shape; ``attn`` is diffusers' ``Attention``."""
        query = attn.to_q(hidden_states)
        if encoder_hidden_states is not None:
            if self.name not in samples.kv_cache:
                samples.kv_cache[self.name] = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
            key, value = samples.kv_cache[self.name]
            out = _cross_attention(query, key, value, samples, heads=attn.heads)
        elif self.multi_view:
            key, value = attn.to_k(hidden_states), attn.to_v(hidden_states)
            out = _multi_view_attention(query, key, value, samples, heads=attn.heads)
        else:
            key, value = attn.to_k(hidden_states), attn.to_v(hidden_states)
            out = _attention(query, key, value, heads=attn.heads)
        return attn.to_out[0](out)


def _attention(
    query: Float[Tensor, "b q c"], key: Float[Tensor, "b k c"], value: Float[Tensor, "b k c"], *, heads: int
) -> Float[Tensor, "b q c"]:
    """Multi-head scaled dot-product attention."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def _multi_view_attention(
    query: Tensor, key: Tensor, value: Tensor, samples: Samples, *, heads: int
) -> Float[Tensor, "rows l c"]:
    """Self-attention in which every view attends to every view of its sample."""
    parts = []
    by_sample = zip(*(x.split(samples.views) for x in (query, key, value)), samples.multiplicity, strict=True)
    for q, k, v, copies in by_sample:
        if copies > 1:
            k, v = (torch.cat([x[:1].expand(copies - 1, -1, -1), x]) for x in (k, v))
        parts.append(_attention(*(x.flatten(0, 1)[None] for x in (q, k, v)), heads=heads)[0].unflatten(0, q.shape[:2]))
    return torch.cat(parts)


def _cross_attention(
    query: Tensor, key: Tensor, value: Tensor, samples: Samples, *, heads: int
) -> Float[Tensor, "rows l c"]:
    """Cross-attention of every view to the embedding of its sample's prompt."""
    parts = [
        _attention(q.flatten(0, 1)[None], k[None], v[None], heads=heads)[0].unflatten(0, q.shape[:2])
        for q, k, v in zip(query.split(samples.rows_per_embedding), key, value, strict=True)
    ]
    return torch.cat(parts)


def _group_sizes(rows: Int[Tensor, "kept"], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Count the selected rows in each of consecutive groups of rows."""
    group = torch.repeat_interleave(torch.tensor(sizes))
    return tuple(torch.bincount(group[rows.cpu()], minlength=len(sizes)).tolist())
