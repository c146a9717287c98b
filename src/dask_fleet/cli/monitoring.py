"""Commands about watching a fleet with Prometheus and Grafana."""

from __future__ import annotations

from pathlib import Path

import click

from dask_fleet.cli.common import as_json, file_option, load_declared, print_json, reports_errors
from dask_fleet.cli.render import say

__all__ = ["monitoring_command"]


@click.group("monitoring")
def monitoring_command() -> None:
    """Watch a fleet with Prometheus and Grafana.

    Every process of a fleet has metrics, and the scheduler tells a Prometheus where they are.
    """


@monitoring_command.command("export")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@file_option
@as_json
@click.option(
    "--interval",
    type=click.IntRange(min=1, max=300),
    default=15,
    show_default=True,
    metavar="SECONDS",
    help="How often each process is scraped; alerts wait for a number of scrapes.",
)
@reports_errors
def export_command(directory: Path, file: Path | None, json_: bool, interval: int) -> None:
    """Write what Prometheus and Grafana need to watch the fleet into a directory.

    \b
      prometheus.yml    finds every process by itself, workers that come later too
      rules.yml         alerts: worker missing, scheduler down, memory, spilling ...
      dashboard.json    for Grafana: Dashboards, New, Import

    It follows from fleet.yaml alone; no host is reached. With a door everything goes through it: a
    login needs a token beside the configuration, and the command says how to get one. Files of an
    earlier export are replaced.
    """
    from dask_fleet.exports import export_monitoring

    done = export_monitoring(load_declared(file).layout, directory, interval=interval)
    if json_:
        wanted = {str(path): how for path, how in done.wanted.items()}
        print_json({"files": [str(path) for path in done.paths], "wanted": wanted})
        return
    for path in done.paths:
        click.echo(f"wrote {path}")
    for path, how in done.wanted.items():
        say(f"wanted {path}: {how}", rest=2)
