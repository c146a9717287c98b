"""Checks of worker groups: their hosts and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.spec.expand import ExpandedHost, Placement, group_hosts, place, worker_name
from dask_fleet.spec.ranges import LARGEST, expand, is_range
from dask_fleet.spec.variables import Substituted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_fleet.spec.model import Spec
    from dask_fleet.spec.near import Speller
    from dask_fleet.spec.report import Path, Report

__all__ = ["SOMEWHERE", "check_groups", "check_names"]

SOMEWHERE = ""
"""Host of a group when a fault leaves open which ones it has: at least there is one."""


def check_groups(
    spec: Spec,
    report: Report,
    hosts: Mapping[str, ExpandedHost],
    scheduler: str | None,
    speller: Speller,
) -> list[Placement]:
    """Report groups on unknown hosts, or on one host twice.

    Returns
    -------
    list of Placement
        The workers, those on unknown hosts included; not all when they are too many.
    """
    groups = {} if report.is_broken("workers") else spec.workers
    for name, group in groups.items():
        seen: set[str] = set()
        for index, pattern in enumerate(group.hosts):
            path: Path = ("workers", name, "hosts", index)
            if report.is_broken(*path):
                continue
            names = expand(pattern)
            _check_known(path, pattern, names, report, speller)
            again = next((one for one in names if one in seen), None)
            if again is not None:
                report.add(
                    path,
                    f"a host is named twice in the group: {report.shown(path, again)}",
                    "remove one of them; more workers on a host are for per_host to say",
                )
            seen.update(names)
    total = 0
    placed: list[Placement] = []
    for name, group in groups.items():
        if report.is_broken("workers", name, "hosts"):
            names = (SOMEWHERE,)
        elif group.hosts:
            names = dict.fromkeys(one for pattern in group.hosts for one in expand(pattern))
        elif not speller.vague and (scheduler in hosts or len(hosts) == 1):
            door = spec.door.host if spec.door else None
            names = group_hosts(group, hosts, scheduler, door)
        else:
            names = (SOMEWHERE,)
        for placement in place(name, group, names):
            total += group.per_host
            if total > LARGEST:
                report.add(
                    ("workers", name),
                    f"there are more than {LARGEST:,} workers",
                    "make it several fleets",
                )
                return placed
            placed.append(placement)
    return placed


def _check_known(
    path: Path, pattern: str, names: Sequence[str], report: Report, speller: Speller
) -> None:
    missing = [name for name in names if not speller.knows(name)]
    if not missing:
        return
    if not is_range(pattern):
        report.add(path, f"unknown host {report.shown(path)}", speller.remedy(pattern))
    elif len(missing) == len(names):
        report.add(path, f"the range {report.shown(path)} matches no host", speller.remedy(pattern))
    elif isinstance(report.value(path), Substituted):
        report.add(path, f"unknown hosts in {report.shown(path)}", 'add them under "hosts"')
    else:
        more = f" and {len(missing) - 1} more of the range" if len(missing) > 1 else ""
        report.add(path, f'unknown host "{missing[0]}"{more}', "shorten the range or add the hosts")


def check_names(spec: Spec, report: Report, placed: Sequence[Placement]) -> None:
    """Report groups whose workers bear the same names, as far as their numbers are known."""
    spans: dict[str, tuple[int, int]] = {}
    sound = {
        name
        for name in spec.workers
        if report.is_sound(("workers", name), "prefix", "first", "per_host")
    }
    for placement in placed:
        if placement.group not in sound:
            continue
        first, last = placement.first, placement.first + placement.spec.per_host - 1
        low, high = spans.get(placement.group, (first, last))
        spans[placement.group] = min(low, first), max(high, last)
    by_prefix: dict[str, list[tuple[int, int, int, str]]] = {}
    for order, (group, (first, last)) in enumerate(spans.items()):
        by_prefix.setdefault(spec.workers[group].prefix, []).append((first, last, order, group))
    for prefix, entries in by_prefix.items():
        free = max(last for _, last, _, _ in entries) + 1
        before = (-1, -1, -1, "")
        for entry in sorted(entries):
            if entry[0] <= before[1]:
                later, earlier = (entry, before) if entry[2] > before[2] else (before, entry)
                secret = isinstance(report.value(("workers", later[3], "prefix")), Substituted)
                name = "" if secret else f' "{worker_name(prefix, entry[0])}"'
                report.add(
                    ("workers", later[3]),
                    f"two workers would have the same name{name}: one of "
                    f'group "{earlier[3]}", one of "{later[3]}"',
                    f'give the group a "prefix" of its own, or "first: {free}"',
                    at_key=True,
                )
            before = max(before, entry, key=lambda one: one[1])
