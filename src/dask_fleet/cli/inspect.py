"""Commands that only look: status, logs, open, env."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dask_fleet.cli.common import as_json, file_option, load_fleet, print_json, reports_errors, run
from dask_fleet.cli.render import console, on_terminal, say, show_table, size
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from rich.table import Table

    from dask_fleet.fleet import Fleet
    from dask_fleet.inventory import Row
    from dask_fleet.layout import Host
    from dask_fleet.observed import HostObserved
    from dask_fleet.outcomes import Status

__all__ = ["env_command", "logs_command", "open_command", "status_command"]

_STATE_COLOURS = {"running": "green", "starting": "yellow", "paused": "yellow"}
_WATCH_SECONDS = 2.0

_COLUMNS = (
    # title, stands right, least width of the terminal at which it is shown
    ("process", False, 0),
    ("role", False, 210),
    ("state", False, 0),
    ("unit", False, 150),
    ("registered", False, 180),
    ("host", False, 110),
    ("address", False, 150),
    ("ports", False, 0),
    ("pid", True, 90),
    ("since", False, 180),
    ("uptime", True, 0),
    ("restarts", True, 100),
    ("memory", True, 0),
    ("cpu", True, 120),
    ("tasks", True, 0),
    ("dask", False, 130),
    ("xcube", False, 130),
)
_STATE = 2


@click.command("status")
@file_option
@as_json
@click.option("--watch", is_flag=True, help="Show it again every 2 s until Ctrl-C.")
@reports_errors
def status_command(file: Path | None, json_: bool, watch: bool) -> None:
    """List every process of the fleet: where it is, how it does, what it is made of.

    The columns are role, state, what the runtime says of the unit, whether the scheduler lists
    it, host, address, ports, pid, since when it runs, restarts, memory, CPU, tasks and versions.
    Ports of a worker are those of worker, nanny and dashboard. Tasks are those that run and, after
    the plus sign, those that wait on it. A narrow terminal shows fewer columns; a pipe and --json
    have all of them. Warnings name strangers: processes that hold a port of the fleet, and workers
    that are registered and not declared. They are never ended.
    """
    fleet = load_fleet(file)
    if watch and not json_:
        _watch(fleet)
        return
    status = run(fleet, fleet.status())
    if json_:
        print_json(_value(fleet, status))
        return
    if on_terminal():
        console().print(_table(fleet, status, console().width))
    else:
        rows = [_cells(row) for row in status.rows]
        right = {i for i, (_, is_right, _) in enumerate(_COLUMNS) if is_right}
        show_table([title for title, _, _ in _COLUMNS], rows, right=right)
    for row in status.rows:
        if row.fault and row.state == "wrong":
            click.echo(f"{row.name}: {row.fault}")
    _name_strangers(status)
    if fleet.layout.tls:
        from dask_fleet.tls.expiry import certificates_on, in_words

        click.echo(in_words(certificates_on(status.hosts)))


def _name_strangers(status: Status) -> None:
    """Print a line for each process and worker that is there and was not declared."""
    for one in status.strangers:
        label = click.style("warning", fg="yellow", bold=True)
        say(f"{label}: {f'{one.host}: ' if one.host else ''}{one.fault}", rest=2)


def _watch(fleet: Fleet) -> None:
    import asyncio

    async def every() -> None:
        if not on_terminal():
            while True:
                _plain(await fleet.status())
                await asyncio.sleep(_WATCH_SECONDS)
        from rich.live import Live

        screen = console()
        with Live(console=screen, auto_refresh=False) as live:
            while True:
                status = await fleet.status()
                live.update(_table(fleet, status, screen.width), refresh=True)
                await asyncio.sleep(_WATCH_SECONDS)

    run(fleet, every())


def _plain(status: Status) -> None:
    right = {i for i, (_, is_right, _) in enumerate(_COLUMNS) if is_right}
    show_table(
        [title for title, _, _ in _COLUMNS], [_cells(row) for row in status.rows], right=right
    )


def _table(fleet: Fleet, status: Status, width: int) -> Table:
    from rich import box
    from rich.table import Table

    running = sum(row.state == "running" for row in status.rows)
    table = Table(
        title=f"fleet {fleet.layout.name} · {running} of {len(status.rows)} running",
        title_justify="left",
        title_style="bold",
        caption=f"scheduler {fleet.layout.client_address} · dashboard {fleet.layout.dashboard_url}",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    shown = [i for i, (_, _, least) in enumerate(_COLUMNS) if width >= least]
    for i in shown:
        title, right, _ = _COLUMNS[i]
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    for row in status.rows:
        cells = _cells(row)
        colour = _STATE_COLOURS.get(row.state, "red")
        cells[_STATE] = f"[{colour}]{row.state}[/{colour}]"
        table.add_row(*(cells[i] for i in shown))
    return table


def _cells(row: Row) -> list[str]:
    limit = f"/{size(row.memory_limit)}" if row.memory_limit else ""
    return [
        row.name,
        row.role,
        row.state,
        row.unit_state,
        "yes" if row.registered else "no",
        row.host,
        row.address,
        "/".join(str(port) for port in row.ports.values()),
        str(row.pid or ""),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started)) if row.started else "",
        _duration(row.uptime),
        str(row.restarts),
        f"{size(row.memory)}{limit}" if row.memory else "",
        f"{row.cpu:.0f}%" if row.registered and row.role == "worker" else "",
        f"{row.executing}+{row.ready}" if row.role == "worker" and row.registered else "",
        row.versions.get("dask", ""),
        row.versions.get("xcube-core", ""),
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = int(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= length:
            smaller = {"d": ("h", 3600), "h": ("m", 60), "m": ("s", 1)}[unit]
            return f"{whole // length}{unit}{whole % length // smaller[1]:02d}{smaller[0]}"
    return f"{whole}s"


def _value(fleet: Fleet, status: Status) -> dict[str, Any]:
    from dask_fleet.tls.expiry import certificates_on

    layout = fleet.layout
    return {
        "fleet": layout.name,
        "scheduler": layout.client_address,
        "dashboard": layout.dashboard_url,
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
        **kib,
        "booted": float(facts["boot_time"]) if "boot_time" in facts else None,
    }


@click.command("logs")
@click.argument("names", nargs=-1)
@file_option
@click.option("-f", "--follow", is_flag=True, help="Go on printing new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="How many of the last lines of each unit.",
)
@reports_errors
def logs_command(names: Sequence[str], file: Path | None, follow: bool, lines: int) -> None:
    """Print the logs of all processes, merged, or of those that are named.

    Every line begins with the name of its process, so grep works too. A host that cannot be reached
    is named when all others have been printed. With -f it is a line of its own, and the host is
    followed again, from where it was, as soon as it answers.
    """
    from dask_fleet.logs import merged

    fleet = load_fleet(file)

    async def show() -> int:
        count = 0
        async for line in merged(fleet, frozenset(names), lines=lines, follow=follow):
            _log_line(line)
            count += 1
        return count

    if not run(fleet, show()) and lines:
        _note_if_down(fleet)


def _log_line(line: str) -> None:
    if not on_terminal():
        click.echo(line)
        return
    label, bar, rest = line.partition(" | ")
    if not bar:
        click.echo(line)
        return
    colours = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_magenta")
    colour = colours[sum(label.encode()) % len(colours)]
    click.echo(f"{click.style(label, fg=colour)} | {rest}")


@click.command("open")
@file_option
@click.option("--print", "only_print", is_flag=True, help="Print addresses; open no browser.")
@as_json
@reports_errors
def open_command(file: Path | None, only_print: bool, json_: bool) -> None:
    """Print the addresses of the dashboards; on a desktop, open the scheduler's in the browser."""
    fleet = load_fleet(file)
    layout = fleet.layout
    urls = {layout.scheduler.name: layout.dashboard_url} | {
        worker.name: worker_dashboard(fleet, worker.name) for worker in layout.workers
    }
    if json_:
        print_json(urls)
        return
    show_table(["process", "dashboard"], list(urls.items()), right=set())
    cluster = run(fleet, fleet.cluster())
    if cluster is None:
        raise FleetError(
            f"fleet {layout.name} is not up: the scheduler does not answer", "dask fleet up"
        )
    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if desktop and not only_print and on_terminal():
        click.launch(layout.dashboard_url)


def worker_dashboard(fleet: Fleet, name: str) -> str:
    """Return the address of a worker's dashboard as clients see it."""
    worker = next(worker for worker in fleet.layout.workers if worker.name == name)
    host = fleet.layout.hosts[worker.host].external
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{worker.dashboard_port}/status"


@click.command("env")
@file_option
@click.option("--address", is_flag=True, help="Print the scheduler's address alone.")
@click.option("--python", is_flag=True, help="Print the path of the fleet's Python alone.")
@reports_errors
def env_command(file: Path | None, address: bool, python: bool) -> None:
    """Print DASK_SCHEDULER_ADDRESS=... for a shell, so that clients find the fleet.

    \b
      eval "$(dask fleet env)"
      "$DASK_FLEET_PYTHON" -c 'from distributed import Client; print(Client())'
      "$DASK_FLEET_BIN/xcube" --scheduler "$DASK_SCHEDULER_ADDRESS" gen ...

    The fleet's own programs have the very versions that its workers have, so that a client never
    disagrees with them. Put $DASK_FLEET_BIN on the PATH to have them all.
    """
    fleet = load_fleet(file)
    if address and python:
        raise FleetError("--address and --python exclude each other", "say one of them")
    if address:
        click.echo(fleet.layout.client_address)
    elif python:
        click.echo(fleet.interpreter)
    else:
        values = {
            "DASK_SCHEDULER_ADDRESS": fleet.layout.client_address,
            "DASK_FLEET_PYTHON": fleet.interpreter,
            "DASK_FLEET_BIN": str(Path(fleet.interpreter).parent),
        }
        for name, value in values.items():
            click.echo(f"{name}={shlex.quote(value)}")
        click.echo(f"export {' '.join(values)}")
    _note_if_down(fleet)


def _note_if_down(fleet: Fleet) -> None:
    if run(fleet, fleet.cluster()) is None:
        name = fleet.layout.name
        click.echo(f"note: fleet {name} is not up; `dask fleet up` brings it up", err=True)
