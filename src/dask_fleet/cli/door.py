"""Commands about the door."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import as_json, file_option, load_declared, print_json, reports_errors
from dask_fleet.cli.door_accounts import token_group, user_group
from dask_fleet.cli.render import say, show_table
from dask_fleet.door import declared_door
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.assembly import Declared
    from dask_fleet.door import Door

__all__ = ["door_command"]

_LOGINS = {
    "none": "everybody who reaches it",
    "users": "users with a password, programs with a token",
    "forward": "whom {forward_auth} lets in, programs with a token",
}
_CERTIFICATES = {
    "none": "none, plain http",
    "fleet": "of the fleet's own authority",
    "files": "{certificate}",
    "acme": "of an ACME server, by certbot",
}


@click.group("door", invoke_without_command=True)
@file_option
@as_json
@click.option("--print", "print_", is_flag=True, help="Print nginx's file for it.")
@click.pass_context
@reports_errors
def door_command(ctx: click.Context, file: Path | None, json_: bool, print_: bool) -> None:
    """Print what the door is: its address, who is let in, and the dashboards behind it.

    It follows from fleet.yaml alone; no host is reached. `dask fleet up` brings it about.

    \b
      dask fleet door              the addresses of all dashboards behind it
      dask fleet door --print      what nginx is told, to read or to put there by hand
    """
    if ctx.invoked_subcommand is not None:
        return
    if json_ and print_:
        raise FleetError("--json and --print exclude each other", "say one of them")
    declared = load_declared(file)
    door = declared_door(declared.layout)
    if print_:
        click.echo(_site(declared, door), nl=False)
    elif json_:
        print_json(_value(door))
    else:
        _text(declared, door)


door_command.add_command(user_group)
door_command.add_command(token_group)


def _site(declared: Declared, door: Door) -> str:
    from dask_fleet.assembly import places_on
    from dask_fleet.proxy.door_files import DoorFiles
    from dask_fleet.proxy.nginx import site

    layout = declared.layout
    places = places_on(layout.name, layout.hosts[door.host])
    return site(layout.name, door, DoorFiles.on(layout.name, places, door))


def _dashboards(door: Door) -> dict[str, str]:
    return {one.name: door.dashboard(one.name) for one in (door.scheduler, *door.workers)}


def _value(door: Door) -> dict[str, object]:
    return {
        "url": door.url,
        "host": door.host,
        "listen": door.listen,
        "port": door.port,
        "tls": door.tls,
        "login": door.login,
        "allow": list(door.allow),
        "dashboards": _dashboards(door),
    }


def _text(declared: Declared, door: Door) -> None:
    click.echo(click.style(door.url, bold=True))
    where = f"address {door.listen}" if door.listen else "every address"
    say(f"on {door.host}, port {door.port} of {where}", first=2, rest=4)
    say(f"certificate: {_CERTIFICATES[door.tls].format(certificate=door.certificate)}", first=2)
    if door.tls == "acme":
        from dask_fleet.assembly import places_on
        from dask_fleet.proxy.door_files import certbot

        host = declared.layout.hosts[door.host]
        say(f"once on {door.host}, as root and after `dask fleet up`:", first=2)
        # On one line whatever the width: it is copied into a shell.
        line = shlex.join(certbot(places_on(declared.layout.name, host), door))
        click.echo(f"    {line}")
    say(f"let in: {_LOGINS[door.login].format(forward_auth=door.forward_auth)}", first=2, rest=4)
    if door.allow:
        say(f"from: {', '.join(door.allow)}", first=2, rest=4)
    show_table(["process", "dashboard"], list(_dashboards(door).items()), right=set())
