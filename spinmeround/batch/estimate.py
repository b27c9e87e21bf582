"""What a batch would do, how long it would take and how much room, before anything is done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from spinmeround.batch.head import Recipe, is_hair
from spinmeround.batch.ledger import Ledger, table_name
from spinmeround.batch.needs import memory_mb, stages_of
from spinmeround.batch.plan import Plan, Selection
from spinmeround.batch.ray_executor import check_installed
from spinmeround.batch.run import duration
from spinmeround.batch.stores import FolderStore, Store, open_store
from spinmeround.configs import preset
from spinmeround.io.formats import OutputKind, output_kinds

_BYTES_A_SPLAT = {"ply": 68, "spz": 20, "splat": 32, "glb": 64}
_BYTES_A_MESH = 8_000_000
_BYTES_BESIDE = 150_000
"""Preview and report."""


def foretell(places: Sequence[str], recipe: Recipe, *, selection: Selection, cpus_per_head: int) -> str:
    """Return in some lines what a batch would do. Nothing is written.

    Time and size are the means of the heads in the table, where it has any; else guesses by quality and format.

    Raises:
        InputError: a place without photos, a list that cannot be read.
        MissingDependencyError: pyarrow, or the package for a kind of URL, is not installed.
    """
    check_installed(["pyarrow"])
    store = open_store(recipe.out)
    with tempfile.TemporaryDirectory(prefix="spmr-") as folder:
        _copy_tables(store, Path(folder))
        with Ledger(FolderStore(Path(folder)), table_name(selection.shard)) as ledger:
            plan = Plan(places, recipe, ledger=ledger, store=store, selection=selection)
            rows = [(row.seconds, row.bytes) for row in ledger.rows() if row.state == "done"]
    if rows:
        seconds, size = (sum(values) / len(rows) for values in zip(*rows, strict=True))
        source = f"as the {len(rows)} heads in the table took"
    else:
        seconds, size, source = _guessed_seconds(recipe), _guessed_bytes(recipe), "a guess; --limit 10 tells"
    slots = _slots(recipe, cpus_per_head)
    core_hours = len(plan) * seconds * cpus_per_head / 3600
    hours = core_hours / slots / cpus_per_head
    lines = [f"{plan.wanted} heads, {plan.present} of them are there, {len(plan)} to make"]
    if plan.hopeless:
        lines.append(f"{plan.hopeless} failed before, and would again with the same photos and settings")
    lines += [
        f"{core_hours:.1f} core hours ({seconds:.0f} s a head, {source}): {duration(hours)} here "
        f"with {slots} at a time",
        f"{len(plan) * size / 1e9:.1f} GB ({size / 1e6:.1f} MB a head)",
    ]
    return "\n".join(lines)


def _copy_tables(store: Store, folder: Path) -> None:
    for name in store.table_names():
        store.copy_table(name, folder / name)


def _slots(recipe: Recipe, cpus_per_head: int) -> int:
    """Return how many heads this machine makes at a time."""
    by_memory = psutil.virtual_memory().available // (memory_mb(recipe) * 2**20)
    return max(1, min((os.cpu_count() or 1) // cpus_per_head, by_memory))


def _guessed_seconds(recipe: Recipe) -> float:
    known = preset(recipe.settings.quality).seconds
    return sum(known["polish" if stage == "splats" else stage] for stage in stages_of(recipe))


def _guessed_bytes(recipe: Recipe) -> float:
    splats = recipe.settings.splats or preset(recipe.settings.quality).splats["count"]
    kinds = [(each, kind) for each in recipe.formats for kind in _kinds(each, recipe)]
    files = [_BYTES_A_SPLAT.get(each, 68) * splats if kind == "splats" else _BYTES_A_MESH for each, kind in kinds]
    return _BYTES_BESIDE + sum(files)


def _kinds(suffix: str, recipe: Recipe) -> tuple[OutputKind, ...]:
    """Return what a file of each head holds; strands of hair take as much room as a mesh."""
    return ("mesh",) if is_hair(suffix) else output_kinds(f"head.{suffix}", ply=recipe.ply, glb=recipe.glb)
