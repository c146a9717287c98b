"""Dask configuration in dotted and in nested keys, brought into one nested form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from dask_fleet.spec.report import Path

__all__ = ["Conflict", "nest"]

Conflict = tuple["Path", str, str]
"""Path in the file, fault and remedy."""


def nest(config: Mapping[str, object]) -> tuple[dict[str, object], list[Conflict]]:
    """Return a configuration with its dotted keys expanded, and what contradicts itself.

    ``{"a.b": 1, "a": {"c": 2}}`` becomes ``{"a": {"b": 1, "c": 2}}``. As in Dask, ``_`` and ``-``
    in a key are the same; of two values for one key the first is kept.
    """
    result: dict[str, object] = {}
    conflicts: list[Conflict] = []
    _merge(result, config, (), "", conflicts)
    return result, conflicts


def _merge(
    into: dict[str, object],
    values: Mapping[str, object],
    path: Path,
    prefix: str,
    conflicts: list[Conflict],
) -> None:
    for key, value in values.items():
        steps = key.split(".")
        here = (*path, key)
        if not all(steps):
            conflicts.append((here, "a key with an empty part", "write it as a.b.c"))
            continue
        target, dotted = into, prefix
        for step in steps[:-1]:
            known = _same(target, step)
            dotted = f"{dotted}.{known}" if dotted else known
            inner = target.setdefault(known, {})
            if not isinstance(inner, dict):
                conflicts.append(_twice(here, dotted))
                break
            target = cast("dict[str, object]", inner)
        else:
            last = _same(target, steps[-1])
            dotted = f"{dotted}.{last}" if dotted else last
            if isinstance(value, Mapping):
                inner = target.setdefault(last, {})
                if isinstance(inner, dict):
                    nested = cast("Mapping[str, object]", value)
                    _merge(cast("dict[str, object]", inner), nested, here, dotted, conflicts)
                else:
                    conflicts.append(_twice(here, dotted))
            elif last in target:
                conflicts.append(_twice(here, dotted))
            else:
                target[last] = value


def _twice(path: Path, dotted: str) -> Conflict:
    return path, f'"{dotted}" is set twice', "keep one of the two"


def _same(target: Mapping[str, object], step: str) -> str:
    """Return the key that the mapping has for a step, whichever way it is written."""
    if step in target:
        return step
    for form in (step.replace("_", "-"), step.replace("-", "_")):
        if form in target:
            return form
    return step
