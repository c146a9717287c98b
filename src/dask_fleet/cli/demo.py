"""The command `demo`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dask_fleet.cli.common import (
    file_option,
    load_fleet,
    print_json,
    reports_errors,
    run,
    timeout_option,
)
from dask_fleet.cli.progress import Progress
from dask_fleet.cli.render import console, on_terminal, say, show_plan, show_table, size

if TYPE_CHECKING:
    from dask_fleet.actions import Plan
    from dask_fleet.fleet import Fleet

__all__ = ["demo_command"]


def _absolute(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith("/"):
        raise click.BadParameter(f"{value} is not an absolute path")
    return value


@click.command("demo")
@file_option
@timeout_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of cube and picture; of picture and result.json if the cube is elsewhere."
    " Default: demo, or demo-NAME for a fleet behind SSH, in the platform's place for user data.",
)
@click.option(
    "--shared",
    metavar="DIRECTORY",
    callback=_absolute,
    help="A directory that all hosts share, such as NFS: workers write the cube there. That they"
    " all see the same one is checked first.",
)
@click.option(
    "--factor",
    type=click.IntRange(min=2),
    help="How many times finer the grid is to be; more is more work.",
)
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON, and nothing else.")
@reports_errors
def demo_command(
    file: Path | None,
    timeout: float,
    output: Path | None,
    shared: str | None,
    factor: int | None,
    json_: bool,
) -> None:
    """Make a real data cube on the fleet, verify it, draw it.

    Brings the fleet up if it is not, and leaves it up. The job takes real monthly fields of
    sea-surface temperature (OSTIA, Met Office), resamples them to a finer grid, and writes cubes
    in Zarr with climatology, anomaly and trend, as xcube wants them. It verifies them with xcube
    and against plain numpy at a sample of points, and draws a map. It can be run again; only the
    first run needs a network.

    On a fleet behind SSH the job runs on the scheduler's host as the fleet's user; picture and
    result are brought back. Its workers share no disk: unless --shared names a directory that
    they do share, results go back to the job, which writes the cube on the scheduler's host,
    where it stays until the next demo or `down`.
    """
    from dask_fleet import this_machine
    from dask_fleet.demonstration import fetch_data, run_job, runs_here
    from dask_fleet.errors import together
    from dask_fleet.transports.local import LocalTransport

    fleet = load_fleet(file)
    name = "demo" if runs_here(fleet) else f"demo-{fleet.layout.name}"
    place = (output or Path(this_machine.data_root()) / name).absolute()

    async def everything() -> dict[str, Any]:
        here = LocalTransport("this machine")
        with Progress(several=len(fleet.hosts) > 1, quiet=json_) as progress:

            def confirm(plan: Plan) -> bool:
                with progress.paused():
                    if not json_:
                        show_plan(fleet.layout.name, plan)
                return True

            upped = await fleet.up(confirm=confirm, sink=progress, timeout=timeout)
            if upped.failures:
                raise together(upped.failures.values())
            data = await fetch_data(here, this_machine.data_root(), sys.executable)
        result: dict[str, Any] = {}
        with _JobProgress(quiet=json_) as shown:
            job = run_job(fleet, here, data, place, factor=factor, shared=shared)
            async with contextlib.aclosing(job) as events:
                async for event in events:
                    shown(event)
                    if event["event"] == "result":
                        result = event
        return result

    result = run(fleet, everything())
    if json_:
        print_json(result)
    else:
        _show(fleet, result)


class _JobProgress:
    """Shows the job's stages, and its chunks as a bar on a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._tenth = 0

    def __enter__(self) -> _JobProgress:
        if not self._quiet and on_terminal():
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console(),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("demo job", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event of the job."""
        if self._quiet:
            return
        if event["event"] == "stage":
            if self._bar is not None:
                self._bar.update(self._task, description=event["text"])
            else:
                click.echo(f"  {event['text']}")
        elif event["event"] == "progress":
            done, total = event["done"], event["total"]
            if self._bar is not None:
                self._bar.update(self._task, completed=done, total=total)
            elif total and done * 10 // total > self._tenth:
                self._tenth = done * 10 // total
                click.echo(f"  {done} of {total} chunks written")


def _show(fleet: Fleet, result: dict[str, Any]) -> None:
    cubes = ", ".join(cube["name"] for cube in result["cubes"])
    tasks = result["tasks_per_worker"]
    checks = result["checks"]
    shape = " x ".join(str(n) for n in result["shape"])
    chunks = " x ".join(str(n) for n in result["chunks"])
    written = f"{size(result['output']['bytes'])} ({size(result['uncompressed_bytes'])} unpacked)"
    rows = [
        ["input", f"{result['input']['path']} ({size(result['input']['bytes'])})"],
        ["cubes", f"{cubes}: {shape} in chunks of {chunks}"],
        ["output", written],
        ["written", _way(result)],
        [
            "seconds",
            f"{result['seconds']:.1f}, {result['stages']['compute']:.1f} of them computing",
        ],
        ["speed", f"{result['mb_per_s']:.0f} MB/s of results"],
        ["tasks", ", ".join(f"{name} {n}" for name, n in tasks.items())],
        ["verified", ", ".join(f"by {name}" for name, check in checks.items() if check["passed"])],
        ["files", _where(fleet, result)],
        ["picture", result["picture"]],
        ["dashboard", fleet.layout.shown_dashboard],
    ]
    if on_terminal():
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for row in rows:
            table.add_row(*row)
        console().print(table)
    else:
        show_table(["what", "value"], rows, right=set())
    say(
        "The fleet stays up. Look at it: dask fleet status, dask fleet open."
        " Stop it: dask fleet down."
    )


def _way(result: dict[str, Any]) -> str:
    """Say which way the values of the cube took to the disk."""
    if result["written_by"] == "client":
        return f"by the job on {result['host']}: workers share no disk, results came back to it"
    if result["shared"]:
        return f"by the workers into {result['shared']}, which all their hosts share"
    return "by the workers"


def _where(fleet: Fleet, result: dict[str, Any]) -> str:
    """Say where the cube is; on hosts, that is something that stays behind."""
    path = result["output"]["path"]
    if result["shared"]:
        return f"{path} on all hosts; it stays there"
    access = fleet.scheduler_access
    return f"{path} on {result['host']}; `down` removes it" if access.remote else path
