"""Blurs on a smaller picture against those in full."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spinmeround.images import blurred


@pytest.mark.parametrize("deviation_px", [2.5, 7.0, 24.6, 40.0])
@pytest.mark.parametrize("shape", [(301, 420), (256, 256, 3)])
def test_a_wide_blur_on_a_smaller_picture_is_that_in_full(deviation_px, shape):
    picture = np.random.default_rng(0).random(shape, dtype=np.float32)
    picture[:, shape[1] // 2 :] += 3  # an edge, whose slope tells the width of the blur
    full = cv2.GaussianBlur(picture, (0, 0), deviation_px)
    np.testing.assert_allclose(blurred(picture, deviation_px), full, atol=0.03)


def test_a_blur_wider_than_the_picture_is_its_mean():
    picture = np.random.default_rng(0).random((40, 30), dtype=np.float32)
    np.testing.assert_allclose(blurred(picture, 60.0), picture.mean(), atol=0.05)
