"""Checks of the hosts of a spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dask_fleet.spec.expand import ExpandedHost, expand_entry, transport_of
from dask_fleet.spec.ranges import LARGEST, RangeError, count, expand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.spec.model import HostSpec, Spec
    from dask_fleet.spec.report import Path, Report

__all__ = ["check_hosts", "known_names"]


def known_names(hosts: Mapping[str, ExpandedHost], report: Report) -> dict[str, None]:
    """Return every name of a host, those of entries with a fault included."""
    names = dict.fromkeys(hosts)
    entries = report.value(("hosts",))
    for entry in cast("dict[str, object]", entries) if isinstance(entries, dict) else ():
        if report.is_broken("hosts", entry):
            try:
                names.update(dict.fromkeys(expand(entry)))
            except RangeError:
                continue
    return names


def check_hosts(spec: Spec, report: Report) -> dict[str, ExpandedHost] | None:
    """Report what is wrong with hosts.

    Returns
    -------
    dict or None
        The hosts that are right, by name; ``None`` when there are too many to go on.
    """
    hosts: dict[str, ExpandedHost] = {}
    by_address: dict[str, str] = {}
    supervised = True
    if not spec.hosts and not report.is_broken("hosts"):
        report.add(("hosts",), "there is no host", "name one, or leave the section out")
    for entry, host in spec.hosts.items():
        path: Path = ("hosts", entry)
        transport = transport_of(host)
        if transport == "local" and host.ssh is not None:
            report.add(
                (*path, "ssh"),
                "SSH settings on a local host",
                "remove them, or say transport: ssh",
                at_key=True,
            )
        if transport == "ssh" and "supervisor" in (host.runtime, host.runtime or spec.runtime):
            where: Path = (*path, "runtime") if host.runtime else ("runtime",)
            if host.runtime or supervised:
                report.add(
                    where,
                    f'supervisor is for this machine only, and host "{entry}" is behind SSH',
                    "write systemd or compose",
                )
            supervised = supervised and host.runtime is not None
        if not _lengths_fit(entry, host, report):
            continue
        twice = shared = ""
        for one in expand_entry(entry, host, spec.runtime):
            if one.name in hosts:
                twice = twice or one.name
                continue
            hosts[one.name] = one
            other = by_address.setdefault(one.address, one.name)
            if other != one.name and not one.transport == hosts[other].transport == "local":
                shared = shared or other
        if twice:
            first = hosts[twice].entry
            report.add(
                path,
                f'host "{twice}" is declared twice, first by "{first}"',
                "remove one of them",
                at_key=True,
            )
        if shared:
            report.add(
                (*path, "address"),
                f'the address is that of host "{shared}" already: '
                + report.shown((*path, "address")),
                "each host has an address of its own",
            )
        if len(hosts) > LARGEST:
            report.add(path, f"there are more than {LARGEST:,} hosts", "make it several fleets")
            return None
    _check_jumps(hosts, report)
    return hosts


def _lengths_fit(entry: str, host: HostSpec, report: Report) -> bool:
    """Report ranges of different lengths in the name and in the addresses of an entry."""
    names = count(entry)
    fit = True
    for key, pattern in (("address", host.address), ("external", host.external)):
        if pattern is None:
            continue
        addresses = count(pattern)
        if addresses == names or (key == "external" and addresses == 1):
            continue
        path: Path = ("hosts", entry, key)
        said = f"the name stands for {names} host{'s' if names > 1 else ''}"
        if addresses == 1:
            fault, remedy = f"{said}, the address for one", "write a range, such as 10.0.0.[11-14]"
        else:
            fault, remedy = f"{said}, the address for {addresses}", "make the ranges equally long"
        report.add(path, f"{fault}: {report.shown(path)}", remedy)
        fit = False
    return fit


def _check_jumps(hosts: Mapping[str, ExpandedHost], report: Report) -> None:
    """Report hosts that are reached through themselves."""
    good: set[str] = set()
    reported: set[str] = set()
    for start in hosts:
        trail: dict[str, None] = {}
        name = start
        while name in hosts and name not in good and name not in trail:
            trail[name] = None
            ssh = hosts[name].spec.ssh
            name = (ssh.jump if ssh else None) or ""
        entry = hosts[name].entry if name in trail else ""
        if entry and entry not in reported:
            reported.add(entry)
            through = [*trail][[*trail].index(name) :]
            report.add(
                ("hosts", entry, "ssh", "jump"),
                f'host "{name}" is reached through itself: {" -> ".join([*through, name])}',
                "let one of them be reached without a jump",
            )
        good.update(trail)
