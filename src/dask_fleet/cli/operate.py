"""Commands for the people who look after a fleet: history, ssh, exec, client-config."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
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
from dask_fleet.cli.render import say, show_table
from dask_fleet.errors import FleetError, together
from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.history import Change

__all__ = ["client_config_command", "exec_command", "history_command", "ssh_command"]


@click.command("history")
@file_option
@as_json
@click.option(
    "-n", "--lines", type=click.IntRange(min=1), default=20, show_default=True, help="How many."
)
@reports_errors
def history_command(file: Path | None, json_: bool, lines: int) -> None:
    """Print who changed the fleet, when, to what, and how that ended; the last one last.

    It outlives a `down`. A release is one spec and one environment: the same word means the same
    fleet. `broken off` is
    a change whose end was never written, because its operator was cut off; `dask fleet up` goes
    on from there.
    """
    from dask_fleet.history import History

    fleet = load_fleet(file)
    changes = run(fleet, History(fleet.scheduler_access).read())[-lines:]
    if json_:
        print_json([_value(change) for change in changes])
        return
    rows = [
        (
            change.entry.time,
            change.entry.who,
            " ".join((change.entry.what, *(f"--limit {word}" for word in change.entry.limit))),
            ", ".join(fold(change.entry.hosts)),
            change.entry.release,
            str(change.entry.changes),
            f"{change.seconds:.1f} s" if change.seconds else "",
            f"{change.result}: {change.fault}" if change.fault else change.result,
        )
        for change in changes
    ]
    if not rows:
        click.echo(f"fleet {fleet.layout.name}: nothing was ever changed")
        return
    header = ["when", "who", "what", "hosts", "release", "changes", "took", "result"]
    show_table(header, rows, right={5, 6})


def _value(change: Change) -> Mapping[str, object]:
    return dataclasses.asdict(change.entry) | {
        "result": change.result,
        "seconds": change.seconds,
        "fault": change.fault,
    }


@click.command("ssh", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@file_option
@reports_errors
def ssh_command(host: str, command: Sequence[str], file: Path | None) -> None:
    """Log in to a host of the fleet as dask fleet does: same user, key and jump host.

    \b
      dask fleet ssh dask-worker-0002
      dask fleet ssh dask-worker-0002 uptime
    """
    from dask_fleet.assembly import ssh_entry
    from dask_fleet.login import ssh_arguments

    declared = load_declared(file)
    arguments = ssh_arguments(
        declared.layout, declared.spec, host, lambda: ssh_entry(declared, host)
    )
    sys.stdout.flush()
    try:
        os.execvp("ssh", ["ssh", *arguments, *command])  # noqa: S606, S607 - the user's own ssh
    except OSError as error:
        raise FleetError(
            f"ssh cannot be started: {error.strerror}", "install the OpenSSH client"
        ) from error


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@file_option
@click.option(
    "--hosts",
    metavar="PATTERN",
    multiple=True,
    help="Only these: names, ranges such as vm-[01-04], patterns such as vm-*.",
)
@accept_new_option
@reports_errors
def exec_command(
    command: Sequence[str], file: Path | None, hosts: tuple[str, ...], accept_new: bool
) -> None:
    """Run a command on all hosts at once, in the fleet's environment.

    Every line of output begins with the name of its host. Python and programs are those of the
    fleet, Dask's configuration is that of its workers, and DASK_SCHEDULER_ADDRESS is set. It runs
    as the user that dask fleet works as there: root on hosts under systemd.

    \b
      dask fleet exec -- df -h /
      dask fleet exec --hosts 'dask-worker-*' -- python -c 'import dask; print(dask.__version__)'

    Ends with the exit status of the command if that is the same on all hosts where it failed.
    Hosts that cannot be reached are named at the end, with exit code 4; the command has run on all
    others.
    """
    from dask_fleet.remote_commands import run_everywhere

    fleet = load_fleet(file, limit=hosts, accept_new=accept_new)
    width = max(len(name) for name in fleet.chosen)

    def show(host: str, line: str) -> None:
        click.echo(f"{host:<{width}} | {line}")

    ended = run(fleet, run_everywhere(fleet, tuple(command), show))
    statuses = set(ended.statuses.values())
    if statuses - {0} or ended.failures:
        _say_statuses(ended.statuses)
    if ended.failures:
        raise together(ended.failures.values())
    if failed := statuses - {0}:
        sys.exit(failed.pop() if len(failed) == 1 else 1)


def _say_statuses(statuses: Mapping[str, int]) -> None:
    """Say how a command ended, hosts with the same status together."""
    alike: dict[int, list[str]] = {}
    for host, status in statuses.items():
        alike.setdefault(status, []).append(host)
    for status, hosts in sorted(alike.items()):
        say(f"{', '.join(fold(hosts))}: ended with status {status}", rest=2, err=True)


@click.command("client-config")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@file_option
@click.option("--name", default="client", show_default=True, help="Name in the certificate.")
@reports_errors
def client_config_command(folder: Path, file: Path | None, name: str) -> None:
    """Write a FOLDER with which an ordinary distributed.Client reaches a fleet with TLS.

    It holds the authority's certificate, a certificate and a key of the client's own, and Dask
    configuration that names them. Give it only to people who may run code on the fleet: whoever
    has the key can.

    \b
      dask fleet client-config ./sst-client
      DASK_CONFIG=$PWD/sst-client python -c 'from distributed import Client; print(Client())'

    The scheduler's host is asked whether it has the same authority as this machine: a client of
    another one would be refused. If it cannot be reached, a note says so.
    """
    from dask_fleet.clients import ask_fleet, write_client

    fleet = load_fleet(file)
    unasked = run(fleet, ask_fleet(fleet))
    for path in write_client(fleet.layout, folder, name):
        click.echo(str(path))
    if unasked is not None:
        why = unasked.message.splitlines()[0]
        say(f"note: whether the fleet has this authority could not be asked: {why}", err=True)
