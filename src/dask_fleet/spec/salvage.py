"""What of a fleet.yaml is sound, so that checks can run on it beside what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from dask_fleet.spec.fields import FORGIVING
from dask_fleet.spec.model import Spec
from dask_fleet.spec.plugins import without_plugins
from dask_fleet.spec.translate import report_validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_fleet.spec.report import Path, Report
    from dask_fleet.spec.translate import Fault

__all__ = ["salvage"]

_ADDRESS = "stand-in.invalid"


def salvage(values: dict[str, object], report: Report) -> Spec | None:
    """Return the spec of what is sound.

    The first look reports every fault. Then only what is at fault is left out: an unknown key,
    or a value, whose field so takes its default and is spoilt in the report. A list keeps its
    length, since the places of its items are for checks to name and to count by.

    Parameters
    ----------
    values : dict
        The file; it is not changed.
    report : Report
        Takes the problems, and learns which values cannot be believed.

    Returns
    -------
    Spec or None
        ``None`` when nothing can be made of the file.
    """
    spec, faults = _attempt(values, report, again=False)
    if spec is not None:
        return spec
    mended = cast("dict[str, object]", _copy(values))
    for keep_names in (True, False, False):
        _leave_out(mended, faults, keep_names=keep_names)
        spec, faults = _attempt(mended, report, again=True)
        if spec is not None:
            return spec
    return None  # pragma: no cover - no file is known that leads here


def _attempt(
    values: dict[str, object], report: Report, *, again: bool
) -> tuple[Spec | None, list[Fault]]:
    try:
        with without_plugins():
            return Spec.model_validate(values, context=FORGIVING if again else None), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, report_validation(details, report, quiet=again)


def _copy(value: object) -> object:
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_copy(one) for one in cast("list[object]", value)]
    return value


def _leave_out(values: dict[str, object], faults: Sequence[Fault], *, keep_names: bool) -> None:
    """Take what is at fault out of the values.

    The name of a host or group may stay: what it names is checked under its name all the same.
    """
    for path, at_key in faults:
        if not path or (at_key and keep_names and path[0] in ("hosts", "workers")):
            continue
        within: object = values
        for step in path[:-1]:
            if isinstance(within, dict):
                within = cast("dict[str | int, object]", within).get(step)
            elif isinstance(within, list):
                within = cast("list[object]", within)[int(step)]
        last = path[-1]
        if isinstance(within, list):
            cast("list[object]", within)[int(last)] = f"?{last}"
        elif isinstance(within, dict):
            mapping = cast("dict[str | int, object]", within)
            mapping.pop(last, None)
            if not at_key and (stand_in := _stand_in(path)) is not None:
                mapping[last] = stand_in


def _stand_in(path: Path) -> object:
    """Return what stands where a value is needed."""
    if path == ("name",):
        return "unnamed"
    if path[0] == "hosts" and len(path) == 2:
        return {"address": _ADDRESS}
    if path[0] == "hosts" and len(path) == 3 and path[2] == "address":
        return _ADDRESS
    if path == ("door", "tls", "acme", "email"):
        return f"nobody@{_ADDRESS}"
    return None
