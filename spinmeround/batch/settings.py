"""Settings by dotted name, as rows of a list and rows of the table have them: ``quality``, ``photo.face``."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from spinmeround.errors import InputError
from spinmeround.pipelines.choices import choose_hair, choose_prior
from spinmeround.pipelines.settings import RunSettings

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@functools.cache
def _kinds() -> dict[str, Any]:
    """Return the type of each setting by its dotted name."""
    kinds: dict[str, Any] = {}
    for name, kind in typing.get_type_hints(RunSettings).items():
        if dataclasses.is_dataclass(kind):
            inner = typing.get_type_hints(kind)
            kinds |= {f"{name}.{each.name}": inner[each.name] for each in dataclasses.fields(kind)}
        else:
            kinds[name] = kind
    return kinds


def is_setting(name: object) -> bool:
    """Whether there is a setting of this dotted name."""
    return name in _kinds()


def with_options(settings: RunSettings, options: Mapping[str, Any]) -> RunSettings:
    """Return settings with some replaced.

    Args:
        options: by dotted name; text is read as what the setting is, and None is as good as absent.

    Raises:
        InputError: no such setting, or a value that it cannot have.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        if value is None:  # a column that other rows have
            continue
        if not is_setting(name):
            close = difflib.get_close_matches(name, _kinds(), n=1)
            raise InputError(f"no setting {name!r}" + (f" (perhaps {close[0]}?)" if close else ""))
        group, _, field = name.rpartition(".")
        groups.setdefault(group, {})[field] = _read(name, value, _kinds()[name])
    own = groups.pop("", {})
    inner = {group: dataclasses.replace(getattr(settings, group), **values) for group, values in groups.items()}
    return dataclasses.replace(settings, **own, **inner)


def differing(settings: RunSettings) -> dict[str, Any]:
    """Return the settings that differ from the defaults, by dotted name."""
    found = {}
    for name in _kinds():
        value, usual = settings, RunSettings()
        for part in name.split("."):
            value, usual = getattr(value, part), getattr(usual, part)
        if value != usual:
            found[name] = str(value) if isinstance(value, Path) else value
    return found


def settled(settings: RunSettings) -> RunSettings:
    """Return settings with what this machine takes for each ``auto`` that changes a head.

    Whether a GPU can be had is not asked: the machine that plans a batch may have none.

    Raises:
        InputError: options that contradict each other.
    """
    device = "cuda" if settings.device == "cuda" else "cpu"
    neutral, options = settings.photo.neutral, settings.diffusion
    prior = choose_prior(settings.prior, device=device, options=options, neutral=neutral).selected
    photo = dataclasses.replace(settings.photo, hair=choose_hair(settings.photo.hair).selected)
    return dataclasses.replace(settings, device=device, prior=prior, photo=photo)


def _read(name: str, value: Any, kind: Any) -> Any:
    """Return a value as a kind of setting has it."""
    for each in typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,):
        try:
            return _as(value, each)
        except (ValueError, TypeError):
            continue
    names = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    expected = f"one of {', '.join(map(str, names))}" if names else getattr(kind, "__name__", str(kind))
    raise InputError(f"{name}: expected {expected}, got {value!r}", settings=(name,))


def _as(value: Any, kind: Any) -> Any:
    """Return a value as one plain type.

    Raises:
        ValueError, TypeError: it is none.
    """
    if typing.get_origin(kind) is Literal:
        (match,) = [each for each in typing.get_args(kind) if str(each) == str(value)]
        return match
    if typing.get_origin(kind) is not None:
        read = json.loads(value) if isinstance(value, str) else value
        return {str(key): float(number) for key, number in read.items() if number is not None}
    if kind is bool:
        text = str(value).lower()
        if text not in (*_TRUE, *_FALSE):
            raise ValueError
        return text in _TRUE
    if kind is int and float(value) != int(float(value)):
        raise ValueError
    return int(float(value)) if kind is int else kind(value)
