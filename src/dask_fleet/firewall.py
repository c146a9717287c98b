"""The firewall contract: who must reach whom, on which TCP ports, and why.

It follows from the layout alone. What connects to what was read in distributed's source (2026.8):

- A worker and its nanny dial the scheduler (`Worker._register_with_scheduler`,
  `Nanny.start_unsafe`); tasks and heartbeats run over the connections that workers have opened.
- The scheduler dials workers to move and to gather data (`gather_on_worker`, `broadcast`) and
  nannies to restart workers (`Scheduler.restart_workers`).
- A worker dials others for their data (`get_data_from_worker`), and its own nanny when it closes
  (`Worker.close`). A nanny talks to its worker over a pipe, not over TCP.
- A client dials the scheduler, and workers only if its user asks for `direct_to_workers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.door import Door
    from dask_fleet.layout import Layout, Worker
    from dask_fleet.spec.model import SshSpec

__all__ = [
    "CLIENTS",
    "OPERATOR",
    "OUTSIDE",
    "PortRange",
    "Rule",
    "Use",
    "contract",
    "numbers",
    "ranges",
    "rows",
    "value",
]

CLIENTS = "clients"
OPERATOR = "operator"
OUTSIDE = (CLIENTS, OPERATOR)
"""Sources that are no hosts of the fleet; a third kind is a jump host by its address."""

Use = Literal["scheduler", "worker", "nanny", "dashboard", "ssh", "door"]
PortRange = tuple[int, int]

_MOST_ROWS = 8
"""Rules of one purpose that a table shows before it folds them into one row."""

_MOST_PARTS = 6
"""Parts of a list of ports or addresses that a table shows."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the contract.

    Attributes
    ----------
    sources : tuple of str
        Hosts, or `CLIENTS`, `OPERATOR`, or the address of a jump host that is not of the fleet.
    targets : tuple of str
        Hosts that are alike: each is reached on these ports.
    addresses : tuple of str
        The address that is dialled, one for each target.
    ports : tuple of (int, int)
        Ranges of ports, both ends included, in order.
    use : str
        What listens there.
    purpose : str
        Why.
    optional : bool
        Whether the cluster computes without it.
    own : bool
        Whether each target is reached by its own processes alone, whatever the sources.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    addresses: tuple[str, ...]
    ports: tuple[PortRange, ...]
    use: Use
    purpose: str
    optional: bool = False
    own: bool = False

    def pairs(self) -> Iterator[tuple[str, str, str]]:
        """Yield source, target and address of every connection that the rule asks for."""
        for target, address in zip(self.targets, self.addresses, strict=True):
            for source in (target,) if self.own else self.sources:
                yield source, target, address


def contract(layout: Layout, ssh: Mapping[str, SshSpec | None] | None = None) -> tuple[Rule, ...]:
    """Return every connection that the fleet needs, hosts that are alike in one line.

    Parameters
    ----------
    layout : Layout
        The fleet as declared.
    ssh : Mapping, optional
        How hosts are reached with SSH, by name; port 22 and no jump host where nothing is said.
    """
    scheduler, hosts = layout.scheduler, layout.hosts
    on_host: dict[str, list[Worker]] = {}
    for worker in layout.workers:
        on_host.setdefault(worker.host, []).append(worker)
    everyone = tuple(on_host)
    here = (scheduler.host,)

    def to_scheduler(
        sources: tuple[str, ...],
        address: str,
        port: int,
        use: Use,
        why: str,
        *,
        optional: bool = False,
    ) -> Rule:
        return Rule(sources, here, (address,), ((port, port),), use, why, optional)

    rules = [
        to_scheduler(
            (CLIENTS,), scheduler.external, scheduler.port, "scheduler", "clients send work"
        ),
        to_scheduler(
            (CLIENTS,),
            scheduler.external,
            scheduler.dashboard_port,
            "dashboard",
            "people look at the scheduler's dashboard",
            optional=layout.door is not None,
        ),
    ]
    if everyone:
        rules.append(
            to_scheduler(
                everyone,
                scheduler.contact,
                scheduler.port,
                "scheduler",
                "workers and nannies register",
            )
        )
    if layout.door is not None:
        rules.extend(_door(layout, layout.door))
    through_the_door: tuple[tuple[tuple[str, ...], Use, str, bool], ...] = ()
    if layout.door is not None and not layout.door.with_scheduler:
        why = "the door shows dashboards of workers"
        through_the_door = (((layout.door.host,), "dashboard", why, False),)
    wanted: tuple[tuple[tuple[str, ...], Use, str, bool], ...] = (
        (everyone, "worker", "workers fetch data from each other", False),
        (here, "worker", "the scheduler moves and gathers data", False),
        (here, "nanny", "the scheduler restarts workers", False),
        (everyone, "nanny", "a worker tells its own nanny that it closes", False),
        (here, "dashboard", "the scheduler host shows dashboards of workers", False),
        ((CLIENTS,), "dashboard", "people follow links to dashboards of workers", True),
        *through_the_door,
    )
    for sources, use, why, optional in wanted:
        outside = sources == (CLIENTS,)
        alike: dict[tuple[PortRange, ...], list[str]] = {}
        for name, workers in on_host.items():
            alike.setdefault(ranges(worker.ports[use] for worker in workers), []).append(name)
        for ports, names in alike.items():
            own = use == "nanny" and sources is everyone
            rules.append(
                Rule(
                    tuple(names) if own else sources,
                    tuple(names),
                    tuple(hosts[n].external if outside else hosts[n].address for n in names),
                    ports,
                    use,
                    why,
                    optional,
                    own,
                )
            )
    door = (layout.door.host,) if layout.door else ()
    rules.extend(_ssh(layout, tuple(dict.fromkeys((*here, *door, *everyone))), ssh or {}))
    return tuple(rules)


def _door(layout: Layout, door: Door) -> Iterator[Rule]:
    """Yield who comes to the door, and how it reaches the scheduler's dashboard."""
    outside = (layout.hosts[door.host].external,)
    ports = ((80, 80), (door.port, door.port)) if door.tls == "acme" else ((door.port, door.port),)
    why = "people and programs see all dashboards through the door"
    yield Rule((CLIENTS,), (door.host,), outside, ports, "door", why)
    if not door.with_scheduler:
        port = door.scheduler.port
        yield Rule(
            (door.host,),
            (door.scheduler.host,),
            (door.scheduler.address,),
            ((port, port),),
            "dashboard",
            "the door shows the scheduler's dashboard",
        )


_JUMP = re.compile(r"(\[[^\]]*\]|[^:]*):\d+")
"""Host and port of a jump host; an IPv6 address with a port stands in brackets."""


def _ssh(
    layout: Layout, names: tuple[str, ...], ssh: Mapping[str, SshSpec | None]
) -> Iterator[Rule]:
    """Yield how the operator reaches hosts: directly, or from the host that is jumped from."""
    alike: dict[tuple[str, int], list[str]] = {}
    for name in names:
        if layout.hosts[name].transport == "ssh":
            how = ssh.get(name)
            jump = (how.jump if how else None) or OPERATOR
            if jump not in layout.hosts:
                jump = jump.rpartition("@")[2]
                found = _JUMP.fullmatch(jump)
                jump = (found[1] if found else jump).strip("[]")
            alike.setdefault((jump, (how.port if how else None) or 22), []).append(name)
    for (source, port), targets in alike.items():
        direct = source == OPERATOR
        yield Rule(
            (source,),
            tuple(targets),
            tuple(
                layout.hosts[name].external if direct else layout.hosts[name].address
                for name in targets
            ),
            ((port, port),),
            "ssh",
            "dask fleet reaches the host" if direct else "dask fleet reaches the host by a jump",
        )


def ranges(ports: Iterable[int]) -> tuple[PortRange, ...]:
    """Return ports as ranges, neighbours merged."""
    merged: list[PortRange] = []
    for port in sorted(set(ports)):
        if merged and merged[-1][1] == port - 1:
            merged[-1] = (merged[-1][0], port)
        else:
            merged.append((port, port))
    return tuple(merged)


def numbers(ports: Iterable[PortRange]) -> list[str]:
    """Return ranges as text: ``9010-9011``, ``9020``."""
    return [str(low) if low == high else f"{low}-{high}" for low, high in ports]


def rows(rules: Iterable[Rule]) -> list[tuple[str, str, str, str, str]]:
    """Return the contract as a table: from, to, address, ports, why.

    Hosts with ports of their own, in a large fleet, are folded into one row; what holds for one
    of them is seen with ``--host``.
    """
    by_purpose: dict[tuple[tuple[str, ...], str], list[Rule]] = {}
    for rule in rules:
        sources = () if rule.own else rule.sources
        by_purpose.setdefault((sources, rule.purpose), []).append(rule)
    table: list[tuple[str, str, str, str, str]] = []
    for alike in by_purpose.values():
        folded = len(alike) > _MOST_ROWS
        for group in [alike] if folded else [[rule] for rule in alike]:
            first = group[0]
            ports = ranges(p for r in group for low, high in r.ports for p in range(low, high + 1))
            why = f"{first.purpose} (optional)" if first.optional else first.purpose
            table.append(
                (
                    "the same host" if first.own else _short(fold(first.sources)),
                    _short(fold(name for rule in group for name in rule.targets)),
                    _short(fold(address for rule in group for address in rule.addresses)),
                    _short(numbers(ports)) + (" (by host)" if folded else ""),
                    why,
                )
            )
    return table


def _short(parts: list[str]) -> str:
    if len(parts) <= _MOST_PARTS:
        return ", ".join(parts)
    return f"{', '.join(parts[: _MOST_PARTS - 2])}, ... {parts[-1]} ({len(parts)} in all)"


def value(layout: Layout, rules: Iterable[Rule]) -> dict[str, object]:
    """Return the contract as JSON has it; nothing is folded or left out."""
    return {
        "fleet": layout.name,
        "rules": [
            {
                "sources": list(rule.targets if rule.own else rule.sources),
                "targets": [
                    {"host": host, "address": address}
                    for host, address in zip(rule.targets, rule.addresses, strict=True)
                ],
                "protocol": "tcp",
                "ports": [list(pair) for pair in rule.ports],
                "use": rule.use,
                "purpose": rule.purpose,
                "optional": rule.optional,
                "same_host": rule.own,
            }
            for rule in rules
        ],
    }
