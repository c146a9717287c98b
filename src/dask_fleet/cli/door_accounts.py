"""Commands about who may come in at the door: users with a password, programs with a token."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.common import (
    as_json,
    file_option,
    load_fleet,
    print_json,
    reports_errors,
    run,
)
from dask_fleet.cli.render import say, show_table
from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from dask_fleet.door_accounts import Changed
    from dask_fleet.fleet import Fleet
    from dask_fleet.proxy.accounts import Accounts
    from dask_fleet.secret import Secret

__all__ = ["token_group", "user_group"]

_LONGEST_INPUT = 1024

_hang_up_option = click.option(
    "--hang-up",
    is_flag=True,
    help="End pages that are open too, of all users; the others load theirs again.",
)


@click.group("user")
def user_group() -> None:
    """Add, remove and list the people who log in with a password."""


@click.group("token")
def token_group() -> None:
    """Add, remove and list the tokens by which programs come in.

    A program brings its token with each request, as `Authorization: Bearer TOKEN`. Whoever has it
    sees all that people see behind the door.
    """


@user_group.command("add")
@click.argument("name")
@file_option
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, for programs."
)
@_hang_up_option
@click.pass_context
@reports_errors
def user_add(
    ctx: click.Context, name: str, file: Path | None, password_stdin: bool, hang_up: bool
) -> None:
    """Let a user in, or give one who is there a new password.

    The password is asked for twice. A new one ends the user's sessions on all browsers.

    \b
      dask fleet door user add ann
      pass show dask/ann | dask fleet door user add ann --password-stdin
    """
    from dask_fleet.account_secrets import hashed, new_secret
    from dask_fleet.door_accounts import now
    from dask_fleet.proxy.accounts import check_name

    check_name(name, "user")
    fleet = _fleet(ctx, file)
    _say_if_not_asked(fleet)
    password = hashed(_password(name, password_stdin))
    session, since = new_secret(), now()
    known: list[str] = []

    def edit(accounts: Accounts) -> Accounts:
        known.extend(user.name for user in accounts.users)
        return accounts.with_user(name, password, session, since)

    changed = _change(fleet, f"user add {name}", edit, hang_up=hang_up)
    done = "has a new password; their sessions have ended" if name in known else "may come in"
    _say_done(f"user {name} {done}", changed)


@user_group.command("rm")
@click.argument("name")
@file_option
@_hang_up_option
@click.pass_context
@reports_errors
def user_rm(ctx: click.Context, name: str, file: Path | None, hang_up: bool) -> None:
    """Let a user in no more; their sessions end.

    A page that they have open goes on drawing until it is closed or loaded again, unless you say
    --hang-up: nginx cannot tell whose page it is.
    """
    fleet = _fleet(ctx, file)
    changed = _change(
        fleet, f"user rm {name}", lambda accounts: accounts.without_user(name), hang_up=hang_up
    )
    _say_done(f"user {name} may come in no more", changed)


@user_group.command("list")
@file_option
@as_json
@click.pass_context
@reports_errors
def user_list(ctx: click.Context, file: Path | None, json_: bool) -> None:
    """List who may come in with a password, and since when they have it."""
    accounts = _read(_fleet(ctx, file))
    _list("user", [(user.name, user.since) for user in accounts.users], json_=json_)


@token_group.command("add")
@click.argument("name")
@file_option
@click.pass_context
@reports_errors
def token_add(ctx: click.Context, name: str, file: Path | None) -> None:
    """Make a token and print it, this once.

    It stands alone on standard output. NAME says which program it is for.

    \b
      dask fleet door token add prometheus > /etc/prometheus/dask.token
    """
    from dask_fleet.account_secrets import new_secret
    from dask_fleet.door_accounts import now
    from dask_fleet.proxy.accounts import check_name

    check_name(name, "token")
    fleet = _fleet(ctx, file)
    value, since = new_secret(), now()
    changed = _change(
        fleet, f"token add {name}", lambda accounts: accounts.with_token(name, value, since)
    )
    _say_done(f"the token of {name} is shown this once", changed, err=True)
    click.echo(value.reveal().decode())


@token_group.command("rm")
@click.argument("name")
@file_option
@click.pass_context
@reports_errors
def token_rm(ctx: click.Context, name: str, file: Path | None) -> None:
    """Make a token worth nothing."""
    fleet = _fleet(ctx, file)
    changed = _change(fleet, f"token rm {name}", lambda accounts: accounts.without_token(name))
    _say_done(f"the token of {name} is worth nothing now", changed)


@token_group.command("list")
@file_option
@as_json
@click.pass_context
@reports_errors
def token_list(ctx: click.Context, file: Path | None, json_: bool) -> None:
    """List the names of tokens, and since when they are there."""
    accounts = _read(_fleet(ctx, file))
    _list("token", [(token.name, token.since) for token in accounts.tokens], json_=json_)


def _fleet(ctx: click.Context, file: Path | None) -> Fleet:
    """Return the fleet that is meant; ``--file`` may stand before the command too."""
    parents = [ctx.parent, ctx.parent.parent if ctx.parent else None]
    given = [one.params["file"] for one in parents if one and one.params.get("file")]
    return load_fleet(file or (given[0] if given else None))


def _read(fleet: Fleet) -> Accounts:
    from dask_fleet.door_accounts import read

    return run(fleet, read(fleet))


def _change(
    fleet: Fleet, what: str, edit: Callable[[Accounts], Accounts], *, hang_up: bool = False
) -> Changed:
    from dask_fleet.door_accounts import change

    return run(fleet, change(fleet, what, edit, hang_up=hang_up))


def _list(kind: str, rows: Sequence[tuple[str, str]], *, json_: bool) -> None:
    if json_:
        print_json([{"name": name, "since": since} for name, since in rows])
    elif rows:
        show_table([kind, "since"], rows, right=set())
    else:
        click.echo(f"there is no {kind}; `dask fleet door {kind} add NAME` makes one")


def _say_if_not_asked(fleet: Fleet) -> None:
    door = fleet.layout.door
    if door is not None and door.login != "users":
        says = "lets everybody in" if door.login == "none" else f"asks {door.forward_auth}"
        say(f"note: the door {says}; passwords count with `login: users`", rest=2, err=True)


def _say_done(text: str, changed: Changed, *, err: bool = False) -> None:
    later = "" if changed.live else "; the door is not up, `dask fleet up` brings it"
    say(f"{text}{later}", rest=2, err=err)


def _password(name: str, from_stdin: bool) -> Secret:
    """Return what a person types twice, or what a program writes to standard input."""
    from dask_fleet.secret import Secret

    if from_stdin:
        given = sys.stdin.buffer.read(_LONGEST_INPUT)
        for end in (b"\n", b"\r"):
            given = given.removesuffix(end)
        return Secret(given)
    if not sys.stdin.isatty():
        raise FleetError(
            "nobody is there to type a password",
            "say --password-stdin, and write it to standard input",
        )
    typed = click.prompt(f"Password of {name}", hide_input=True, err=True)
    again = click.prompt("Once more", hide_input=True, err=True)
    if typed != again:
        raise FleetError("the two passwords differ", "try it again")
    return Secret(typed)
