"""Plans, events and tables as text: colours and live lines on a terminal, plain in a pipe."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from dask_fleet.events import ActionDone, ActionFailed, ActionStarted, Event, Note, Registered

if TYPE_CHECKING:
    from rich.console import Console

    from dask_fleet.actions import Plan

__all__ = [
    "Progress",
    "console",
    "on_terminal",
    "plan_value",
    "say",
    "show_diff",
    "show_plan",
    "show_table",
    "size",
]

_COLOURS = {
    "create": "green",
    "start": "green",
    "change": "yellow",
    "restart": "yellow",
    "stop": "red",
    "remove": "red",
}
_SIGNS = {"create": "+", "start": ">", "change": "~", "restart": "~", "stop": "x", "remove": "-"}


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
    }


def show_plan(fleet: str, plan: Plan) -> None:
    """Print a plan: a line for each change, the reason behind it."""
    click.echo(f"fleet {fleet}: plan")
    for change in plan.changes:
        sign = click.style(
            f"{_SIGNS[change.verb]} {change.verb:<8}", fg=_COLOURS[change.verb], bold=True
        )
        say(f"{sign}{change.subject} on {change.host}: {change.reason}", first=2, rest=12)


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


class Progress:
    """Shows events as they happen: a live line on a terminal, one line each in a pipe.

    Parameters
    ----------
    quiet : bool
        Whether to show nothing, for ``--json``.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._status: Any = None
        self._console: Console | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Take the live line away while something else is printed or asked."""
        self._stop()
        yield

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._quiet:
            return
        match event:
            case ActionStarted(text=text):
                self._live(f"{text} ...")
            case ActionDone(text=text, seconds=seconds):
                self._line(click.style("done", fg="green"), f"{text} ({seconds:.1f} s)")
            case ActionFailed(text=text, fault=fault):
                self._line(click.style("failed", fg="red"), f"{text}: {fault}")
            case Note(text=text):
                if on_terminal():
                    self._live(text)
                else:
                    self._line("", text)
            case Registered(count=count, total=total, missing=missing):
                waiting = f"; waiting for {', '.join(missing[:4])}" if missing else ""
                more = " ..." if len(missing) > 4 else ""
                text = f"{count} of {total} workers registered{waiting}{more}"
                if on_terminal() and missing:
                    self._live(text)
                else:
                    self._line("", text)

    def _line(self, label: str, text: str) -> None:
        self._stop()
        click.echo(f"  {label} {text}" if label else f"  {text}")

    def _live(self, text: str) -> None:
        if not on_terminal():
            return
        from rich.markup import escape

        if self._console is None:
            self._console = console()
        shown = escape(text[: max(self._console.width - 6, 20)])
        if self._status is None:
            self._status = self._console.status(shown)
            self._status.start()
        else:
            self._status.update(shown)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
