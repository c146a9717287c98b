"""Commands about the file: init, check, schema."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dask_fleet.cli.common import as_json, file_option, load_declared, print_json, reports_errors
from dask_fleet.errors import FleetError

__all__ = ["check_command", "init_command", "name_of", "schema_command", "write_new"]


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default="fleet.yaml")
@click.option("--name", help="Name of the fleet. Default: that of the directory.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@reports_errors
def init_command(path: Path, name: str | None, force: bool) -> None:
    """Write a commented fleet.yaml to begin with.

    It declares the fleet on this machine and shows, in comments, how to say everything else.
    """
    from dask_fleet.spec import template

    write_new(path, template(name or name_of(path.absolute().parent.name)), force=force)
    click.echo(f"wrote {path}; next: dask fleet check, dask fleet up")


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write a file that is not there yet, or any with ``force``."""
    try:
        # O_EXCL: two calls at once, or a file that appears meanwhile, lose nothing.
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
        with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FleetError(f"{path} is there already", "name another file, or --force") from None
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}", "") from error


def name_of(directory: str) -> str:
    """Return a valid fleet name that resembles a directory's."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in directory.lower())
    name = "-".join(part for part in kept.split("-") if part)[:40].strip("-")
    return name if name and name[0].isalpha() else "fleet"


@click.command("check")
@file_option
@as_json
@reports_errors
def check_command(file: Path | None, json_: bool) -> None:
    """Check fleet.yaml and list every problem in it, each with line, fault and remedy."""
    declared = load_declared(file)
    layout = declared.layout
    value = {
        "fleet": layout.name,
        "hosts": len(layout.hosts),
        "workers": len(layout.workers),
        "threads": sum(worker.nthreads for worker in layout.workers),
        "environment": declared.environment.digest,
        "scheduler": layout.scheduler_address,
    }
    if json_:
        print_json(value)
    else:
        click.echo(
            f"fleet {layout.name} is well declared: {_count(len(layout.hosts), 'host')}, "
            f"{_count(len(layout.workers), 'worker')} with "
            f"{_count(sum(w.nthreads for w in layout.workers), 'thread')}, "
            f"scheduler at {layout.scheduler_address}"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@click.command("schema")
@reports_errors
def schema_command() -> None:
    """Print the JSON Schema of fleet.yaml.

    An editor with a YAML language server completes and checks the file with it:

    \b
      dask fleet schema > fleet.schema.json
      # yaml-language-server: $schema=fleet.schema.json   (first line of fleet.yaml)
    """
    from dask_fleet.spec import json_schema

    print_json(json_schema())
