"""Shared by tests of batches: the same hair network on every machine."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def hair_network(monkeypatch):
    """Which network ``auto`` takes is no accident of this machine, and nothing is fetched."""
    choose = "spinmeround.portrait.hair_segmentation.choose_hair_network"
    monkeypatch.setattr(choose, lambda: ("mediapipe", "the best that can be had"))
