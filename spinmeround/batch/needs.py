"""What a head of a batch goes through, and how much memory it needs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from spinmeround.batch.head import Recipe, is_hair
from spinmeround.batch.settings import settled
from spinmeround.configs import preset
from spinmeround.errors import InputError
from spinmeround.io.formats import output_kinds
from spinmeround.pipelines.avatars import find_obstacle, wants_avatar
from spinmeround.pipelines.outputs import Outputs
from spinmeround.pipelines.stage_two import RequestedResults


def stages_of(recipe: Recipe) -> list[str]:
    """Return the stages of a head by the template prior, which is what most batches take."""
    kinds = {path: output_kinds(path, ply=recipe.ply, glb=recipe.glb) for path in map(Path, recipe.files)}
    outputs = Outputs(
        splats=tuple(path for path, held in kinds.items() if "splats" in held),
        meshes=tuple(path for path, held in kinds.items() if "mesh" in held),
        hair=Path("hair") if any(map(is_hair, recipe.formats)) else None,
        preview=Path("preview.png"),
    )
    moves = find_obstacle(recipe.settings) is None
    requested = RequestedResults.by_outputs(outputs, recipe.settings.mesh, has_avatar=moves)
    requested = replace(requested, painted_start=requested.splats)
    return [
        *("photo", "portrait", "head", *(["views"] if requested.any else [])),
        *requested.stages(outputs),
        *(["avatar"] if moves and wants_avatar(outputs) else []),
    ]


def memory_mb(recipe: Recipe) -> int:
    """Return the memory of a head by its quality; fitting a surface takes the most."""
    settings, known = recipe.settings, preset(recipe.settings.quality)
    with suppress(InputError):  # a list may give each head what makes its settings agree
        settings = settled(settings)
    fits_surface = settings.prior != "template" or "surface" in stages_of(recipe)
    return known.memory_mb if fits_surface else known.head_memory_mb
