"""A photo that ships with scikit-image, its portrait, and the models (fetched once; tests skip where that fails)."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from spinmeround import weights
from spinmeround.errors import WeightsError
from spinmeround.io.photo import Photo


@pytest.fixture(scope="session", autouse=True)
def models() -> None:
    try:
        weights.fetch()
    except WeightsError as error:
        pytest.skip(f"the models are not to be had: {error}")


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut().astype(np.float32) / 255


@pytest.fixture(scope="session")
def astronaut_portrait(models, astronaut):
    from spinmeround.portrait import make_portrait

    return make_portrait(Photo(astronaut))
