"""The command that writes a fleet as folders."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dask_fleet.cli.common import as_json, file_option, print_json, reports_errors

__all__ = ["render_command"]


@click.command("render")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@file_option
@as_json
@reports_errors
def render_command(directory: Path, file: Path | None, json_: bool) -> None:
    """Write for every host what `up` would put there, to be carried to it by hand.

    Each host has a folder with its files as they will lie, a script that puts them into place, and
    a README. No host is reached. Who has run the script on a host finds the next `plan` against it
    empty. An earlier directory of `render` is replaced.
    """
    from dask_fleet.rendering import render
    from dask_fleet.spec import find

    folders = render(file or find(Path()), os.environ, directory)
    if json_:
        print_json({"folders": [str(folder) for folder in folders]})
        return
    for folder in folders:
        click.echo(f"wrote {folder}")
    click.echo("copy each to its host and run install.sh there, as root")
