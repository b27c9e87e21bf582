"""Scaling splats between head units and the units of a file."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from spinmeround.types import Splats


def scaled(splats: Splats, factor: float) -> Splats:
    """Return float32 splats with positions and standard deviations multiplied by ``factor``."""

    def narrow(values: Float[Tensor, "..."], factor: float = 1.0) -> Float[Tensor, "..."]:
        return (values.double() * factor).float().contiguous()

    return Splats(
        narrow(splats.means, factor),
        narrow(splats.scales, factor),
        narrow(splats.quats_wxyz),
        narrow(splats.opacities),
        narrow(splats.sh),
    )
