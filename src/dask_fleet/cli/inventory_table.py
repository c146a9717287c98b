"""The inventory as text: a table that fits its terminal, a plain one for pipes, and the notes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dask_fleet.cli.render import show_table, size

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from dask_fleet.inventory import Row
    from dask_fleet.layout import Layout
    from dask_fleet.outcomes import Status

__all__ = ["cells", "columns_that_fit", "duration", "fitted", "notes", "plain"]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the inventory.

    Attributes
    ----------
    usual : int
        Width of what it usually shows. So much is kept free for it, lest columns come and go
        while somebody watches.
    right : bool
        Whether its cells stand on the right.
    """

    title: str
    cell: Callable[[Row], str]
    usual: int
    right: bool = False


def _registered_worker(row: Row) -> bool:
    return row.registered and row.role == "worker"


def _since(row: Row) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started)) if row.started else ""


def _memory(row: Row) -> str:
    limit = f"/{size(row.memory_limit)}" if row.memory_limit else ""
    return f"{size(row.memory)}{limit}" if row.memory else ""


_COLUMNS = (
    _Column("process", lambda row: row.name, 16),
    _Column("role", lambda row: row.role, 9),
    _Column("state", lambda row: row.state, 11),
    _Column("unit", lambda row: row.unit_state, 7),
    _Column("registered", lambda row: "yes" if row.registered else "no", 3),
    _Column("host", lambda row: row.host, 10),
    _Column("address", lambda row: row.address, 9),
    _Column("ports", lambda row: "/".join(map(str, row.ports.values())), 14),
    _Column("pid", lambda row: str(row.pid or ""), 5, right=True),
    _Column("since", _since, 16),
    _Column("uptime", lambda row: duration(row.uptime), 6, right=True),
    _Column("restarts", lambda row: str(row.restarts), 2, right=True),
    _Column("memory", _memory, 15, right=True),
    _Column("cpu", lambda r: f"{r.cpu:.0f}%" if _registered_worker(r) else "", 4, right=True),
    _Column(
        "tasks",
        lambda r: f"{r.executing}+{r.ready}" if _registered_worker(r) else "",
        5,
        right=True,
    ),
    _Column("dask", lambda row: row.versions.get("dask", ""), 9),
    _Column("xcube", lambda row: row.versions.get("xcube-core", ""), 6),
)

_WANTED = (
    *("process", "state", "host", "uptime", "memory", "tasks", "ports", "restarts", "cpu", "unit"),
    *("address", "registered", "since", "dask", "xcube", "role", "pid"),
)
"""Columns in the order in which they are given room."""

_BETWEEN = 2
_STATE_COLOURS = {"running": "green", "starting": "yellow", "paused": "yellow"}
_WARNING = "warning: "


def cells(row: Row) -> list[str]:
    """Return what every column says of a process."""
    return [column.cell(row) for column in _COLUMNS]


def columns_that_fit(rows: Sequence[Row], width: int) -> list[str]:
    """Return the titles of the columns that a terminal has room for, from left to right.

    Where a process is says nothing when all are on one host: these columns are then the last.
    """
    wanted = list(_WANTED)
    if len({row.host for row in rows}) < 2:
        where = ("host", "address")
        wanted = [*(title for title in wanted if title not in where), *where]
    by_title = {column.title: column for column in _COLUMNS}
    shown: set[str] = set()
    left = width + _BETWEEN
    for title in wanted:
        column = by_title[title]
        widths = (len(column.cell(row)) for row in rows)
        needs = max(len(title), column.usual, *widths) + _BETWEEN
        if needs <= left or title in ("process", "state"):
            shown.add(title)
            left -= needs
    return [column.title for column in _COLUMNS if column.title in shown]


def fitted(layout: Layout, status: Status, width: int) -> Group:
    """Return the inventory for a terminal: what it is, the table, where to go, the notes."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    titles = columns_that_fit(status.rows, width)
    columns = [column for column in _COLUMNS if column.title in titles]
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for row in status.rows:
        colour = _STATE_COLOURS.get(row.state, "red")
        table.add_row(
            *(Text(one.cell(row), colour if one.title == "state" else "") for one in columns)
        )
    running = sum(row.state == "running" for row in status.rows)
    title = f"fleet {layout.name} · {running} of {len(status.rows)} running"
    where = f"scheduler {layout.client_address} · dashboard {layout.shown_dashboard}"
    said = [_coloured(note) for note in notes(layout, status)]
    return Group(Text(title, "bold"), "", table, "", Text(where, "dim italic"), *said)


def _coloured(note: str) -> Text:
    from rich.text import Text

    if note.startswith(_WARNING):
        return Text.assemble((_WARNING, "bold yellow"), note.removeprefix(_WARNING))
    return Text(note)


def plain(layout: Layout, status: Status) -> None:
    """Print the inventory with every column, aligned and without colours, and the notes."""
    right = {number for number, column in enumerate(_COLUMNS) if column.right}
    show_table([column.title for column in _COLUMNS], list(map(cells, status.rows)), right=right)
    for note in notes(layout, status):
        click.echo(note)


def notes(layout: Layout, status: Status) -> Iterator[str]:
    """Yield what no column says: faults, strangers, and until when certificates hold."""
    for row in status.rows:
        if row.fault and row.state == "wrong":
            yield f"{row.name}: {row.fault}"
    for failure in status.failures.values():
        yield failure.message.splitlines()[0]
    for one in status.strangers:
        yield f"{_WARNING}{f'{one.host}: ' if one.host else ''}{one.fault}"
    if layout.door is not None:
        from dask_fleet.proxy.status import door_in_words

        yield door_in_words(layout, status.hosts)
    if layout.tls:
        from dask_fleet.tls.expiry import certificates_on, in_words

        yield in_words(certificates_on(status.hosts))


def duration(seconds: float | None) -> str:
    """Return a time as people read it, in its two largest units; empty if there is none."""
    if seconds is None:
        return ""
    whole = int(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= length:
            smaller = {"d": ("h", 3600), "h": ("m", 60), "m": ("s", 1)}[unit]
            return f"{whole // length}{unit}{whole % length // smaller[1]:02d}{smaller[0]}"
    return f"{whole}s"
