"""What may be wrong with the values of splats, whichever format they come from or go to."""

from __future__ import annotations

from pathlib import Path

import torch

from spinmeround.errors import OutputError
from spinmeround.io.formats import Format
from spinmeround.types import Splats


def splats_fault(splats: Splats) -> str:
    """Describe what is wrong with the values; empty if nothing is."""
    if len(splats) == 0:
        return "no splats in it"
    limit = torch.finfo(torch.float32).max / 1e3
    for name in ("means", "scales", "quats_wxyz", "opacities", "sh"):
        values = getattr(splats, name)
        bad = int((~(values.abs() < limit)).reshape(len(values), -1).any(dim=1).sum())
        if bad:
            return f"{bad} of {len(values)} splats have {name} that are not finite numbers"
    if bool((splats.scales < 0).any()):
        return "some scales are negative"
    if bool(((splats.opacities < 0) | (splats.opacities > 1)).any()):
        return "some opacities lie outside 0 to 1"
    return ""


def writable(splats: Splats) -> Splats:
    """Return splats as writers take them: on the CPU, without gradients.

    Raises:
        ValueError: there are none, or values that are not finite or out of their range.
    """
    fields = (splats.means, splats.scales, splats.quats_wxyz, splats.opacities, splats.sh)
    detached = Splats(*(values.detach().cpu() for values in fields))
    fault = splats_fault(detached)
    if fault:
        raise ValueError(f"splats cannot be written: {fault}")
    return detached


def splats_beside(path: Path, wanted: Format, splats: Splats | None) -> dict[str, Splats]:
    """Return the keyword argument by which the writer of a mesh or an avatar gets splats, if there are any.

    Raises:
        OutputError: the format does not hold them.
        ValueError: splats that cannot be written.
    """
    if splats is None:
        return {}
    if not wanted.splats_beside:
        raise OutputError(f"{path}: only a .glb holds splats beside what else is in it; write one")
    return {"splats": writable(splats)}
