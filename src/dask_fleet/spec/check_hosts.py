"""Checks of the hosts of a spec."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from dask_fleet.spec.expand import ExpandedHost, expand_entry, transport_of
from dask_fleet.spec.ranges import LARGEST, count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.spec.model import HostSpec, Spec, Transport
    from dask_fleet.spec.report import Path, Report

__all__ = ["check_hosts"]


_BRACKETS = re.compile(r"[\[\]]")


def check_hosts(spec: Spec, report: Report) -> tuple[dict[str, ExpandedHost], tuple[str, ...]]:
    """Report what is wrong with hosts.

    Returns
    -------
    dict
        Every host by name; where the address cannot be believed, the name stands for it.
    tuple of str
        Beginnings of further names, of entries that cannot be read; ``""`` when there is no
        telling which hosts there are.
    """
    declared = report.value(("hosts",))
    if report.is_broken("hosts"):
        return {}, ("",)
    entries = cast("dict[str, object]", declared) if isinstance(declared, dict) else {}
    vague = tuple(_BRACKETS.split(entry)[0] for entry in entries if entry not in spec.hosts)
    hosts: dict[str, ExpandedHost] = {}
    by_address: dict[str, str] = {}
    supervised = True
    if not spec.hosts and not vague:
        report.add(("hosts",), "there is no host", "name one, or leave the section out")
    for entry, host in spec.hosts.items():
        path: Path = ("hosts", entry)
        transport = _known_transport(path, host, report)
        if transport == "local" and host.ssh is not None:
            report.add(
                (*path, "ssh"),
                "SSH settings on a local host",
                "remove them, or say transport: ssh",
                at_key=True,
            )
        if host.interface is not None and host.listen is not None:
            report.add(
                (*path, "interface"),
                "both `interface` and `listen` say what processes bind",
                "remove one of them",
                at_key=True,
            )
        if host.interface is not None and transport == "local":
            report.add(
                (*path, "interface"),
                "an interface is looked up on hosts behind SSH only, and this one is local",
                "say `listen: ADDRESS`",
                at_key=True,
            )
        runtime = None if report.is_broken(*path, "runtime") else host.runtime or spec.runtime
        if transport == "ssh" and runtime == "supervisor":
            where: Path = (*path, "runtime") if host.runtime else ("runtime",)
            if host.runtime or supervised:
                report.add(
                    where,
                    f'supervisor is for this machine only, and host "{entry}" is behind SSH',
                    "write systemd or compose",
                )
            supervised = supervised and host.runtime is not None
        unfit = _unfit(entry, host, report)
        if unfit or transport is None:
            update = {"transport": transport or "ssh", **unfit}
            host = host.model_copy(update=update)
        twice = shared = ""
        for one in expand_entry(entry, host, spec.runtime):
            if one.name in hosts:
                twice = twice or one.name
                continue
            hosts[one.name] = one
            if transport is None or "address" in unfit:
                continue
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
            return {}, ("",)
    _check_jumps(hosts, report)
    return hosts, vague


def _known_transport(path: Path, host: HostSpec, report: Report) -> Transport | None:
    """Return what carries commands to a host, unless a fault leaves that open."""
    if host.transport is None:
        if not report.is_sound(path, "transport"):
            return None
        if host.ssh is None and not report.is_sound(path, "address", "ssh"):
            return None
    return transport_of(host)


def _unfit(entry: str, host: HostSpec, report: Report) -> dict[str, object]:
    """Return stand-ins for addresses that are at fault, or not as many as there are names."""
    names = count(entry)
    unfit: dict[str, object] = {}
    for key, pattern, stand_in in (
        ("address", host.address, entry),
        ("external", host.external, None),
    ):
        path: Path = ("hosts", entry, key)
        if report.is_broken(*path):
            unfit[key] = stand_in
            continue
        addresses = count(pattern) if pattern is not None else names
        if addresses == names or (key == "external" and addresses == 1):
            continue
        said = f"the name stands for {names} host{'s' if names > 1 else ''}"
        if addresses == 1:
            fault, remedy = f"{said}, the address for one", "write a range, such as 10.0.0.[11-14]"
        else:
            fault, remedy = f"{said}, the address for {addresses}", "make the ranges equally long"
        report.add(path, f"{fault}: {report.shown(path)}", remedy)
        unfit[key] = stand_in
    return unfit


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
