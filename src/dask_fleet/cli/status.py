"""The command ``status``: the inventory of a fleet, once or again and again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dask_fleet.cli.common import (
    INTERRUPTED,
    as_json,
    file_option,
    load_fleet,
    print_json,
    reports_errors,
    run,
)
from dask_fleet.cli.inventory_table import fitted, plain
from dask_fleet.cli.render import console, on_terminal

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.layout import Host, Layout
    from dask_fleet.observed import HostObserved
    from dask_fleet.outcomes import Status

__all__ = ["status_command"]

_WATCH_SECONDS = 2.0


@click.command("status")
@file_option
@as_json
@click.option(
    "--watch",
    is_flag=True,
    help="Show it again every 2 s until Ctrl-C; with --json, one document to a line.",
)
@reports_errors
def status_command(file: Path | None, json_: bool, watch: bool) -> None:
    """List every process of the fleet: where it is, how it does, what it is made of.

    The columns are role, state, what the runtime says of the unit, whether the scheduler lists
    it, host, address, ports, pid, since when it runs, restarts, memory, CPU, tasks and versions.
    Ports of a worker are those of worker, nanny and dashboard. Tasks are those that run and, after
    the plus sign, those that wait on it. A terminal shows the columns that it has room for; a pipe
    and --json have all of them. Below stands why processes are wrong or hosts unreachable.
    Warnings name strangers: processes that hold a port of the fleet, and workers that are
    registered and not declared. They are never ended.
    """
    fleet = load_fleet(file)
    if watch:
        _watch(fleet, json_=json_)
        return
    status = run(fleet, fleet.status())
    if json_:
        print_json(_value(fleet, status))
    elif on_terminal():
        screen = console()
        screen.print(fitted(fleet.layout, status, screen.width))
    else:
        plain(fleet.layout, status)


def _watch(fleet: Fleet, *, json_: bool) -> None:
    import asyncio

    async def every(show: Callable[[Status], None]) -> None:
        while True:
            show(await fleet.status())
            await asyncio.sleep(_WATCH_SECONDS)

    shown = _as_lines if json_ else _live if on_terminal() else _as_tables
    try:
        with shown(fleet) as show:
            run(fleet, every(show))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # that is how one stops watching: there is nothing to say


@contextlib.contextmanager
def _as_lines(fleet: Fleet) -> Generator[Callable[[Status], None]]:
    yield lambda status: click.echo(json.dumps(_value(fleet, status)))


@contextlib.contextmanager
def _as_tables(fleet: Fleet) -> Generator[Callable[[Status], None]]:
    yield lambda status: plain(fleet.layout, status)


@contextlib.contextmanager
def _live(fleet: Fleet) -> Generator[Callable[[Status], None]]:
    from rich.live import Live

    screen = console()
    with Live(console=screen, auto_refresh=False) as live:
        yield lambda status: live.update(fitted(fleet.layout, status, screen.width), refresh=True)


def _value(fleet: Fleet, status: Status) -> dict[str, Any]:
    from dask_fleet.tls.expiry import certificates_on

    layout = fleet.layout
    return {
        "fleet": layout.name,
        "scheduler": layout.client_address,
        "dashboard": layout.dashboard_url,
        "door": _door(layout, status),
        "environment": fleet.environment.digest,
        "scheduler_answers": status.answers,
        "hosts": [
            _host(layout.hosts[name], status.hosts.get(name))
            for name in layout.hosts
            if name in status.hosts or name in status.failures
        ],
        "processes": [
            dataclasses.asdict(row) | {"ports": dict(row.ports), "versions": dict(row.versions)}
            for row in status.rows
        ],
        "certificates": [one.value for one in certificates_on(status.hosts)],
        "strangers": [dataclasses.asdict(one) for one in status.strangers],
    }


def _door(layout: Layout, status: Status) -> dict[str, Any] | None:
    """Return the door's address and its certificate's end; None if there is no door."""
    door = layout.door
    if door is None:
        return None
    from dask_fleet.proxy.status import certificate_ends

    seen = status.hosts.get(door.host)
    return {
        "url": door.url,
        "host": door.host,
        "login": door.login,
        "tls": door.tls,
        "not_after": certificate_ends(seen.door.certificate) if seen else None,
    }


def _host(host: Host, seen: HostObserved | None) -> dict[str, Any]:
    """Return what is known of a host; sizes in bytes, times in seconds since the epoch."""
    facts: Mapping[str, str] = seen.facts if seen else {}
    kib = {
        name: int(facts[f"{name}_kib"]) * 1024 if f"{name}_kib" in facts else None
        for name in ("memory", "memory_available", "disk_free", "environments_free")
    }
    return {
        "name": host.name,
        "address": host.address,
        "external": host.external,
        "runtime": host.runtime,
        "reachable": seen is not None,
        "os": facts.get("os"),
        "kernel": facts.get("kernel"),
        "cpus": int(facts["cpus"]) if "cpus" in facts else None,
        "python": facts.get("python"),
        **kib,
        "boot_id": facts.get("boot_id"),
        "booted": float(facts["boot_time"]) if "boot_time" in facts else None,
    }
