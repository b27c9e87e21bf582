"""Presets and the registry of model files, as data."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Quality = Literal["draft", "standard", "high"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)


@dataclass(frozen=True)
class Preset:
    """What one ``--quality`` means.

    Attributes:
        orbit: name of the camera orbit stage one is asked for.
        view_size_px: width and height of those views.
        head: fields of ``template.generator.HeadDetail``.
        texture_px: width and height of the texture of a mesh.
        surface: fields of ``recon.mesh_surface.fitter.SurfaceSettings``.
        sdf: fields of ``recon.sdf.fitter.SdfSettings`` beside its start.
        splats: fields of ``recon.splats.fitter.SplatSettings``.
        diffusion_views: how many views the diffusion model is asked for.
        memory_mb: the most a run was seen to hold.
        head_memory_mb: the same of a run that fits no surface, as the template prior's do for splats and avatars.
        seconds: how long each stage takes on two laptop cores, a first guess of the time left.
    """

    orbit: str
    view_size_px: int
    texture_px: int
    diffusion_views: int
    head: Mapping[str, Any]
    surface: Mapping[str, Any]
    sdf: Mapping[str, Any]
    splats: Mapping[str, Any]
    memory_mb: int
    head_memory_mb: int
    seconds: Mapping[str, float]


@functools.cache
def preset(quality: Quality) -> Preset:
    """The preset of that name."""
    text = importlib.resources.files(__name__).joinpath("presets.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)[quality]
    return Preset(**{name: _frozen(value) for name, value in entries.items()})


def _frozen(value: Any) -> Any:
    """Return a value of a TOML file with tuples in place of lists."""
    if isinstance(value, dict):
        return {name: _frozen(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, list) else value
