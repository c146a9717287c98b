"""Commands that only look: logs, open, env."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import as_json, file_option, load_fleet, print_json, reports_errors, run
from dask_fleet.cli.render import on_terminal, show_table
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet

__all__ = ["env_command", "logs_command", "open_command"]


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

    Every line begins with the name of its process, so grep works too; what a unit says of no
    process in particular begins with UNIT@HOST if several hosts have that unit. A host that cannot
    be reached is named when all others have been printed. With -f it is a line of its own, and the
    host is followed again, from where it was, as soon as it answers.
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
    """Print the addresses of the dashboards; on a desktop, open the scheduler's in the browser.

    With a door they lead through it: that is the address to give to JupyterLab's Dask extension.
    The last one is the console: all hosts and processes on one page.
    """
    fleet = load_fleet(file)
    layout = fleet.layout
    urls = {layout.scheduler.name: layout.shown_dashboard} | {
        worker.name: worker_dashboard(fleet, worker.name) for worker in layout.workers
    }
    urls["console"] = layout.shown_dashboard.removesuffix("status") + "fleet/"
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
        click.launch(layout.shown_dashboard)


def worker_dashboard(fleet: Fleet, name: str) -> str:
    """Return the address of a worker's dashboard as people open it."""
    if fleet.layout.door is not None:
        return fleet.layout.door.dashboard(name)
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
