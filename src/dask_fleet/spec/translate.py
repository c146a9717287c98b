"""pydantic's errors in plain sentences, with the place in the file and a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from dask_fleet.spec.model import (
    ContainersSpec,
    Directories,
    EnvironmentSpec,
    HostSpec,
    MountSpec,
    PortsSpec,
    SchedulerSpec,
    Spec,
    SshSpec,
    WorkerGroup,
)
from dask_fleet.spec.model_door import AcmeSpec, DoorLoginSpec, DoorSpec, DoorTlsSpec
from dask_fleet.spec.near import did_you_mean, nearest
from dask_fleet.spec.positions import UNREADABLE
from dask_fleet.spec.variables import Substituted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from dask_fleet.spec.report import Path, Report

__all__ = ["MODELS", "Fault", "model_at", "report_validation"]

Fault: TypeAlias = "tuple[Path, bool]"
"""A path, and whether its key is at fault and not its value."""

MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Spec,
    ("environment",): EnvironmentSpec,
    ("hosts", "*"): HostSpec,
    ("hosts", "*", "ssh"): SshSpec,
    ("scheduler",): SchedulerSpec,
    ("workers", "*"): WorkerGroup,
    ("workers", "*", "ports"): PortsSpec,
    ("door",): DoorSpec,
    ("door", "tls"): DoorTlsSpec,
    ("door", "tls", "acme"): AcmeSpec,
    ("door", "login"): DoorLoginSpec,
    ("directories",): Directories,
    ("containers",): ContainersSpec,
    ("containers", "mounts", "*"): MountSpec,
}
"""Which model stands where; ``*`` is a name that the user gives."""

_KINDS = {
    "int_type": ("a whole number", ""),
    "int_from_float": ("a whole number", ""),
    "float_type": ("a number", ""),
    "bool_type": ("true or false", ""),
    "string_type": ("text", "write it in quotes"),
    "dict_type": ("a mapping", 'write "key: value" lines under it, or leave it out'),
    "model_type": ("a mapping", 'write "key: value" lines under it, or leave it out'),
    "tuple_type": ("a list", "write it in brackets: [...]"),
    "list_type": ("a list", "write it in brackets: [...]"),
}


def model_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model that a path of the file leads to."""
    steps = [str(step) for step in path]
    if len(steps) > 1 and steps[0] in ("hosts", "workers"):
        steps[1] = "*"
    if len(steps) > 2 and steps[:2] == ["containers", "mounts"]:
        steps[2] = "*"
    return MODELS.get(tuple(steps))


def report_validation(details: Sequence[Any], report: Report, *, quiet: bool) -> list[Fault]:
    """Add pydantic's errors to the report.

    Parameters
    ----------
    details : sequence
        As `pydantic.ValidationError.errors` returns them.
    report : Report
        Takes the problems, and learns which values cannot be believed. A misspelt key takes the
        one with it that it likely stands for.
    quiet : bool
        Whether to report nothing, for what only follows from an earlier error.

    Returns
    -------
    list of tuple
        Where the errors are: a path, and whether its key is at fault and not its value.
    """
    for error in details:
        if error["type"] == "extra_forbidden":
            *parent, name = error["loc"]
            meant = nearest(str(name), _keys(parent))
            if meant and report.value((*parent, meant)) is None:
                report.spoil((*parent, meant))
    faults: list[Fault] = []
    for error in details:
        location: Path = error["loc"]
        at_key = bool(location) and location[-1] == "[key]"
        path = location[:-1] if at_key else location
        faults.append((path, at_key))
        unknown = error["type"] == "extra_forbidden"
        follows = (error["type"] == "missing" and report.is_broken(*path)) or (
            # A list is short, too, when none of its items is right.
            error["type"] == "too_short" and report.value(path) != []
        )
        if not (at_key or unknown):
            report.spoil(path)
        if quiet or follows or report.value(path) is UNREADABLE:
            continue
        fault, remedy = _sentence(error, path, report, at_key=at_key)
        report.add(path, fault, remedy, at_key=at_key or unknown)
    return faults


def _keys(path: Sequence[str | int]) -> list[str]:
    model = model_at(path)
    return list(model.model_fields) if model else []


def _sentence(error: Any, path: Path, report: Report, *, at_key: bool) -> tuple[str, str]:
    """Return fault and remedy of one of pydantic's errors."""
    kind: str = error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    name = str(path[-1]) if path else ""
    shown = f'"{name}"' if at_key else report.shown(path)
    if kind == "fleet":
        remedy = str(context["remedy"])
        fault = str(context["fault"])
        if context["quotes"] and isinstance(report.value(path), Substituted):
            return f"{shown} is not what is expected here", ""
        if not fault:
            return f"{shown} is not what is expected here", remedy
        return (fault if fault.startswith('"') else f"{fault}: {shown}"), remedy
    if kind == "missing":
        return f'"{name}" is missing', f'add "{name}: ..."'
    if kind == "extra_forbidden":
        known = _keys(path[:-1])
        return f'unknown key "{name}"', (
            did_you_mean(name, known) or f"known keys are {', '.join(known)}"
        )
    if kind in _KINDS:
        expected, remedy = _KINDS[kind]
        return f"expected {expected}, got {shown}", remedy
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", '"')
        return f"expected {expected}, got {shown}", ""
    if kind == "greater_than_equal":
        return f"expected {context['ge']} or more, got {shown}", ""
    if kind == "less_than_equal":
        return f"expected {context['le']} or less, got {shown}", ""
    if kind == "too_short":
        return "the list is empty", "name at least one, or leave it out"
    return str(error["msg"]), ""  # pragma: no cover - a test goes through every kind there is
