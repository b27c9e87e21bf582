"""One head of a batch: what it is made from, what all heads have in common, and the row of the table it ends as."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal

from spinmeround.batch.settings import settled
from spinmeround.errors import InputError
from spinmeround.io.formats import GlbContents, OutputKind, suffixes
from spinmeround.pipelines.settings import RunSettings
from spinmeround.runtime.stages import SENTENCES

State = Literal["done", "failed"]
STAGES = (*SENTENCES, "other")
"""Stages with a column of their own; what parts from outside add to them is summed up under the last."""
_FINAL = ("InputError", "NoFaceError", "FitError", "PoorResultError")
"""Errors that the same bytes, settings and version meet again."""


@dataclass(frozen=True)
class Head:
    """What one head is made from.

    Attributes:
        name: of its folder; one of a kind in its batch.
        photos: paths or URLs.
        options: settings of this head alone, by their dotted names in ``RunSettings``; values may be text.
    """

    name: str
    photos: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@cache
def version() -> str:
    """Return the version of the package; looking it up takes a millisecond."""
    return importlib.metadata.version("spinmeround")


def is_hair(suffix: str) -> bool:
    """Whether a format, named without its dot, holds strands of hair."""
    return f".{suffix}" in suffixes("hair")


@dataclass(frozen=True)
class Recipe:
    """What all heads of a batch have in common.

    Attributes:
        out: folder or URL that the batch is written to.
        formats: suffixes without a dot; each head gets a file of each.
        ply: what a ``.ply`` holds.
        glb: what a ``.glb`` holds.
        strict: whether a poor head is an error.
    """

    out: str
    settings: RunSettings = field(default_factory=RunSettings)
    formats: tuple[str, ...] = ("ply",)
    ply: OutputKind = "splats"
    glb: GlbContents = "avatar"
    strict: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that every head has; strands of hair are not for all."""
        return tuple(f"head.{suffix}" for suffix in self.formats if not is_hair(suffix))

    def digest(self, *more: object) -> str:
        """Digest what changes a head, wherever it is written, with the version of the package and ``more``."""
        digest = hashlib.sha256(self._text.encode())
        digest.update(json.dumps(more, sort_keys=True, default=str).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def _text(self) -> str:
        settings = self.settings
        with suppress(InputError):  # a list may give each head what makes its settings agree
            settings = settled(settings)
        values = dataclasses.asdict(replace(self, settings=settings)) | {"out": None}
        return json.dumps([version(), values], sort_keys=True, default=str)


@dataclass(frozen=True)
class Row:
    """What became of one head: a row of the table.

    Attributes:
        head: its name.
        photos: what it was made from.
        sha256: of each photo's bytes.
        options: the settings that differ from the defaults, by dotted name.
        error_kind: class of the error, or ``Crashed``, ``OutOfMemory``.
        error: in one line.
        verdict: ``good``, ``fair`` or ``poor``.
        quality: the lowest of the report's figures of quality, in [0, 1].
        reasons: what is wrong, the worst first.
        stage_seconds: by stage.
        files: names in the folder of the head.
        bytes: size of these.
        node: name of the machine.
        finished: time, UTC, ISO 8601.
        plan: digest of settings and of the photos' names, sizes and times: what changed is found by it without reading.
        key: digest of settings and of the photos' bytes: what really changed.
    """

    head: str
    photos: tuple[str, ...]
    state: State
    sha256: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    error_kind: str = ""
    error: str = ""
    verdict: str = ""
    quality: float | None = None
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: int = 0
    files: tuple[str, ...] = ()
    bytes: int = 0
    node: str = ""
    finished: str = ""
    version: str = ""
    plan: str = ""
    key: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether making the head again from the same would end the same."""
        return self.state == "done" or self.error_kind in _FINAL

    def flat(self) -> dict[str, Any]:
        """Return the row as the table has it: a column a stage, options as JSON, lists as lists."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        stages = dict.fromkeys(STAGES, 0.0)
        for stage, seconds in values.pop("stage_seconds").items():
            stages[stage if stage in stages else "other"] += seconds
        values["options"] = json.dumps(self.options, sort_keys=True, default=str)
        values |= {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return values | {f"seconds_{stage.replace(' ', '_')}": seconds for stage, seconds in stages.items()}

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Row:
        """Return the row that ``flat`` made these columns of."""
        names = {each.name for each in dataclasses.fields(cls)}
        own: dict[str, Any] = {name: value for name, value in values.items() if name in names}
        own |= {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
        stages = {stage: values[f"seconds_{stage.replace(' ', '_')}"] for stage in STAGES}
        own["stage_seconds"] = {stage: seconds for stage, seconds in stages.items() if seconds}
        return cls(**own | {"options": json.loads(own["options"])})


COLUMNS = tuple(Row("", (), "done").flat())
"""Columns of the table."""
