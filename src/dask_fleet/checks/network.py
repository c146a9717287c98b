"""What the doctor finds about ports and connections: facts of hosts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.checks.findings import Examined, Finding, Severity
from dask_fleet.firewall import OUTSIDE, Rule, numbers, ranges
from dask_fleet.inventory import undeclared_workers
from dask_fleet.ports import PortInTheWay, foreign, sentence
from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.checks.findings import Listening
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved, SchedulerObserved

__all__ = [
    "MOST_TARGETS",
    "connection_findings",
    "declared_ports",
    "dialled_by",
    "held_inodes",
    "port_findings",
    "worker_findings",
]

MOST_TARGETS = 64
"""Hosts that each host dials for one rule; of more, each dials those that follow it in the spec,
so that every host is dialled by as many others."""

_FAULTS: Mapping[str, tuple[str, str]] = {
    "refused": (
        "refused, although something listens there",
        "let it in at the firewall (a rule with `reject`), and compare the listen address;"
        " `dask fleet ports --nftables` prints the rules",
    ),
    "timeout": (
        "no answer (filtered)",
        "let it in at the firewall or in the security group; `dask fleet ports` lists what is"
        " needed, `--nftables` and `--ufw` as rules",
    ),
    "route": ("no route", "mend the routes between the hosts, or the declared address"),
    "EPERM": ("kept back by the host's own firewall", "let it out: see `nft list ruleset` there"),
    "name": ("the address does not resolve", "mend DNS or /etc/hosts"),
}


def declared_ports(layout: Layout, host: str) -> tuple[tuple[str, int], ...]:
    """Return address and port of everything that is to listen on a host."""
    return tuple(
        (process.listen, port)
        for unit in layout.units_on(host)
        for process in unit.processes
        for port in process.ports.values()
    )


def held_inodes(listening: Listening, seen: HostObserved) -> tuple[int, ...]:
    """Return the sockets that hold ports on which the doctor could not listen."""
    held = {port for _, port in listening.held}
    return tuple(one.inode for one in seen.listeners if one.port in held)


def _foreign_ports(layout: Layout, one: Examined) -> tuple[PortInTheWay, ...]:
    units = {
        port: unit.name
        for unit in layout.units_on(one.host)
        for process in unit.processes
        for port in process.ports.values()
    }
    held = {port for _, port in one.listening.held}
    ports = [
        PortInTheWay(one.host, units[listener.port], listener.port, listener.inode)
        for listener in one.seen.listeners
        if listener.port in held and listener.port in units
    ]
    others = foreign(ports, one.holders, one.seen)
    ours = {port.port for port in ports if port not in others}
    return tuple(port for port in others if port.port not in ours)


def port_findings(layout: Layout, one: Examined) -> Iterator[Finding]:
    """Yield the declared ports of a host that the fleet has not and could not get."""
    for port in _foreign_ports(layout, one):
        fault = sentence(port, one.holders.get(port.inode))
        remedy = "end what holds it, or give the fleet other ports in fleet.yaml"
        yield Finding("ports", "error", one.host, fault, remedy)
    failed: dict[tuple[str, str, str], list[int]] = {}
    for address, port, word, text in one.listening.failed:
        failed.setdefault((address, word, text), []).append(port)
    for (address, word, text), ports in failed.items():
        listed = ", ".join(numbers(ranges(ports)))
        if word in ("EADDRNOTAVAIL", "name"):
            fault = f"{address} is no address of this host: nothing can listen on {listed}"
            remedy = (
                "declare `listen: 0.0.0.0`, or the address of its own interface;"
                " `ip address` on the host lists them"
            )
        elif word == "EACCES":
            fault = f"this user may not listen on {listed}"
            remedy = "choose ports from 1024 on"
        else:
            fault, remedy = f"nothing can listen on {address} {listed}: {text}", "see the error"
        yield Finding("ports", "error", one.host, fault, remedy)


def worker_findings(layout: Layout, cluster: SchedulerObserved | None) -> Iterator[Finding]:
    """Yield the workers that the scheduler lists and nobody declared; they take tasks too."""
    for one in undeclared_workers(layout, cluster):
        yield Finding(
            "workers",
            "warning",
            one.host or layout.scheduler.host,
            one.fault,
            "end it where it runs, or declare it; `tls: true` lets in only whom you give a"
            " certificate",
        )


def _reachable(layout: Layout, one: Examined) -> frozenset[int]:
    """Return the ports of a host on which something of ours listens: the fleet, or the probe."""
    there = {port for _, port in one.listening.bound | one.listening.held}
    return frozenset(there - {port.port for port in _foreign_ports(layout, one)})


def _near(source: str, rule: Rule) -> Iterator[tuple[str, str]]:
    """Yield target and address of what a host is to try for a rule.

    Where few hosts dial, each dials every target; see `MOST_TARGETS` for the others.
    """
    count = len(rule.targets)
    most = 1 if rule.own else count
    if len(rule.sources) > MOST_TARGETS:
        most = min(most, MOST_TARGETS)
    start = rule.targets.index(source) if most < count and source in rule.targets else 0
    for step in range(most):
        at = (start + step) % count
        yield rule.targets[at], rule.addresses[at]


@dataclass(frozen=True, slots=True)
class _Attempt:
    target: str
    address: str
    port: int
    rule: Rule


def _attempts(
    source: str, rules: Iterable[Rule], listens: Mapping[str, frozenset[int]]
) -> Iterator[_Attempt]:
    for rule in rules:
        if rule.use == "ssh" or rule.sources[0] in OUTSIDE:
            continue
        if source not in (rule.targets if rule.own else rule.sources):
            continue
        for target, address in _near(source, rule):
            there = listens.get(target, frozenset[int]())
            for low, high in rule.ports:
                for port in range(low, high + 1):
                    if port in there:
                        yield _Attempt(target, address, port, rule)


def dialled_by(
    layout: Layout, rules: Iterable[Rule], hosts: Sequence[Examined]
) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return address and port of everything that each host is to dial.

    What nothing listens on is left out: it has a finding of its own.
    """
    rules = tuple(rules)
    listens = {one.host: _reachable(layout, one) for one in hosts}
    return {
        one.host: tuple(
            dict.fromkeys((a.address, a.port) for a in _attempts(one.host, rules, listens))
        )
        for one in hosts
    }


def connection_findings(
    layout: Layout, rules: Iterable[Rule], hosts: Sequence[Examined]
) -> Iterator[Finding]:
    """Yield the connections that do not come about, what is alike in one finding.

    Parameters
    ----------
    layout : Layout
        What is declared.
    rules : iterable of Rule
        The contract.
    hosts : sequence of Examined
        Those that answer, each with how its connections went.
    """
    rules = tuple(rules)
    listens = {one.host: _reachable(layout, one) for one in hosts}
    # Ports of one pair that fail alike, then sources that fail alike, then targets.
    pairs: dict[tuple[str, str, str, bool], dict[int, str]] = {}
    for one in hosts:
        went = {(d.address, d.port): d.outcome for d in one.answer.dialled}
        for attempt in _attempts(one.host, rules, listens):
            outcome = went.get((attempt.address, attempt.port), "ok")
            if outcome != "ok":
                grave = attempt.rule.use != "dashboard"
                key = (one.host, attempt.target, outcome, grave)
                pairs.setdefault(key, {})[attempt.port] = attempt.rule.purpose
    sources: dict[tuple[str, tuple[int, ...], str, bool, str], list[str]] = {}
    for (source, target, outcome, grave), ports in pairs.items():
        why = "; ".join(dict.fromkeys(ports.values()))
        sources.setdefault((target, tuple(sorted(ports)), outcome, grave, why), []).append(source)
    targets: dict[tuple[tuple[str, ...], tuple[int, ...], str, bool, str], list[str]] = {}
    for (target, ports, outcome, grave, why), names in sources.items():
        targets.setdefault((tuple(names), ports, outcome, grave, why), []).append(target)
    for (names, ports, outcome, grave, why), reached in targets.items():
        fault, remedy = _FAULTS.get(outcome, (outcome, "see what this error of connect(2) means"))
        severity: Severity = "error" if grave else "warning"
        plural = "ports" if len(ports) > 1 else "port"
        yield Finding(
            "connections",
            severity,
            f"{', '.join(fold(names))} -> {', '.join(fold(reached))}",
            f"TCP {plural} {', '.join(numbers(ranges(ports)))}: {fault} ({why})",
            remedy,
        )
    many = max((len(rule.targets) for rule in rules if len(rule.sources) > MOST_TARGETS), default=0)
    if many > MOST_TARGETS:
        yield Finding(
            "connections",
            "note",
            "all hosts",
            f"each worker host has dialled {MOST_TARGETS} of the {many} others, not all of them",
            "nothing to do: every host was dialled by as many",
        )
