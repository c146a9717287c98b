"""The history: what is written when something begins and ends, and how it is read again."""

from __future__ import annotations

import asyncio
import getpass
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from dask_fleet.actions import Change as Line
from dask_fleet.actions import Plan, RemoveFleet, UpdateUnits, WriteFiles
from dask_fleet.command import Command, Outcome
from dask_fleet.errors import CommandFailedError, FleetError
from dask_fleet.history import Change, Entry, History, recorded
from dask_fleet.observer import HostAccess
from dask_fleet.places import Places
from dask_fleet.planner import plan_down
from dask_fleet.runtimes.base import Runtime
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.transports.base import Transport
from tests.unit.simulator import HOST, RUNTIME, up

KEPT = 1000


class Shell:
    """A transport that runs commands at once, in a shell here; ``full`` is a disk without room."""

    host = "head"

    def __init__(self) -> None:
        self.full = False

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        assert check
        if self.full:
            raise CommandFailedError(self.host, str(command), 1, "No space left on device")
        done = subprocess.run(command.argv, input=command.stdin, capture_output=True, check=True)
        return Outcome(0, done.stdout.decode(), "")


class Host:
    """A host's history in a folder of the test."""

    def __init__(self, folder: Path, runtime: Runtime = RUNTIME) -> None:
        self.shell = Shell()
        places = Places.below(str(folder), str(folder), "sst")
        self.access = HostAccess(cast("Transport", self.shell), runtime, places)
        self.path = Path(places.history)

    def write(self, *lines: str) -> None:
        for line in lines:
            asyncio.run(History(self.access).write(line))

    def read(self) -> tuple[Change, ...]:
        return asyncio.run(History(self.access).read())

    def record(self, one: Entry, *failures: tuple[str, FleetError]) -> None:
        async def change() -> None:
            async with recorded(self.access, one) as failed:
                failed.update(failures)

        asyncio.run(change())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def entry(identifier: str = "1", **other: Any) -> Entry:
    fields: dict[str, Any] = {
        "time": "2026-01-02T03:04:05+0100",
        "who": "ann@desk",
        "what": "up",
        "spec": "s" * 16,
        "environment": "e" * 16,
        "release": "r" * 16,
        "changes": 3,
    }
    return Entry(identifier, **(fields | other))


def said(changes: Sequence[Change]) -> list[tuple[str, str, float, str]]:
    return [(one.entry.identifier, one.result, one.seconds, one.fault) for one in changes]


def test_an_entry_of_now_counts_the_lines_of_the_plan():
    lines = tuple(Line("h", "start", "x", "y") for _ in range(4))
    acts = (WriteFiles("h", ()), UpdateUnits("h", ("x",))), (UpdateUnits("i", ("x",)),)
    one, two = (Entry.begin("up", "s", "e", "r", Plan(lines, acts), ("h*",)) for _ in range(2))
    assert (one.hosts, one.limit) == (("h", "i"), ("h*",))
    assert (one.what, one.spec, one.environment, one.release, one.changes) == (
        "up",
        "s",
        "e",
        "r",
        4,
    )
    assert one.who.count("@") >= 1
    assert one.identifier != two.identifier
    assert json.loads(one.line("begun"))["result"] == "begun"


def test_it_outlives_the_directory_of_the_fleet():
    places = Places.below("/var/state", "/var/data", "sst")
    assert places.history == f"{places.state}.history.jsonl"
    plan = plan_down({HOST: up().observe()}, {HOST: RUNTIME}, {HOST: places})
    actions = [action for phase in plan.phases for action in phase]
    (removed,) = [one.paths for one in actions if isinstance(one, RemoveFleet)]
    assert places.state in removed
    assert places.history not in removed


def test_a_host_without_a_history_has_none(host: Host):
    assert host.read() == ()


def test_what_began_and_ended_is_one_change(host: Host):
    one = entry("1", hosts=("head", "vm-1"), limit=("head", "vm-*"))
    two = entry("2", what="restart", changes=1)
    host.write(one.line("begun"), one.line("done", 12.34))
    host.write(two.line("begun"), two.line("failed", 5, "vm-2: it broke"))
    assert host.read() == (
        Change(one, "done", 12.3, ""),
        Change(two, "failed", 5, "vm-2: it broke"),
    )
    assert host.path.stat().st_mode & 0o077 == 0


def test_what_never_ended_was_broken_off(host: Host):
    host.write(entry("1").line("begun"), entry("2").line("begun"), entry("2").line("done", 1))
    assert said(host.read()) == [("1", "broken off", 0, ""), ("2", "done", 1, "")]


CUT = entry("2").line("begun")


@pytest.mark.parametrize("length", [1, 10, len(CUT) - 2])
def test_a_line_that_a_full_disk_has_cut_is_passed_over_and_swallows_no_other(
    length: int, host: Host
):
    host.write(entry("1").line("done", 2))
    with host.path.open("a", encoding="utf-8") as stream:
        stream.write(CUT[:length])
    host.write(entry("3").line("begun"), entry("3").line("done", 4))
    assert said(host.read()) == [("1", "done", 2, ""), ("3", "done", 4, "")]


def test_a_line_that_lacks_nothing_but_its_end_counts(host: Host):
    host.write(CUT.rstrip("\n"))
    host.write(entry("3").line("done", 4))
    assert said(host.read()) == [("2", "broken off", 0, ""), ("3", "done", 4, "")]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not JSON",
        "[]",
        "7",
        "null",
        "{}",
        json.dumps({"result": "done", "seconds": 1, "fault": ""}),
        entry("2").line("done").replace('"who"', '"whoever"'),
        entry("2").line("done").replace('"changes": 3', '"changes": 3, "new": 4'),
        entry("2").line("done").replace('"seconds": 0.0', '"seconds": "long"'),
        entry("2").line("done").replace('"seconds": 0.0', '"seconds": null'),
        entry("2").line("done").replace('"hosts": []', '"hosts": 7'),
    ],
)
def test_a_line_that_says_something_else_is_passed_over(host: Host, line: str):
    host.write(entry("1").line("done"))
    with host.path.open("a", encoding="utf-8") as stream:
        stream.write(f"{line.rstrip()}\n")
    host.write(entry("3").line("done"))
    assert [one.entry.identifier for one in host.read()] == ["1", "3"]


def test_only_the_last_lines_are_kept(host: Host):
    host.write(entry("first").line("done"))
    more = "".join(entry(str(number)).line("done") for number in range(2 * KEPT - 1))
    host.path.write_text(host.path.read_text() + more)
    host.write(entry("last").line("done"))
    found = [one.entry.identifier for one in host.read()]
    assert (len(found), found[-1]) == (KEPT, "last")
    assert "first" not in found


def test_a_change_that_ends_well(host: Host):
    host.record(entry())
    ((identifier, result, seconds, fault),) = said(host.read())
    assert (identifier, result, fault) == ("1", "done", "")
    assert seconds >= 0
    lines = [json.loads(line)["result"] for line in host.path.read_text().splitlines()]
    assert lines == ["begun", "done"]


def test_failures_of_hosts_are_named_with_their_first_lines(host: Host):
    failures = [("a", FleetError("a: it broke\nand more")), ("b", FleetError("b: gone"))]
    host.record(entry(), *failures)
    assert [(one.result, one.fault) for one in host.read()] == [("failed", "a: it broke; b: gone")]


def test_a_change_that_fails_as_a_whole_says_so_and_goes_on_failing(host: Host):
    async def change() -> None:
        async with recorded(host.access, entry()):
            raise FleetError("the deadline has passed\nlogs", "wait longer")

    with pytest.raises(FleetError, match="the deadline has passed"):
        asyncio.run(change())
    assert [(one.result, one.fault) for one in host.read()] == [
        ("failed", "the deadline has passed")
    ]


def test_a_change_that_is_cancelled_was_broken_off(host: Host):
    async def change() -> None:
        async with recorded(host.access, entry()):
            await asyncio.sleep(0)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(change())
    assert [one.result for one in host.read()] == ["broken off"]


def test_a_history_that_cannot_be_written_is_not_passed_over_in_silence(host: Host):
    host.shell.full = True
    with pytest.raises(CommandFailedError, match="write the history"):
        host.record(entry())


@pytest.mark.parametrize(
    ("runtime", "mode"),
    [
        (RUNTIME, 0o600),
        (SystemdRuntime("sst", getpass.getuser()), 0o640),
        # Before the first `up` the user is not there.
        (SystemdRuntime("sst", "nobody-has-this-name"), 0o600),
    ],
    ids=["the operator's own", "of another user", "of a user to come"],
)
def test_who_units_run_as_may_read_it(runtime: Runtime, mode: int, tmp_path: Path):
    host = Host(tmp_path, runtime)
    host.write(entry().line("begun"), entry().line("done", 1))
    assert host.path.stat().st_mode & 0o777 == mode
    assert len(host.read()) == 1
