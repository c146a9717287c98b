"""The part of the drawing with the workers on their hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleet_console.drawing import Drawing

__all__ = ["zone"]

Row = Mapping[str, Any]

#: So many workers have a box with name and ports; more of them have a square.
_BOXES = 16
#: Side of a square and the gap beside it, for so many workers.
_SQUARES = ((160, 16, 4), (600, 11, 3), (1 << 30, 7, 2))
#: So many hosts have their names above their squares.
_NAMED = 60
_PAD = 12.0
_BESIDE = 6.0


def zone(
    sheet: Drawing,
    frame: tuple[float, float, float, float],
    hosts: Sequence[Row],
    workers: Sequence[Row],
    between: Sequence[Row],
) -> float:
    """Add the hosts with their workers in a frame; return where it ends.

    Parameters
    ----------
    sheet
        The drawing.
    frame
        Where it begins, how wide and, at least, how high it is.
    hosts, workers
        Rows of what is declared.
    between
        The lanes from workers to workers.
    """
    x, y, width, least = frame
    by_host: dict[str, list[Row]] = {}
    for worker in workers:
        by_host.setdefault(worker["host"], []).append(worker)
    place = len(sheet.shapes)
    many = f"{len(workers)} worker{'s' if len(workers) != 1 else ''}"
    on = f" on {len(by_host)} hosts" if len(by_host) > 1 else ""
    sheet.text(x + _PAD, y + 26, "Workers", "title")
    sheet.text(x + width - _PAD, y + 26, f"{many}{on}", "sub", "end")
    addresses = {host["name"]: host["address"] for host in hosts}
    draw = _boxes if len(workers) <= _BOXES else _squares
    end = draw(sheet, x + _PAD, y + 40, width - 2 * _PAD, by_host, addresses)
    for lane in between:
        if not lane["same_host"]:
            end += 26
            middle = x + width / 2
            sheet.arrow((x + 30, end), (x + width - 30, end), both=True)
            sheet.text(middle, end - 6, lane["ports"], "ports", "middle")
            sheet.text(middle, end + 14, lane["label"], "label", "middle")
            end += 18
    end = max(end + 6, y + least)
    sheet.shapes.insert(
        place, {"shape": "box", "x": x, "y": y, "w": width, "h": end - y, "kind": "zone"}
    )
    return end


def _boxes(
    sheet: Drawing,
    x: float,
    y: float,
    width: float,
    by_host: Mapping[str, Sequence[Row]],
    addresses: Mapping[str, str],
) -> float:
    """Add a box for each worker, hosts side by side."""
    columns = 1 if len(by_host) == 1 or width < 400 else 2
    host_width = (width - 10 * (columns - 1)) / columns
    inner = host_width - 2 * 8
    across = max(1, int(inner // 150))
    box_width = (inner - 8 * (across - 1)) / across
    row_y, row_end = y, y
    for number, (host, workers) in enumerate(by_host.items()):
        column = number % columns
        if column == 0 and number:
            row_y = row_end + 10
        at = x + column * (host_width + 10)
        lines = -(-len(workers) // across)
        height = 30 + lines * 48
        sheet.box(at, row_y, host_width, height, "host")
        sheet.text(at + 8, row_y + 19, host, "host-name")
        # A name of two thirds of the width leaves no room for the address.
        if 7 * len(host) + 6.6 * len(addresses.get(host, "")) < host_width - 30:
            sheet.text(at + host_width - 8, row_y + 19, addresses.get(host, ""), "sub", "end")
        for index, worker in enumerate(workers):
            left = at + 8 + (index % across) * (box_width + 8)
            top = row_y + 28 + (index // across) * 48
            ports = "  ".join(str(port) for port in worker["ports"].values())
            sheet.box(
                left,
                top,
                box_width,
                42,
                "worker",
                name=worker["name"],
                state=worker["state"],
                level=level(worker),
                title=worker["name"],
                lines=(worker["name"], ports),
            )
        row_end = max(row_end, row_y + height)
    return row_end


def _squares(
    sheet: Drawing,
    x: float,
    y: float,
    width: float,
    by_host: Mapping[str, Sequence[Row]],
    addresses: Mapping[str, str],
) -> float:
    """Add a square for each worker, hosts in rows as text flows."""
    del addresses
    total = sum(map(len, by_host.values()))
    side, gap = next((side, gap) for most, side, gap in _SQUARES if total <= most)
    named = len(by_host) <= _NAMED
    head = 16 if named else 0
    most = max(map(len, by_host.values()))
    across = min(most, 4 if most <= 16 else 8)
    # All cells are alike; they and their squares grow until a row is full.
    least = max(across * (side + gap) - gap + 10, 8 + 6.2 * max(map(len, by_host)) if named else 0)
    columns = max(1, min(len(by_host), int((width + _BESIDE) // (least + _BESIDE))))
    cell = (width - _BESIDE * (columns - 1)) / columns
    side = min(1.5 * side, (cell - 10 + gap) / across - gap)
    step = side + gap
    row_y, height = y, 0.0
    for number, (host, workers) in enumerate(by_host.items()):
        column = number % columns
        if column == 0 and number:
            row_y, height = row_y + height + _BESIDE, 0.0
        at = x + column * (cell + _BESIDE)
        own = head + -(-len(workers) // across) * step - gap + 10
        height = max(height, own)
        sheet.box(at, row_y, cell, own, "host", title=host)
        if named:
            sheet.text(at + 5, row_y + 14, host, "small")
        for index, worker in enumerate(workers):
            sheet.box(
                at + 5 + (index % across) * step,
                row_y + head + 5 + (index // across) * step,
                side,
                side,
                "square",
                name=worker["name"],
                state=worker["state"],
                level=level(worker),
                title=worker["name"],
            )
    return row_y + height


def level(worker: Row) -> float:
    """Return how busy a worker's CPUs are, from 0 to 1."""
    return round(min(1.0, worker["cpu"] / (100 * max(1, worker["nthreads"]))), 2)
