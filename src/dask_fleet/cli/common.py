"""What all commands share: which file, how output looks, how an error ends the process."""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from dask_fleet.cli.render import say
from dask_fleet.errors import FleetError, SeveralErrors, SpecError

if TYPE_CHECKING:
    from dask_fleet.assembly import Declared
    from dask_fleet.fleet import Fleet

__all__ = [
    "INTERRUPTED",
    "accept_new_option",
    "as_json",
    "file_option",
    "limit_option",
    "load_declared",
    "load_fleet",
    "print_json",
    "reports_errors",
    "run",
    "timeout_option",
    "yes_option",
]

P = ParamSpec("P")
R = TypeVar("R")

_WITHOUT_CYCLES = 1.0
"""Seconds for which a command runs without looking for objects that hold each other."""

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""


def file_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add ``--file``: which fleet is meant."""
    return click.option(
        "--file",
        type=click.Path(path_type=Path),
        envvar="DASK_FLEET_FILE",
        show_envvar=True,
        help="Default: ./fleet.yaml, or else the fleet on this machine.",
    )(function)


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds to wait until the scheduler lists every worker.",
)
limit_option = click.option(
    "--limit",
    metavar="HOSTS",
    multiple=True,
    help="Only these hosts: names, ranges such as vm-[01-04], patterns such as vm-*.",
)
accept_new_option = click.option(
    "--accept-new",
    is_flag=True,
    help="Accept the SSH key of a host that was never reached before, and remember it.",
)
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, for programs.")


def load_declared(file: Path | None) -> Declared:
    """Return what is declared by ``--file`` or where the operator stands."""
    from dask_fleet.assembly import declare
    from dask_fleet.spec import find

    return declare(file or find(Path()), os.environ)


def load_fleet(
    file: Path | None,
    *,
    limit: Sequence[str] = (),
    accept_new: bool = False,
    new_authority: bool = False,
    keep_scheduler: bool = False,
    base: str | None = None,
) -> Fleet:
    """Return the fleet that is meant by ``--file`` or by where the operator stands."""
    from dask_fleet.assembly import open_fleet
    from dask_fleet.spec import find

    return open_fleet(
        file or find(Path()),
        os.environ,
        limit=limit,
        accept_new=accept_new,
        new_authority=new_authority,
        keep_scheduler=keep_scheduler,
        base=base,
    )


def run(fleet: Fleet, work: Coroutine[Any, Any, R]) -> R:
    """Run a use case on a fleet to its end, and give back the fleet's connections."""
    import asyncio

    async def whole() -> R:
        # Most commands have ended by then, and need not look for cycles.
        asyncio.get_running_loop().call_later(_WITHOUT_CYCLES, gc.enable)
        try:
            return await work
        finally:
            await fleet.close()

    gc.freeze()  # what has been imported stays
    try:
        return asyncio.run(whole())
    finally:
        gc.enable()  # whoever called a command within a program gets back what it had


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    click.echo(json.dumps(value, indent=2))


def reports_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn failures into a message on standard error and the documented exit code.

    With ``--json`` the message is JSON too.
    """

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except FleetError as error:
            _report(error, json_=bool(kwargs.get("json_")))
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo(
                "\ninterrupted; nothing is lost: `dask fleet up` or `dask fleet down` goes on"
                " from here",
                err=True,
            )
            sys.exit(INTERRUPTED)

    return inner


def _report(error: FleetError, *, json_: bool) -> None:
    if json_:
        click.echo(json.dumps({"error": _as_value(error)}, indent=2), err=True)
        return
    label = click.style("error", fg="red", bold=True)
    if isinstance(error, SpecError):
        count = len(error.problems)
        click.echo(f"{label}: {count} problem{'s' if count != 1 else ''}", err=True)
        for problem in error.problems:
            say(str(problem), first=2, rest=6, err=True)
        return
    errors = error.errors if isinstance(error, SeveralErrors) else (error,)
    for one, following in zip_longest(errors, errors[1:]):
        first, *more = one.message.splitlines()
        say(f"{label}: {first}", rest=2, err=True)
        for line in more:
            click.echo(f"  {line}", err=True)
        # What helps several hosts alike is said once, behind the last of them.
        if one.remedy and not (following and following.remedy == one.remedy):
            say(f"{click.style('remedy', fg='green')}: {one.remedy}", first=2, rest=4, err=True)


def _as_value(error: FleetError) -> dict[str, object]:
    value: dict[str, object] = {
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "message": error.message,
        "remedy": error.remedy,
    }
    if isinstance(error, SpecError):
        value["problems"] = [
            {"place": p.place, "key": p.key, "fault": p.fault, "remedy": p.remedy}
            for p in error.problems
        ]
    if isinstance(error, SeveralErrors):
        value["errors"] = [_as_value(one) for one in error.errors]
    return value
