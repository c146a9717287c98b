"""Plans and tables as text: colours on a terminal, plain in a pipe."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from rich.console import Console

    from dask_fleet.actions import Change, Plan

__all__ = [
    "console",
    "on_terminal",
    "plan_value",
    "say",
    "show_diff",
    "show_outlook",
    "show_plan",
    "show_table",
    "show_taking_over",
    "size",
]

_COLOURS = {
    "create": "green",
    "start": "green",
    "change": "yellow",
    "restart": "yellow",
    "stop": "red",
    "remove": "red",
    "replace": "yellow",
}
_SIGNS = {
    "create": "+",
    "start": ">",
    "change": "~",
    "restart": "~",
    "stop": "x",
    "remove": "-",
    "replace": "~",
}


_TOLD = ("id", "name", "image", "state", "project", "service", "folder")
"""What JSON tells of a container; its command may have secrets in it."""


def on_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout.isatty()


def console() -> Console:
    """Return a console on standard output; rich is imported only for terminals."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def size(number: float) -> str:
    """Return bytes as people read them, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit in ("B", "KiB", "MiB") else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def say(text: str, *, first: int = 0, rest: int = 0, err: bool = False) -> None:
    """Print a sentence, wrapped to the terminal if there is one and on one line otherwise.

    Parameters
    ----------
    text : str
        What to say; styles in it do not count as width.
    first, rest : int
        Spaces before the first line and before those that follow.
    err : bool
        Whether it goes to standard error.
    """
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():
        click.echo(" " * first + text, err=err)
        return
    import shutil

    width = shutil.get_terminal_size().columns
    line, used = " " * first, first
    for word in text.split(" "):
        length = len(click.unstyle(word))
        if used > rest and used + length > width:
            click.echo(line.rstrip(), err=err)
            line, used = " " * rest, rest
        line += f"{word} "
        used += length + 1
    click.echo(line.rstrip(), err=err)


def plan_value(fleet: str, plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON has it."""
    return {
        "fleet": fleet,
        "empty": plan.empty,
        "changes": [dataclasses.asdict(change) for change in plan.changes],
        "replaced": [dataclasses.asdict(one) for one in plan.replaced],
        "interrupts": plan.interrupts,
        "taken_over": [
            {"host": action.host, "units": one.units, "reason": one.reason}
            | {key: getattr(one.container, key) for key in _TOLD}
            for action in plan.taken_over
            for one in action.predecessors
        ],
    }


def show_plan(fleet: str, plan: Plan) -> None:
    """Print a plan: a line for each change, the reason behind it; several hosts alike on one."""
    click.echo(f"fleet {fleet}: plan")
    alike: dict[tuple[str, str, str], list[Change]] = {}
    for change in plan.changes:
        alike.setdefault((change.verb, change.subject, change.reason), []).append(change)
    for (verb, subject, reason), changes in alike.items():
        sign = click.style(f"{_SIGNS[verb]} {verb:<8}", fg=_COLOURS[verb], bold=True)
        if len(changes) == 1:
            hosts, why = changes[0].host, changes[0].why
        else:
            hosts, why = ", ".join(fold(change.host for change in changes)), reason
        say(f"{sign}{subject} on {hosts}: {why}", first=2, rest=12)


def show_outlook(plan: Plan, batch: int | None, hosts: int) -> None:
    """Print what becomes of the work on workers that a plan stops; see `dask_fleet.batches`."""
    from dask_fleet.batches import outlook

    if text := outlook(plan, batch, hosts):
        say(text, first=2, rest=2)


def show_taking_over(plan: Plan, *, asked: bool) -> None:
    """Print what becomes of containers that are not the fleet's and are in its place.

    Parameters
    ----------
    plan : Plan
        As it was shown.
    asked : bool
        Whether it is about to be done.
    """
    if not plan.taken_over:
        return
    say(
        "Containers that are not the fleet's are stopped, with what is computed in them, and kept;"
        " Docker no longer starts them."
        + ("" if asked else " `up` does it with --take-over, and leaves their hosts out without."),
        first=2,
        rest=2,
    )


def show_diff(text: str) -> None:
    """Print a unified diff, coloured on a terminal."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in text.splitlines():
        colour = "" if line.startswith(("+++", "---")) else colours.get(line[:1], "")
        click.echo(click.style(line, fg=colour) if colour else line)


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: set[int]) -> None:
    """Print a plain table: columns aligned with spaces, no lines, for pipes.

    Parameters
    ----------
    header : sequence of str
        Titles of the columns.
    rows : sequence of sequence of str
        Cells; an empty one is printed as ``-`` so that columns can be counted.
    right : set of int
        Columns whose cells stand on the right.
    """
    cells = [[cell or "-" for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        parts = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(parts).rstrip())
