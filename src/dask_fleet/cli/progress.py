"""Events as they happen: a live line on a terminal, one line each in a pipe.

What several hosts do alike stands on one line, printed when the last of them has done it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from dask_fleet.cli.render import console, on_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from dask_fleet.events import Event

__all__ = ["Progress"]


@dataclass
class _Alike:
    """The same action on several hosts: where it runs, and where it ended after how long."""

    running: dict[str, None] = field(default_factory=dict[str, None])
    done: dict[str, float] = field(default_factory=dict[str, float])


class Progress:
    """Shows events.

    Parameters
    ----------
    several : bool
        Whether the fleet has several hosts, so that each line says which are meant.
    quiet : bool
        Whether to show nothing, for ``--json``.
    """

    def __init__(self, *, several: bool = False, quiet: bool = False) -> None:
        self._several = several
        self._quiet = quiet
        self._alike: dict[str, _Alike] = {}
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
        # Most commands find nothing to do, and nothing happens.
        from dask_fleet.events import ActionDone, ActionFailed, ActionStarted, Note, Registered

        if self._quiet:
            return
        match event:
            case ActionStarted(host=host, text=text):
                self._alike.setdefault(text, _Alike()).running[host] = None
                self._live(f"{self._going(text)} ...")
            case ActionDone(host=host, text=text, seconds=seconds):
                self._end(host, text, seconds)
            case ActionFailed(host=host, text=text, fault=fault):
                self._line(click.style("failed", fg="red"), f"{text}{self._on([host])}: {fault}")
                self._end(host, text, None)
            case Note(host=host, text=text):
                said = f"{host}: {text}" if self._several else text
                if on_terminal():
                    self._live(said)
                else:
                    self._line("", said)
            case Registered(count=count, total=total, missing=missing):
                waiting = f"; waiting for {', '.join(missing[:4])}" if missing else ""
                more = " ..." if len(missing) > 4 else ""
                text = f"{count} of {total} workers registered{waiting}{more}"
                if on_terminal() and missing:
                    self._live(text)
                else:
                    self._line("", text)

    def _end(self, host: str, text: str, seconds: float | None) -> None:
        """Note that an action ended on a host; print a line if it was the last of its kind."""
        alike = self._alike.setdefault(text, _Alike())
        alike.running.pop(host, None)
        if seconds is not None:
            alike.done[host] = seconds
        if alike.running:
            self._live(f"{self._going(text)} ...")
            return
        del self._alike[text]
        if alike.done:
            took = f"({max(alike.done.values()):.1f} s)"
            self._line(click.style("done", fg="green"), f"{text}{self._on(alike.done)} {took}")

    def _going(self, text: str) -> str:
        alike = self._alike[text]
        total = len(alike.running) + len(alike.done)
        return f"{text}: {len(alike.done)} of {total} hosts" if total > 1 else text

    def _on(self, hosts: Iterable[str]) -> str:
        if not self._several:
            return ""
        from dask_fleet.spec.ranges import fold

        return f" on {', '.join(fold(sorted(hosts)))}"

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
