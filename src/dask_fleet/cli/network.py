"""Commands about the ways between hosts: ports, doctor."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import (
    accept_new_option,
    as_json,
    file_option,
    load_declared,
    load_fleet,
    print_json,
    reports_errors,
    run,
)
from dask_fleet.cli.render import console, on_terminal, say, show_table
from dask_fleet.errors import FindingsError, FleetError

if TYPE_CHECKING:
    from dask_fleet.checks.findings import Finding, Report
    from dask_fleet.firewall import Rule
    from dask_fleet.fleet import Fleet
    from dask_fleet.layout import Layout
    from dask_fleet.spec.model import SshSpec

__all__ = ["doctor_command", "ports_command"]

_PORTS_HEADER = ("from", "to", "address", "tcp ports", "why")
_PORTS_MORE = "--nftables and --ufw print it as rules · dask fleet doctor tries it out"
_TABLE_WIDTH = 150
_SEVERITY_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command("ports")
@file_option
@as_json
@click.option("--nftables", is_flag=True, help="Print rules to load with `nft -f`.")
@click.option("--ufw", is_flag=True, help="Print commands for ufw.")
@click.option("--host", metavar="NAME", help="Only what must come in on this host.")
@reports_errors
def ports_command(
    file: Path | None, json_: bool, nftables: bool, ufw: bool, host: str | None
) -> None:
    """Print the firewall contract: who must reach whom on which TCP port, and why.

    It follows from fleet.yaml alone; no host is reached. `dask fleet doctor` tries it out.

    \b
      dask fleet ports                                  a table for people
      dask fleet ports --nftables --host vm-1 > vm-1.nft
      nft -f vm-1.nft                                   on vm-1, as root
      dask fleet ports --ufw                            the same for ufw, every host

    Connections are opened from the first column to the second; answers come back over them.
    "clients" are notebooks and programs that use the cluster, and people with a browser;
    "operator" is where dask fleet runs. What is optional is not needed for computing, and stands
    commented out among the rules. Dashboards of workers have no login: open them to those whom
    you would let read the data.
    """
    if json_ + nftables + ufw > 1:
        raise FleetError("--json, --nftables and --ufw exclude each other", "say one of them")
    from dask_fleet.firewall import contract, rows, value

    layout = load_declared(file).layout
    rules = contract(layout, _ssh(file))
    if host is not None:
        rules = _of_host(layout, rules, host)
    if json_:
        print_json(value(layout, rules))
    elif nftables or ufw:
        _rules(layout, rules, host, ufw=ufw)
    elif on_terminal():
        _ports_table(layout, rows(rules))
    else:
        show_table(_PORTS_HEADER, rows(rules), right=set())


def _ssh(file: Path | None) -> dict[str, SshSpec | None]:
    """Return how hosts are reached with SSH, which no process and so no layout depends on."""
    from dask_fleet.spec import find, load
    from dask_fleet.spec.expand import expand_hosts

    path = file or find(Path())
    if path is None:
        return {}
    spec = load(path, os.environ)
    return {name: host.spec.ssh for name, host in expand_hosts(spec).items()}


def _of_host(layout: Layout, rules: Sequence[Rule], name: str) -> tuple[Rule, ...]:
    """Return what must come in on one host."""
    if name not in layout.hosts:
        import difflib

        near = difflib.get_close_matches(name, layout.hosts, 1)
        hint = f"did you mean {near[0]}?" if near else f"hosts are {', '.join(layout.hosts)}"
        raise FleetError(f"fleet {layout.name} has no host {name}", hint)
    return tuple(
        dataclasses.replace(
            rule, targets=(name,), addresses=(rule.addresses[rule.targets.index(name)],)
        )
        for rule in rules
        if name in rule.targets
    )


def _rules(layout: Layout, rules: Sequence[Rule], host: str | None, *, ufw: bool) -> None:
    from dask_fleet import firewall_rules
    from dask_fleet.spec.ranges import fold

    write = firewall_rules.ufw if ufw else firewall_rules.nftables
    names = [host] if host else list(dict.fromkeys(n for rule in rules for n in rule.targets))
    bodies = {name: write(layout, rules, name, "HOSTS") for name in names}
    texts = [
        write(layout, rules, alike[0], ", ".join(fold(alike)))
        for alike in firewall_rules.hosts_alike(bodies).values()
    ]
    click.echo("\n".join(texts), nl=False)
    if len(texts) > 1:
        click.echo(
            f"note: these are the rules of {len(texts)} kinds of hosts; --host NAME prints those"
            " of one, to be loaded there",
            err=True,
        )


def _ports_table(layout: Layout, lines: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    screen = console()
    if screen.width < _TABLE_WIDTH:
        _ports_list(layout, lines)
        return
    table = Table(
        title=f"fleet {layout.name} · firewall contract",
        title_justify="left",
        title_style="bold",
        caption=_PORTS_MORE,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for title in _PORTS_HEADER:
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*(escape(cell) for cell in line))
    screen.print(table)


def _ports_list(layout: Layout, lines: Sequence[Sequence[str]]) -> None:
    """Print the contract where a table would break in the middle of names."""
    click.echo(click.style(f"fleet {layout.name} · firewall contract", bold=True))
    for source, target, address, ports, why in lines:
        say(f"{click.style(f'tcp {ports}', fg='cyan')}  {why}", first=2, rest=4)
        at = f" at {address}" if address != target else ""
        say(f"{source} → {target}{at}", first=4, rest=6)
    say(_PORTS_MORE, first=2, rest=4)


@click.command("doctor")
@file_option
@accept_new_option
@as_json
@reports_errors
def doctor_command(file: Path | None, accept_new: bool, json_: bool) -> None:
    """Find out what is wrong with hosts and network, and how to mend it.

    Every host connects to every host that the firewall contract (`dask fleet ports`) names, on
    the declared ports: to the fleet's own processes where they run, and elsewhere to a probe that
    listens for some seconds. Then clocks, versions, disk, memory, open files, names, the distance
    to the scheduler and systemd are compared with what is declared. How long a connection to the
    scheduler takes is told always; --json has `seconds_to_scheduler` of every host.

    It may be run before the first `up`, with --accept-new on hosts that were never reached before,
    and at any time after it. Nothing is installed or changed; the hosts need python3 (3.8 or
    later). Do not run `up` at the same moment: it would find the probe on its ports. While the
    fleet is there, what was found is kept on the scheduler's host, where its console shows it.

    Where more than 64 hosts are to reach each other, each dials the 64 that follow it in
    fleet.yaml, so that every host is dialled by as many: a fault of one host or one port is found,
    one of a single pair perhaps not.

    Ends with 11 if it has found an error, with 0 if there are only warnings and notes.
    """
    fleet = load_fleet(file, accept_new=accept_new)
    report = run(fleet, _examined(fleet))
    if json_:
        _doctor_json(fleet, report)
    else:
        _doctor_text(fleet, report)
    if any(one.severity == "error" for one in report.findings):
        sys.exit(FindingsError.exit_code)


async def _examined(fleet: Fleet) -> Report:
    from dask_fleet.diagnosis import keep
    from dask_fleet.doctor import examine

    report = await examine(fleet)
    silent = {one.place for one in report.findings if one.check == "hosts"}
    if fleet.layout.scheduler.host not in silent:
        try:
            await keep(fleet.scheduler_access, report.findings)
        except FleetError as error:
            # Such as a disk without room, which is what people call the doctor for.
            said = error.message.splitlines()[-1]
            click.echo(f"note: the console cannot show what was found: {said}", err=True)
    return report


def _passed(fleet: Fleet, findings: Sequence[Finding]) -> dict[str, str]:
    """Return the checks that found nothing; none when no host could be examined."""
    from dask_fleet.checks.findings import CHECKS

    found = {one.check for one in findings}
    silent = {one.place for one in findings if one.check == "hosts"}
    if silent >= set(fleet.hosts):
        return {}
    tail = ", as far as hosts could be examined" if silent else ""
    return {check: meaning + tail for check, meaning in CHECKS.items() if check not in found}


def _doctor_json(fleet: Fleet, report: Report) -> None:
    print_json(
        {
            "fleet": fleet.layout.name,
            "findings": [dataclasses.asdict(one) for one in report.findings],
            "passed": list(_passed(fleet, report.findings)),
            "seconds_to_scheduler": dict(report.distances),
        }
    )


def _doctor_text(fleet: Fleet, report: Report) -> None:
    findings = report.findings
    click.echo(click.style(f"fleet {fleet.layout.name}: doctor", bold=True))
    for one in findings:
        label = click.style(f"{one.severity:<8}", fg=_SEVERITY_COLOURS[one.severity], bold=True)
        say(f"{label}{one.check}: {one.place}: {one.fault}", first=2, rest=10)
        say(f"{click.style('remedy', fg='green')}: {one.remedy}", first=10, rest=12)
    for check, meaning in _passed(fleet, findings).items():
        say(f"{click.style('passed  ', fg='green')}{check}: {meaning}", first=2, rest=10)
    _say_distances(report)
    counts = [
        f"{count} {severity}{'s' if count != 1 else ''}"
        for severity in ("error", "warning", "note")
        if (count := sum(one.severity == severity for one in findings))
    ]
    click.echo(f"  {', '.join(counts) or 'nothing is wrong'}")


def _say_distances(report: Report) -> None:
    """Say how long a connection to the scheduler takes, from the nearest and the farthest host."""
    known = sorted((one, host) for host, one in report.distances.items() if one is not None)
    if known:
        near, far = (f"{one * 1000:.1f} ms from {host}" for one, host in (known[0], known[-1]))
        between = near if len(known) == 1 else f"{near}, {far}"
        say(f"a connection to the scheduler takes {between}", first=2, rest=4)
