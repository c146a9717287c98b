"""The drawing: every worker once, nothing outside the sheet, nothing on top of another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from fleet_console.declared import Inventory
from fleet_console.drawing import Drawing, tall, wide
from fleet_console.hosts import host_rows
from fleet_console.processes import missing_row, scheduler_row

from tests.unit.console.simulated import NOW, inventory

DOOR = {"url": "https://dask.example.org"}
DOOR_LANES = [
    {"from": "clients", "to": "door", "ports": "443", "label": "pages", "optional": False},
    {"from": "door", "to": "scheduler", "ports": "8787", "label": "pages", "optional": False},
    {"from": "door", "to": "workers", "ports": "9012", "label": "pages", "optional": False},
]


def fleet(hosts: int, per_host: int) -> Inventory:
    names = f"node-[001-{hosts:03d}]" if hosts > 1 else "node-001"
    last = f"[1-{hosts}]" if hosts > 1 else "1"
    return inventory(f"""\
name: many
hosts:
  head: {{address: 10.77.1.1}}
  {names}: {{address: "10.77.0.{last}"}}
scheduler: {{host: head}}
workers: {{default: {{per_host: {per_host}}}}}
""")


LOCAL = inventory("name: local\nscheduler: {port: 8786}\nworkers: {default: {per_host: 4}}\n")
FLEETS = [LOCAL, *(fleet(*size) for size in ((1, 1), (4, 1), (4, 4), (25, 4), (60, 1), (200, 5)))]


def drawn(make: Callable[..., Drawing], declared: Inventory, door: Any = None) -> Drawing:
    own = {"started": NOW, "environment": "", "pid": 1, "address": "tcp://x:8786", "versions": {}}
    ports = {"scheduler": 8786, "dashboard": 8787}
    monitor = {"memory": 0, "cpu": 0}
    scheduler = scheduler_row(declared, "dask-scheduler", ports, own, monitor)
    rows = [scheduler, *(missing_row(one, NOW) for one in declared.workers)]
    lanes = [*declared.contract["lanes"], *(DOOR_LANES if door else ())]
    return make(lanes, host_rows(declared, rows, {}, {}), rows, door)


@pytest.fixture(params=FLEETS, ids=lambda one: f"{len(list(one.workers))} workers")
def declared(request: pytest.FixtureRequest) -> Inventory:
    return request.param


@pytest.mark.parametrize("door", [None, DOOR], ids=["direct", "door"])
@pytest.mark.parametrize("make", [wide, tall])
def test_every_process_is_drawn_once_and_within_the_sheet(
    make: Callable[..., Drawing], declared: Inventory, door: Any
):
    sheet = drawn(make, declared, door)
    names = [shape["name"] for shape in sheet.shapes if shape.get("name")]
    assert sorted(names) == sorted(declared.processes)
    for shape in sheet.shapes:
        if shape["shape"] == "box":
            assert shape["x"] >= 0
            assert shape["y"] >= 0
            assert shape["x"] + shape["w"] <= sheet.width + 0.01
            assert shape["y"] + shape["h"] <= sheet.height + 0.01
        elif shape["shape"] == "text":
            assert 0 <= shape["y"] <= sheet.height


@pytest.mark.parametrize("make", [wide, tall])
def test_no_worker_covers_another(make: Callable[..., Drawing], declared: Inventory):
    places = sorted(
        (round(s["y"], 3), s["x"], s["w"], s["h"])
        for s in drawn(make, declared).shapes
        if s.get("kind") in ("worker", "square")
    )
    for (y, x, w, h), (next_y, next_x, _, _) in pairwise(places):
        assert next_y >= y + h or (next_y == y and next_x >= x + w)


@pytest.mark.parametrize("make", [wide, tall])
def test_the_ports_of_every_arrow_are_written(make: Callable[..., Drawing], declared: Inventory):
    text = " ".join(s["text"] for s in drawn(make, declared, DOOR).shapes if s["shape"] == "text")
    for lane in [*declared.contract["lanes"], *DOOR_LANES]:
        if not lane.get("same_host"):
            assert lane["ports"] in text, lane
