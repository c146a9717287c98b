"""Checks of the memory of workers against that of their hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.spec.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_fleet.spec.expand import ExpandedHost, Placement
    from dask_fleet.spec.report import Path, Report

__all__ = ["check_memory"]


def check_memory(
    report: Report,
    hosts: Mapping[str, ExpandedHost],
    placed: Sequence[Placement],
    host_memory: Mapping[str, int],
    *,
    complete: bool,
) -> None:
    """Report limits above the memory of a host, each alone and all together.

    Together, too: Dask spills, pauses and restarts each worker by its own limit. When the limits
    add up to more than there is, the kernel runs out of memory before any of them is reached,
    and kills what it likes.

    ``complete`` says that there are no hosts but these.
    """
    memory = {name: _memory_of(host, report, host_memory) for name, host in hosts.items()}
    by_host: dict[str, list[Placement]] = {}
    lost: dict[str, Placement] = {}
    for placement in placed:
        if placement.host in hosts:
            by_host.setdefault(placement.host, []).append(placement)
        else:
            lost.setdefault(placement.group, placement)
    for name, on_host in by_host.items():
        if (size := memory[name]) is not None:
            _check_host(name, size, on_host, report)
    sizes = [size for size in memory.values() if size is not None]
    if complete and sizes and len(sizes) == len(hosts):
        _check_lost(max(sizes), lost, report)


def _memory_of(host: ExpandedHost, report: Report, host_memory: Mapping[str, int]) -> int | None:
    if report.is_broken("hosts", host.entry, "memory"):
        return None
    here = host_memory.get("*") if host.transport == "local" else None
    return host.spec.memory or host_memory.get(host.name) or here


def _check_lost(largest: int, lost: Mapping[str, Placement], report: Report) -> None:
    """Report limits of workers on unknown hosts that are too high for any host."""
    for group, placement in lost.items():
        path: Path = ("workers", group, "memory_limit")
        limit = placement.spec.memory_limit
        if limit != "auto" and limit > largest:
            report.add_once(
                path,
                f"{format_size(limit)} is more than any host has: {format_size(largest)}",
                "lower it, or write `auto`",
            )


def _check_host(name: str, memory: int, on_host: Sequence[Placement], report: Report) -> None:
    total = workers = 0
    last = sharing = ""
    all_known = True
    for placement in on_host:
        limit = placement.spec.memory_limit
        group: Path = ("workers", placement.group)
        if not report.is_sound(group, "memory_limit"):
            all_known = False
        elif limit != "auto" and limit > memory:
            all_known = False
            report.add_once(
                (*group, "memory_limit"),
                f'{format_size(limit)} is more than host "{name}" has: {format_size(memory)}',
                "lower it, or write `auto`",
            )
        elif not report.is_sound(group, "per_host"):
            all_known = False
        else:
            workers += placement.spec.per_host
            last = placement.group
            if limit == "auto":
                sharing = placement.group
            else:
                total += limit * placement.spec.per_host
    if total > memory:
        report.add_once(
            ("workers", last, "memory_limit"),
            f'the workers on host "{name}" may take {format_size(total)} together, '
            f"and it has {format_size(memory)}",
            f"lower per_host or the limits; {format_size(memory // workers)} each would fit",
        )
    elif all_known and sharing and total + workers > memory:
        report.add_once(
            ("workers", sharing, "memory_limit"),
            f'the other workers leave no memory of host "{name}" to share out',
            "lower their limits",
        )
