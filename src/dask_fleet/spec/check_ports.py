"""Checks of the ports of workers, and of those of the scheduler beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dask_fleet.spec.check_workers import SOMEWHERE
from dask_fleet.spec.expand import ExpandedHost, Placement
from dask_fleet.spec.sizes import parse_ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_fleet.spec.model import Spec
    from dask_fleet.spec.report import Path, Report

__all__ = ["check_ports"]

_USES = ("worker", "nanny", "dashboard")
_LAST = 65535


def check_ports(
    spec: Spec,
    report: Report,
    hosts: Mapping[str, ExpandedHost],
    scheduler: str | None,
    placed: Sequence[Placement],
    door: tuple[str, int] | None = None,
) -> None:
    """Report ports that do not exist, may not be used, or are wanted twice.

    ``door`` is the host and the port of the door, if there is one.
    """
    uses = {
        group: [use for use in _USES if report.is_sound(("workers", group, "ports"), use)]
        for group in spec.workers
    }
    placed = _certain(placed, report)
    _check_bounds(placed, report, uses, parse_ports(spec.port_range) if spec.port_range else None)
    domain = _domains(hosts, report)
    used: dict[str, dict[int, tuple[str, str]]] = {}
    if scheduler is not None:
        taken = used.setdefault(domain.get(scheduler, f"host {scheduler}"), {})
        if report.is_sound(("scheduler",), "dashboard"):
            taken[spec.scheduler.dashboard] = ("the scheduler's dashboard", "")
        if report.is_sound(("scheduler",), "port"):
            taken[spec.scheduler.port] = ("the scheduler", "")
    if door is not None:
        taken = used.setdefault(domain.get(door[0], f"host {door[0]}"), {})
        if door[1] in taken:
            report.add(
                ("door", "listen"),
                f'port {door[1]} is wanted twice on host "{door[0]}": by {taken[door[1]][0]} and '
                "by the door",
                "let the door listen on another one",
            )
        taken.setdefault(door[1], ("the door", ""))
    reported: set[tuple[str, str]] = set()
    for placement in placed:
        host, group = placement.host, placement.group
        where = f"group {group}" if host == SOMEWHERE else domain.get(host, f"host {host}")
        taken = used.setdefault(where, {})
        for use in uses[group]:
            for index, port in enumerate(placement.ports(getattr(placement.spec.ports, use))):
                if port > _LAST:
                    break
                mine = f"{index}:{use}", group
                owner = taken.setdefault(port, mine)
                if owner == mine:
                    continue
                # Two ports of one worker are a fault of their own; else it is once for two groups.
                same = owner[1] == group and owner[0].startswith(f"{index}:")
                pair = f"{group} {use}" if same else group, owner[1] or owner[0]
                if pair in reported:
                    continue
                reported.add(pair)
                # The name of an unknown host may come from a variable.
                on_host = f' on host "{host}"' if host in hosts else ""
                report.add(
                    ("workers", group, "ports", use),
                    f"port {port} is wanted twice{on_host}: by {_owner(owner)} and by "
                    f"{_owner(mine)}",
                    "use other ports, or a larger step" if owner[1] else "use other ports",
                )


def _certain(placed: Sequence[Placement], report: Report) -> list[Placement]:
    """Return what is certain of the workers: where counting is at fault, the first of a group."""
    counted: dict[str, bool] = {}
    result: list[Placement] = []
    for placement in placed:
        path: Path = ("workers", placement.group)
        first = placement.group not in counted
        if first:
            counted[placement.group] = report.is_sound(path, "per_host") and report.is_sound(
                (*path, "ports"), "step", "per"
            )
        if counted[placement.group]:
            result.append(placement)
        elif first:
            one = placement.spec.model_copy(update={"per_host": 1})
            result.append(replace(placement, spec=one))
    return result


def _owner(owner: tuple[str, str]) -> str:
    text, group = owner
    if not group:
        return text
    index, use = text.split(":")
    what = "" if use == "worker" else f"the {use} of "
    return f'{what}worker {int(index) + 1} of group "{group}"'


def _domains(hosts: Mapping[str, ExpandedHost], report: Report) -> dict[str, str]:
    """Return what each host shares its ports with: all that listens on one address here.

    A host whose address is at fault shares them with none.
    """
    local = {
        name: host.listen
        for name, host in hosts.items()
        if host.transport == "local" and report.is_sound(("hosts", host.entry), "address", "listen")
    }
    wild = any(listen in ("0.0.0.0", "::") for listen in local.values())  # noqa: S104
    return {
        name: ("this machine" if wild else f"listen {local[name]}")
        if name in local
        else f"host {name}"
        for name in hosts
    }


def _check_bounds(
    placed: Sequence[Placement],
    report: Report,
    uses: Mapping[str, Sequence[str]],
    allowed: tuple[int, int] | None,
) -> None:
    """Report ports above the last there is, or out of the allowed range."""
    ends: dict[str, tuple[Placement, Placement]] = {}
    for placement in placed:
        first, _ = ends.get(placement.group, (placement, placement))
        ends[placement.group] = first, placement
    for group, (first, last) in ends.items():
        for use in uses[group]:
            base = getattr(first.spec.ports, use)
            low, high = first.ports(base)[0], last.ports(base)[-1]
            path: Path = ("workers", group, "ports", use)
            if high > _LAST:
                report.add(
                    path,
                    f"ports run to {high}, and the last port there is is {_LAST}",
                    "begin lower, or take a smaller step, or count `per: host`",
                )
            if allowed and (low < allowed[0] or allowed[1] < high <= _LAST):
                report.add(
                    path,
                    f"port {low if low < allowed[0] else high} leaves port_range "
                    f"{allowed[0]}-{allowed[1]}",
                    "begin elsewhere, take a smaller step, or widen port_range",
                )
