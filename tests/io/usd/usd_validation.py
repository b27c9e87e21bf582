"""What the validators of usd-core say of a file."""

from __future__ import annotations

from pathlib import Path

import pytest


def validate(path: Path) -> list[str]:
    """What the validators of this version find."""
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no validators")
    from pxr import Usd

    stage = Usd.Stage.Open(str(path))
    context = validation.ValidationContext(validation.ValidationRegistry().GetOrLoadAllValidators())
    return [f"{error.GetName()}: {error.GetMessage()}" for error in context.Validate(stage)]
