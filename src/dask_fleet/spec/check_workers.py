"""Checks of worker groups: their hosts, names, ports and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_fleet.spec.expand import ExpandedHost, Placement, placements, worker_name
from dask_fleet.spec.ranges import LARGEST, expand, is_range
from dask_fleet.spec.sizes import format_size, parse_ports
from dask_fleet.spec.variables import Substituted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_fleet.spec.model import Spec
    from dask_fleet.spec.near import Speller
    from dask_fleet.spec.report import Path, Report

__all__ = ["check_groups", "check_memory", "check_names", "check_ports"]

_PORTS = ("worker", "nanny", "dashboard")


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
        Workers on the hosts that there are; none when they are too many to go on.
    """
    for name, group in spec.workers.items():
        seen: set[str] = set()
        for index, pattern in enumerate(group.hosts):
            path: Path = ("workers", name, "hosts", index)
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
    placed = placements(spec, hosts, scheduler)
    for placement in placed:
        total += placement.spec.per_host
        if total > LARGEST:
            report.add(
                ("workers", placement.group),
                f"there are more than {LARGEST:,} workers",
                "make it several fleets",
            )
            return []
    return placed


def _check_known(
    path: Path, pattern: str, names: Sequence[str], report: Report, speller: Speller
) -> None:
    missing = [name for name in names if name not in speller.known]
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
    """Report groups whose workers bear the same names."""
    spans: dict[str, tuple[int, int]] = {}
    for placement in placed:
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


def check_ports(
    spec: Spec,
    report: Report,
    hosts: Mapping[str, ExpandedHost],
    scheduler: str | None,
    placed: Sequence[Placement],
) -> None:
    """Report ports that do not exist, may not be used, or are wanted twice."""
    allowed = parse_ports(spec.port_range) if spec.port_range else None
    impossible = _check_bounds(placed, report, allowed)
    domain = _domains(hosts)
    used: dict[str, dict[int, tuple[str, str]]] = {}
    if scheduler is not None and not report.is_broken("scheduler"):
        used[domain[scheduler]] = {
            spec.scheduler.port: ("the scheduler", ""),
            spec.scheduler.dashboard: ("the scheduler's dashboard", ""),
        }
    reported: set[tuple[str, str]] = set()
    for placement in placed:
        if placement.group in impossible:
            continue
        taken = used.setdefault(domain[placement.host], {})
        for use in _PORTS:
            for index, port in enumerate(placement.ports(getattr(placement.spec.ports, use))):
                owner = taken.setdefault(port, (f"{index}:{use}", placement.group))
                if owner == (f"{index}:{use}", placement.group):
                    continue
                pair = placement.group, owner[1] or owner[0]
                if pair in reported:
                    continue
                reported.add(pair)
                report.add(
                    ("workers", placement.group, "ports", use),
                    f'port {port} is wanted twice on host "{placement.host}": by '
                    f"{_owner(owner)} and by {_owner((f'{index}:{use}', placement.group))}",
                    "use other ports, or a larger step" if owner[1] else "use other ports",
                )


def _owner(owner: tuple[str, str]) -> str:
    text, group = owner
    if not group:
        return text
    index, use = text.split(":")
    what = "" if use == "worker" else f"the {use} of "
    return f'{what}worker {int(index) + 1} of group "{group}"'


def _domains(hosts: Mapping[str, ExpandedHost]) -> dict[str, str]:
    """Return what each host shares its ports with: all that listens on one address here."""
    wild = any(
        host.transport == "local" and host.listen in ("0.0.0.0", "::")  # noqa: S104
        for host in hosts.values()
    )
    return {
        name: ("this machine" if wild else f"listen {host.listen}")
        if host.transport == "local"
        else f"host {name}"
        for name, host in hosts.items()
    }


def _check_bounds(
    placed: Sequence[Placement], report: Report, allowed: tuple[int, int] | None
) -> set[str]:
    """Report ports above 65535 or out of the allowed range; return groups with the former."""
    ends: dict[str, tuple[Placement, Placement]] = {}
    for placement in placed:
        first, _ = ends.get(placement.group, (placement, placement))
        ends[placement.group] = first, placement
    impossible: set[str] = set()
    for group, (first, last) in ends.items():
        for use in _PORTS:
            base = getattr(first.spec.ports, use)
            low, high = first.ports(base)[0], last.ports(base)[-1]
            path: Path = ("workers", group, "ports", use)
            if high > 65535:
                impossible.add(group)
                report.add(
                    path,
                    f"ports run to {high}, and the last port there is is 65535",
                    "begin lower, or take a smaller step, or count `per: host`",
                )
            elif allowed and (low < allowed[0] or high > allowed[1]):
                report.add(
                    path,
                    f"port {low if low < allowed[0] else high} leaves port_range "
                    f"{allowed[0]}-{allowed[1]}",
                    "begin elsewhere, take a smaller step, or widen port_range",
                )
    return impossible


def check_memory(
    report: Report,
    hosts: Mapping[str, ExpandedHost],
    placed: Sequence[Placement],
    host_memory: Mapping[str, int],
) -> None:
    """Report limits above the memory of a host, each alone and all together.

    Together, too: Dask spills, pauses and restarts each worker by its own limit. When the limits
    add up to more than there is, the kernel runs out of memory before any of them is reached,
    and kills what it likes.
    """
    by_host: dict[str, list[Placement]] = {}
    for placement in placed:
        by_host.setdefault(placement.host, []).append(placement)
    for name, on_host in by_host.items():
        host = hosts[name]
        here = host_memory.get("*") if host.transport == "local" else None
        memory = host.spec.memory or host_memory.get(name) or here
        if memory is None:
            continue
        total, sharing, alone = 0, "", False
        for placement in on_host:
            limit = placement.spec.memory_limit
            path: Path = ("workers", placement.group, "memory_limit")
            if limit == "auto":
                sharing = placement.group
                continue
            total += limit * placement.spec.per_host
            if limit > memory:
                alone = True
                report.add_once(
                    path,
                    f'{format_size(limit)} is more than host "{name}" has: {format_size(memory)}',
                    "lower it, or write `auto`",
                )
        if alone:
            continue
        last = on_host[-1]
        workers = sum(placement.spec.per_host for placement in on_host)
        if total > memory:
            report.add_once(
                ("workers", last.group, "memory_limit"),
                f'the workers on host "{name}" may take {format_size(total)} together, '
                f"and it has {format_size(memory)}",
                f"lower per_host or the limits; {format_size(memory // workers)} each would fit",
            )
        elif sharing and total + workers > memory:
            report.add_once(
                ("workers", sharing, "memory_limit"),
                f'the other workers leave no memory of host "{name}" to share out',
                "lower their limits",
            )
