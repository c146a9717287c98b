"""The command that reads a set-up by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import as_json, print_json, reports_errors
from dask_fleet.cli.declare import name_of, write_new
from dask_fleet.cli.render import say
from dask_fleet.errors import SpecError

if TYPE_CHECKING:
    from dask_fleet.importing import Imported
    from dask_fleet.legacy.remarks import Kind, Remark

__all__ = ["import_command"]

_TITLES: dict[Kind, tuple[str, str]] = {
    "decide": ("to decide", "yellow"),
    "lost": ("not taken over", "red"),
    "changed": ("taken over in another form", "cyan"),
}


@click.command("import")
@click.argument("folders", metavar="[HOST=]DIR...", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the fleet.yaml there; it is printed otherwise.",
)
@click.option("--name", help="Name of the fleet. Default: that of the current directory.")
@click.option(
    "--address",
    "addresses",
    metavar="HOST=ADDRESS",
    multiple=True,
    help="Address of a host that the folders do not say.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@as_json
@reports_errors
def import_command(
    folders: tuple[str, ...],
    output: Path | None,
    name: str | None,
    addresses: tuple[str, ...],
    force: bool,
    json_: bool,
) -> None:
    """Read folders with docker-compose.yml, .env and Dockerfile of a set-up by hand.

    Each folder is that of one VM, copied from there; HOST= says the name of the VM, which is that
    of the folder otherwise. Several folders may lie on one host. The fleet.yaml that says the same
    is written or printed, with a comment where you must decide. Whatever is not simply taken over
    is listed: where it stands, why it matters and what becomes of it. Nothing is changed in the
    folders, and no host is reached.

    \b
      dask fleet import vm-1=copy/docker-scheduler vm-2=copy/docker-worker --output fleet.yaml
      dask fleet check
      dask fleet plan             which running containers would be replaced
      dask fleet up --take-over   replaces them
    """
    from dask_fleet.importing import import_folders

    done = import_folders(
        [_named(one) for one in folders],
        name=name or name_of(Path().absolute().name),
        addresses=dict(_address(one) for one in addresses),
        beside=output.parent if output else Path(),
    )
    if output is not None:
        write_new(output, done.text, force=force)
    if json_:
        print_json(
            {
                "fleet": done.text,
                "output": str(output) if output else None,
                "folders": done.folders,
                "hosts": done.hosts,
                "workers": done.workers,
                "remarks": [dataclasses.asdict(one) for one in done.remarks],
                "problems": [dataclasses.asdict(one) for one in done.problems],
            }
        )
    else:
        if output is None:
            click.echo(done.text, nl=False)
        _report(done, output)
    if done.problems:
        raise SpecError(done.problems)


def _named(text: str) -> tuple[str, Path]:
    host, equals, path = text.partition("=")
    return (host, Path(path)) if equals and "/" not in host else ("", Path(text))


def _address(text: str) -> tuple[str, str]:
    host, equals, address = text.partition("=")
    if not (host and equals and address):
        raise click.BadParameter(f"{text!r} is not HOST=ADDRESS", param_hint="--address")
    return host, address


def _report(done: Imported, output: Path | None) -> None:
    """Print what was found, and every remark; on standard error beside a printed fleet.yaml."""
    err = output is None
    scheduler = "a scheduler" if done.scheduler else "no scheduler"
    workers = f"{done.workers} worker{'' if done.workers == 1 else 's'}"
    hosts = f"{done.hosts} host{'' if done.hosts == 1 else 's'}"
    click.echo(f"found {scheduler} and {workers} on {hosts}", err=err)
    for kind, (title, colour) in _TITLES.items():
        alike: dict[tuple[str, str, str], list[Remark]] = {}
        for one in done.remarks:
            if one.kind == kind:
                alike.setdefault((one.what, one.why, one.becomes), []).append(one)
        if alike:
            label = click.style(title, fg=colour, bold=True)
            click.echo(f"\n{label} ({len(alike)})", err=err)
        for (what, why, becomes), several in alike.items():
            say(f"{_places(several)}  {click.style(what, bold=True)}", first=2, rest=6, err=err)
            say(why, first=6, rest=6, err=err)
            say(f"-> {becomes}", first=6, rest=9, err=err)
    if output is not None:
        wrote = "wrote" if not done.problems else "wrote, with problems,"
        click.echo(f"\n{wrote} {output}; next: dask fleet check, dask fleet plan")


def _places(remarks: Iterable[Remark]) -> str:
    first, *more = (str(one.place) for one in remarks)
    return f"{first} and {len(more)} more" if more else first
