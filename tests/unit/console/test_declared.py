"""What the console reads of the fleet's files, and that it notices when they change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fleet_console.declared import Inventory, Watched, read_findings, read_history, read_inventory

from tests.unit.console.simulated import ENVIRONMENT, inventory, text

CHANGE = {
    "identifier": "1",
    "time": "2026-11-24T10:00:00+0000",
    "who": "anna@desk",
    "what": "up",
    "spec": "s",
    "environment": "e",
    "release": "r",
    "changes": 3,
    "hosts": ["head"],
    "limit": [],
    "result": "begun",
    "seconds": 0.0,
    "fault": "",
}
FINDING = {"check": "disk", "severity": "error", "place": "p", "fault": "f", "remedy": "r"}


def test_what_up_publishes_is_what_the_console_reads():
    one = inventory()
    assert one.fleet == "sst"
    assert list(one.processes) == ["dask-scheduler", *(f"dask-worker-000{n}" for n in range(1, 5))]
    assert [worker.name for worker in one.workers] == list(one.processes)[1:]
    assert one.processes["dask-worker-0003"].host == "node-2"
    assert one.host_of("10.77.0.13") == "node-2"
    assert one.host_of("10.9.9.9") == ""
    assert one.versions == {"python": "3.11", "dask": "2026.8.0", "distributed": "2026.8.0"}
    assert one.environment["digest"] == ENVIRONMENT.digest


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{}", '{"version": 2}', '{"version": 1}', text().replace('"unit"', '"uint"')],
)
def test_what_is_no_inventory_is_refused(said: str):
    with pytest.raises(ValueError):  # noqa: PT011 - json's own is one
        read_inventory(said)


def lines(*changes: dict[str, Any]) -> str:
    return "".join(json.dumps(change) + "\n" for change in changes)


def test_the_end_of_a_change_replaces_its_beginning_and_the_newest_is_first():
    end = CHANGE | {"result": "done", "seconds": 2.5}
    found = read_history(lines(CHANGE, end, CHANGE | {"identifier": "2", "what": "down"}))
    assert [(one["what"], one["result"], one["seconds"]) for one in found] == [
        ("down", "begun", 0.0),
        ("up", "done", 2.5),
    ]


def test_lines_that_are_no_changes_are_left_out():
    cut = lines(CHANGE)[:40]
    assert len(read_history(f"{cut}\nnull\n[]\n{lines(CHANGE)}")) == 1


def test_so_many_changes_are_kept():
    assert len(read_history(lines(*(CHANGE | {"identifier": str(n)} for n in range(300))))) == 100


def test_findings_of_the_doctor():
    said = {"time": 5, "who": "anna@desk", "findings": [FINDING]}
    assert read_findings(json.dumps(said)) == {**said, "time": 5.0}
    for bad in ("", "[]", "{}", json.dumps({**said, "findings": [{"check": "x"}]})):
        with pytest.raises(ValueError):  # noqa: PT011 - json's own is one
            read_findings(bad)


@pytest.fixture
def watched() -> Watched[Inventory]:
    return Watched(read_inventory, Inventory())


def test_a_file_that_is_not_there_is_no_fault(watched: Watched[Inventory], tmp_path: Path):
    assert watched.read(str(tmp_path / "none")) == Inventory()
    assert (watched.fault, watched.digest) == ("", "")


def test_a_file_is_read_again_when_it_was_replaced(watched: Watched[Inventory], tmp_path: Path):
    path = tmp_path / "inventory.json"
    path.write_text(text())
    first = watched.read(str(path))
    assert watched.read(str(path)) is first
    digest = watched.digest

    new = tmp_path / "new"
    new.write_text(text().replace('"sst"', '"two"'))
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.replace(path)
    assert watched.read(str(path)).fleet == "two"
    assert watched.digest != digest

    path.unlink()
    assert watched.read(str(path)) == Inventory()


@pytest.mark.parametrize("broken", ["{", '{"version": 9}'])
def test_what_cannot_be_read_leaves_the_last_good_value(
    broken: str, watched: Watched[Inventory], tmp_path: Path
):
    path = tmp_path / "inventory.json"
    path.write_text(text())
    good = watched.read(str(path))
    path.write_text(broken)
    assert watched.read(str(path)) is good
    assert str(path) in watched.fault
    path.write_text(text())
    assert watched.read(str(path)) == good
    assert watched.fault == ""
