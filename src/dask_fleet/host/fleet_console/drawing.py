"""The drawing of the fleet: who reaches whom on which ports, as shapes for an SVG.

There are two of it, for wide screens and for phones. A shape is a dictionary that the page's
template knows how to draw; what a worker does is shown by its state and a bar, which the page
keeps up to date by the worker's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet_console.zone import zone

__all__ = ["Drawing", "tall", "wide"]

Row = Mapping[str, Any]


@dataclass
class Drawing:
    """Shapes on a sheet of so many units."""

    kind: str
    width: float
    height: float = 0.0
    shapes: list[dict[str, Any]] = field(default_factory=list)

    def box(self, x: float, y: float, w: float, h: float, kind: str, **more: Any) -> None:
        """Add a rectangle."""
        self.shapes.append({"shape": "box", "x": x, "y": y, "w": w, "h": h, "kind": kind, **more})

    def text(self, x: float, y: float, words: str, kind: str, anchor: str = "start") -> None:
        """Add a line of text."""
        self.shapes.append(
            {"shape": "text", "x": x, "y": y, "text": words, "kind": kind, "anchor": anchor}
        )

    def arrow(
        self, *points: tuple[float, float], optional: bool = False, both: bool = False
    ) -> None:
        """Add an arrow along points, at both ends if it is so."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        self.shapes.append({"shape": "arrow", "path": path, "optional": optional, "both": both})

    def label(self, x: float, y: float, lane: Row, anchor: str = "middle") -> None:
        """Add ports above a line and what they are for below it."""
        self.text(x, y - 6, lane["ports"], "ports", anchor)
        self.text(x, y + 14, lane["label"], "label", anchor)

    def node(
        self, x: float, y: float, w: float, h: float, title: str, *lines: str, **more: Any
    ) -> None:
        """Add a box with a title and lines in its middle."""
        self.box(x, y, w, h, "node", **more)
        top = y + (h - 18 - 17 * len(lines)) / 2
        self.text(x + w / 2, top + 14, title, "title", "middle")
        for number, line in enumerate(lines):
            self.text(x + w / 2, top + 33 + 17 * number, line, "sub", "middle")


def _between(lanes: Sequence[Row], source: str, target: str) -> list[Row]:
    return [one for one in lanes if (one["from"], one["to"]) == (source, target)]


def _about(scheduler: Row, hosts: Sequence[Row]) -> tuple[str, str, str]:
    host = next((one for one in hosts if one["name"] == scheduler["host"]), None)
    ports = " · ".join(str(port) for port in scheduler["ports"].values())
    return scheduler["host"], host["address"] if host else "", ports


def wide(lanes: Sequence[Row], hosts: Sequence[Row], rows: Sequence[Row], door: Any) -> Drawing:
    """Return the drawing for a wide screen: from the clients on the left to the workers.

    Parameters
    ----------
    lanes
        The arrows, as ``dask_fleet.published`` has them.
    hosts, rows
        Every host and every process.
    door
        The reverse proxy, if there is one.
    """
    scheduler, workers = rows[0], [row for row in rows[1:] if row["declared"]]
    left = 330.0 if door else 200.0
    sheet = Drawing("wide", 150 + left + 180 + 210 + 470)
    over = [*_between(lanes, "door", "workers"), *_between(lanes, "clients", "workers")]
    into = _between(lanes, "clients", "scheduler")
    towards = _between(lanes, "scheduler", "workers")
    back = _between(lanes, "workers", "scheduler")
    ssh = _between(lanes, "operator", "hosts")[:1]
    top = 12.0 + 40 * len(over)
    tallness = 24.0 + 48 * max(2, len(back) + len(towards))
    least = tallness + 84 * len(ssh)
    zone_x = sheet.width - 470
    own = _between(lanes, "workers", "workers")
    sheet.height = zone(sheet, (zone_x, top, 470, least), hosts, workers, own) + 4

    at_scheduler = 150 + left
    ends = (150.0, at_scheduler)
    sheet.node(
        *(at_scheduler, top, 180, tallness),
        *("Scheduler", *_about(scheduler, hosts)),
        name=scheduler["name"],
        state=scheduler["state"],
    )
    sheet.node(0, top, 150, tallness, "Clients", "notebooks, programs,", "browsers")
    if door:
        sheet.node(225, top + 12, 150, 52, "Door", door["url"].partition("://")[2])
        for start, end, through in (
            (150.0, 225.0, _between(lanes, "clients", "door")),
            # On one host they talk without a firewall between them.
            (375.0, at_scheduler, _between(lanes, "door", "scheduler")),
        ):
            sheet.arrow((start, top + 38), (end - 2, top + 38))
            ports = " ".join(lane["ports"] for lane in through)
            sheet.text((start + end) / 2, top + 31, ports, "ports", "middle")
    for number, lane in enumerate(into):
        y = top + 36 + 48 * (number + bool(door))
        sheet.arrow((ends[0], y), (ends[1] - 2, y), optional=lane["optional"])
        sheet.label(sum(ends) / 2, y, lane)
    ends = (at_scheduler + 180, zone_x)
    for number, lane in enumerate([*back, *towards]):
        y = top + 36 + 48 * number
        start, end = (ends[1], ends[0] + 2) if lane in back else (ends[0], ends[1] - 2)
        sheet.arrow((start, y), (end, y))
        sheet.label(sum(ends) / 2, y, lane)
    for number, lane in enumerate(over):
        y = 22.0 + 40 * number
        begin = 75.0 if lane["from"] == "clients" else 300.0
        goal = zone_x + 235 + 60 * number
        sheet.arrow((begin, top), (begin, y), (goal, y), (goal, top - 2), optional=lane["optional"])
        sheet.label((begin + zone_x) / 2, y, lane)
    for lane in ssh:
        y = top + tallness + 58
        sheet.node(0, y - 26, 150, 52, "Operator", "dask fleet")
        sheet.arrow((150, y), (zone_x - 2, y))
        sheet.arrow((at_scheduler + 90, y), (at_scheduler + 90, top + tallness + 2))
        sheet.label(150 + left / 2, y, lane)
    return sheet


def tall(lanes: Sequence[Row], hosts: Sequence[Row], rows: Sequence[Row], door: Any) -> Drawing:
    """Return the drawing for a phone: from the clients at the top down to the workers.

    Parameters are those of `wide`.
    """
    scheduler, workers = rows[0], [row for row in rows[1:] if row["declared"]]
    sheet = Drawing("tall", 360)
    over = [*_between(lanes, "door", "workers"), *_between(lanes, "clients", "workers")]
    # What passes by the scheduler has a line of its own on the right.
    room = 360.0 - 22 * len(over)
    sheet.node(0, 0, 360, 50, "Clients", "notebooks, programs, browsers")
    y = 50.0
    if door:
        y = _rows_of_lanes(sheet, y, _between(lanes, "clients", "door"), ())
        sheet.node(0, y, 360, 50, "Door", door["url"].partition("://")[2])
        y += 50
    beginning = y
    into = [*_between(lanes, "clients", "scheduler"), *_between(lanes, "door", "scheduler")]
    y = _rows_of_lanes(sheet, y, into, over)
    host, address, ports = _about(scheduler, hosts)
    sheet.box(0, y, room, 68, "node", name=scheduler["name"], state=scheduler["state"])
    sheet.text(room / 2, y + 24, "Scheduler", "title", "middle")
    sheet.text(room / 2, y + 43, f"{host} {address}".strip(), "sub", "middle")
    sheet.text(room / 2, y + 59, ports, "sub", "middle")
    y += 68
    towards = _between(lanes, "scheduler", "workers")
    y = _rows_of_lanes(sheet, y, towards, (), _between(lanes, "workers", "scheduler"))
    for number, lane in enumerate(over):
        x = 349.0 - 22 * number
        sheet.arrow((x, beginning), (x, y - 2), optional=lane["optional"])
    own = _between(lanes, "workers", "workers")
    y = zone(sheet, (0, y, 360, 0), hosts, workers, own)
    for lane in _between(lanes, "operator", "hosts")[:1]:
        words = f"{lane['ports']}  SSH, from the operator to every host"
        sheet.text(180, y + 22, words, "label", "middle")
        y += 26
    sheet.height = y + 8
    return sheet


def _rows_of_lanes(
    sheet: Drawing,
    y: float,
    down: Sequence[Row],
    beside: Sequence[Row],
    up: Sequence[Row] = (),
) -> float:
    """Add arrows with a line of text for each lane; return where they end."""
    end = y + 18 + 20 * (len(down) + len(up) + len(beside))
    if down:
        sheet.arrow((14, y), (14, end - 2))
    if up:
        sheet.arrow((34, end), (34, y + 2))
    line = y + 24.0
    for arrow, lane in [
        *(("↓", lane) for lane in down),
        *(("↑", lane) for lane in up),
        *(("⇣", lane) for lane in beside),
    ]:
        right = arrow == "⇣"
        words = f"{arrow} {lane['ports']}"
        if right:
            sheet.text(306, line, f"{lane['label']}  {lane['ports']} ⇣", "label", "end")
        else:
            sheet.text(52, line, words, "ports")
            sheet.text(52 + 7.4 * len(words) + 8, line, lane["label"], "label")
        line += 20
    return end
