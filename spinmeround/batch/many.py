"""Many heads from Python: a whole batch in one call, or a class for the pipelines of ``ray.data``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from spinmeround.batch.head import Head, Recipe, is_hair
from spinmeround.batch.inputs import photo_name, safe_name
from spinmeround.batch.plan import Selection, short_digest
from spinmeround.batch.ray_executor import RayExecutor, RayOptions
from spinmeround.batch.run import BatchResult, Progress, run_batch
from spinmeround.batch.stores import open_store
from spinmeround.batch.work import make_head
from spinmeround.errors import OutputError
from spinmeround.io.formats import GlbContents, OutputKind, check_available, find_format, output_kinds
from spinmeround.pipelines.settings import RunSettings
from spinmeround.registry import PRIORS

PathLike = str | os.PathLike[str]


def reconstruct_many(
    photos: PathLike | Iterable[PathLike],
    *,
    out: PathLike,
    settings: RunSettings | None = None,
    formats: Sequence[str] = ("ply",),
    strict: bool = False,
    selection: Selection | None = None,
    ray: RayOptions | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> BatchResult:
    """Make a head of each photo, on Ray; what ``spmr-batch`` does.

    The same call again makes only what is missing, or whose bytes or settings changed.

    Args:
        photos: photos, folders, patterns and lists, as paths or URLs that ``fsspec`` knows; see ``docs/BATCH.md``.
        out: folder or URL for the heads, the table and the contact sheet.
        settings: of all heads; a list may have others for some.
        formats: suffixes, such as ``("ply", "glb")``; each head gets a file of each.
        strict: whether a poor head is an error.
        selection: which of the heads.
        ray: where they are made, and with what.
        tell: called with the progress after each head.

    Returns:
        How many heads there are, and how many failed and why; each has a row in the table.

    Raises:
        InputError: a place without photos, a list that cannot be read, no cluster at the address.
        OutputError: ``out`` cannot be written.
        MissingDependencyError: Ray, or the package for a kind of URL, is not installed.
        ResourceError: no machine has what one head needs.
    """
    places = [photos] if isinstance(photos, (str, os.PathLike)) else photos
    recipe = make_recipe(out, settings=settings, formats=formats, strict=strict)
    return run_batch([os.fspath(each) for each in places], recipe, RayExecutor(ray), selection=selection, tell=tell)


class HeadMaker:
    """Makes heads in a pipeline of ``ray.data``.

    ``dataset.map_batches(HeadMaker, fn_constructor_kwargs={"out": "heads/"}, batch_size=1, concurrency=8)``

    A batch has a column ``photo``, and may have ``name`` and ``options`` (a dict of settings by dotted name). It comes
    back with the columns of the table added, ``options`` only where it had none; errors stand in there, none is raised.
    A head without a name gets that of its photo and a digest of the photo's path, since no maker knows of the others.

    Args:
        out: folder or URL for the heads. The pipeline has the table, and none is written there.
        settings: of all heads.
        formats: suffixes; each head gets a file of each.
        strict: whether a poor head is an error.
    """

    def __init__(
        self,
        out: PathLike,
        *,
        settings: RunSettings | None = None,
        formats: Sequence[str] = ("ply",),
        strict: bool = False,
    ) -> None:
        self._recipe = make_recipe(out, settings=settings, formats=formats, strict=strict)
        open_store(self._recipe.out).prepare()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Make a head of each row of a batch."""
        photos = [str(each) for each in batch["photo"]]
        names = batch.get("name", [f"{photo_name(each)}-{short_digest(each)[:8]}" for each in photos])
        options = batch.get("options", [{}] * len(photos))
        rows = [
            make_head(Head(safe_name(str(name)), (photo,), dict(each or {})), self._recipe).flat()
            for name, photo, each in zip(names, photos, options, strict=True)
        ]
        columns: dict[str, Any] = {}
        for column in rows[0] if rows else ():
            values = np.empty(len(rows), object)
            values[:] = [row[column] for row in rows]
            columns[column] = values if isinstance(values[0], (list, type(None))) else np.array(values.tolist())
        return {**batch, **columns, **{name: batch[name] for name in ("options",) if name in batch}}


def make_recipe(
    out: PathLike,
    *,
    settings: RunSettings | None = None,
    formats: Sequence[str] = ("ply",),
    ply: OutputKind = "splats",
    glb: GlbContents = "avatar",
    strict: bool = False,
) -> Recipe:
    """Return what all heads of a batch have in common, checked once rather than by each head.

    Raises:
        OutputError: a format that nobody knows, or none.
        InputError: a part that nobody knows, or options that contradict each other.
        MissingDependencyError: a format whose package is not installed.
    """
    from spinmeround.pipelines.backends import Backends
    from spinmeround.pipelines.choices import choose_prior

    settings = settings or RunSettings()
    suffixes = tuple(dict.fromkeys(each.strip().lstrip(".").lower() for each in formats))
    for suffix in suffixes:
        name = f"head.{suffix}"
        for kind in ("hair",) if is_hair(suffix) else output_kinds(name, ply=ply, glb=glb):
            check_available(find_format(name, kind), name)
    if all(map(is_hair, suffixes)):
        raise OutputError(f"a head needs a file of splats or a mesh beside {', '.join(suffixes) or 'none'}: try ply")
    if len(hair := [each for each in suffixes if is_hair(each)]) > 1:
        raise OutputError(f"a head has one file of hair, and {', '.join(hair)} are {len(hair)}: name one of them")
    Backends(settings).check()
    if settings.prior != "auto":
        PRIORS.check(settings.prior)
        choose_prior(settings.prior, device="cpu", options=settings.diffusion, neutral=settings.photo.neutral)
    return Recipe(os.fspath(out), settings, suffixes, ply=ply, glb=glb, strict=strict)
