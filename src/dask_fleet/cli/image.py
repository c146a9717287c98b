"""Commands about the images of a fleet of containers: build, ls, prune."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import (
    as_json,
    file_option,
    limit_option,
    load_fleet,
    print_json,
    reports_errors,
    run,
    yes_option,
)
from dask_fleet.cli.progress import Progress
from dask_fleet.cli.render import show_table, size
from dask_fleet.errors import FleetError, together
from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.images.stock import StockedImage

__all__ = ["image_command"]


@click.group("image")
def image_command() -> None:
    """Build, list and remove images of a fleet of containers.

    `up` builds and brings what is missing by itself; nobody needs these commands for that.
    """


@image_command.command("build")
@file_option
@click.option(
    "--base",
    metavar="IMAGE",
    help="Put the locked environment on this image, instead of `environment.base`.",
)
@click.option("--anew", is_flag=True, help="Build also where an engine has the image already.")
@click.option(
    "--write",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Build nothing; write the Dockerfile of a locked environment and its wheels there.",
)
@as_json
@reports_errors
def build_command(
    file: Path | None, base: str | None, anew: bool, folder: Path | None, json_: bool
) -> None:
    """Build the fleet's image, unless an engine has it; no host gets it yet.

    It is built of a folder with a Dockerfile (`environment.build`) or of the locked environment on
    a base image (`environment.base`), on the operator's Docker engine or on that of
    `environment.build_on`. The same lock on the same base gives the same image, whoever builds it.
    """
    from dask_fleet import fleet_images

    fleet = load_fleet(file, base=base)
    with Progress(several=True, quiet=json_) as progress:
        if folder is not None:
            run(fleet, fleet_images.write_folder(fleet, folder, progress))
            click.echo(f"wrote {folder}; build it with `docker build {folder}`")
            return
        built = run(fleet, fleet_images.build(fleet, progress, anew=anew))
    if json_:
        print_json({"image": built.name, "engine": built.engine, **dataclasses.asdict(built.facts)})
        return
    click.echo(f"{built.name} on {built.engine}: {built.facts.id}, {size(built.facts.size)}")


@image_command.command("ls")
@file_option
@limit_option
@as_json
@reports_errors
def ls_command(file: Path | None, limit: tuple[str, ...], json_: bool) -> None:
    """List which images of the fleet are on which hosts.

    The size is that of all layers of an image; images that have layers in common share them.
    """
    from dask_fleet import fleet_images

    fleet = load_fleet(file, limit=limit)
    found = run(fleet, fleet_images.stock(fleet))
    declared = fleet.environment.image
    images = [one for host in found.images.values() for one in host]
    if json_:
        print_json(
            {
                "declared": declared,
                "images": [dataclasses.asdict(one) for one in images],
                "failures": {host: error.message for host, error in found.failures.items()},
            }
        )
    else:
        rows = _rows(images, declared)
        if rows:
            show_table(["image", "id", "size", "use", "age", "hosts"], rows, right={2})
        else:
            click.echo(f"fleet {fleet.layout.name}: no host has an image of it")
    if found.failures:
        raise together(found.failures.values())


def _rows(images: list[StockedImage], declared: str) -> list[tuple[str, ...]]:
    """Return a row for each image; hosts that have it alike stand together."""
    alike: dict[tuple[str, ...], list[StockedImage]] = {}
    for one in images:
        use = "in use" if one.used else ("declared" if one.name == declared else "")
        alike.setdefault((one.name, one.id[7:19], size(one.size), use), []).append(one)
    return [
        (
            *row,
            _age(max(one.age or 0 for one in there)),
            ", ".join(fold(one.host for one in there)),
        )
        for row, there in alike.items()
    ]


def _age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return "new"


@image_command.command("prune")
@file_option
@limit_option
@yes_option
@as_json
@reports_errors
def prune_command(file: Path | None, limit: tuple[str, ...], yes: bool, json_: bool) -> None:
    """Remove the images of the fleet that nothing uses; on each host the last of them stays.

    What is declared stays, and what a container is made of. Layers that are kept on this machine
    for the way to hosts go, too: they can be had again from any host.
    """
    from dask_fleet import fleet_images
    from dask_fleet.images.store import Store

    fleet = load_fleet(file, limit=limit)

    def confirm(plan: Mapping[str, tuple[StockedImage, ...]]) -> bool:
        if not json_:
            for host, images in plan.items():
                for one in images:
                    click.echo(f"  remove {one.name} ({size(one.size)}) on {host}")
        if yes:
            return True
        if json_ or not sys.stdin.isatty():
            raise FleetError(
                "this would remove images, and there is no terminal to ask on", "say --yes"
            )
        return click.confirm("Remove them?", default=False)

    removed, failures = run(fleet, fleet_images.prune(fleet, confirm))
    freed = Store().clear() if removed else 0
    if json_:
        print_json(
            {
                "removed": {host: [one.name for one in images] for host, images in removed.items()},
                "failures": {host: error.message for host, error in failures.items()},
            }
        )
    elif removed:
        count = sum(map(len, removed.values()))
        click.echo(f"removed {count} image{'s' if count != 1 else ''}; {size(freed)} freed here")
    else:
        click.echo(f"fleet {fleet.layout.name}: nothing removed")
    if failures:
        raise together(failures.values())
