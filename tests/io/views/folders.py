"""What the tests of folders of views share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spinmeround.types import Views


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    document = json.loads((folder / "transforms.json").read_text())
    change(document)
    (folder / "transforms.json").write_text(json.dumps(document))


def assert_same(back: Views, views: Views) -> None:
    np.testing.assert_allclose(back.cameras.camera_from_world, views.cameras.camera_from_world, atol=1e-14)
    np.testing.assert_array_equal(back.cameras.intrinsics_px, views.cameras.intrinsics_px)
    assert (back.cameras.width_px, back.cameras.height_px) == (views.cameras.width_px, views.cameras.height_px)
    inside = views.alpha > 0
    np.testing.assert_array_equal(back.rgb[inside], views.rgb[inside])
    np.testing.assert_array_equal(back.alpha, views.alpha)
    np.testing.assert_array_equal(back.weight, views.weight)
    np.testing.assert_allclose(back.normals_world, views.normals_world, atol=4e-5)
    assert back.names == views.names
