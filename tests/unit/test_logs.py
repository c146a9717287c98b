"""Logs of several hosts, merged; one host's failure is its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from dask_fleet import logs
from dask_fleet.command import Command, Outcome
from dask_fleet.errors import FleetError, SeveralErrors, UnreachableHostError
from dask_fleet.fleet import Fleet
from dask_fleet.layout import Layout, lay_out
from dask_fleet.observer import HostAccess
from dask_fleet.places import Places
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.spec import parse

LAYOUT = lay_out(
    parse(
        """\
name: sst
hosts:
  vm-s: {address: 10.0.0.1}
  vm-w: {address: 10.0.0.2}
scheduler: {host: vm-s}
workers:
  default: {hosts: [vm-w], nthreads: 1, memory_limit: 1 GiB, per_host: 1}
  big: {hosts: [vm-w], nthreads: 1, memory_limit: 1 GiB, per_host: 1, prefix: big,
        ports: {worker: 9210, nanny: 9211, dashboard: 9212}}
""",
        {},
    )
)


def entry(unit: str, text: str, position: str = "") -> str:
    service = f"dask-fleet.sst.{unit}.service"
    return json.dumps({"UNIT": service, "MESSAGE": text, "__CURSOR": position})


class Fake:
    """A transport that answers each command that prints a log with the next of its answers."""

    def __init__(self, host: str, *answers: list[str] | FleetError) -> None:
        self.host = host
        self.answers = list(answers)
        self.asked: list[tuple[str, ...]] = []

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        assert check
        assert command.argv == ("true",)
        if self.answers and isinstance(self.answers[0], FleetError):
            raise cast("FleetError", self.answers.pop(0))
        return Outcome(0, "", "")

    async def lines(self, command: Command) -> AsyncIterator[str]:
        self.asked.append(command.argv[3:])
        answer = self.answers.pop(0) if self.answers else []
        for line in answer if isinstance(answer, list) else ():
            yield line
        if isinstance(answer, FleetError):
            raise answer
        if self.answers:
            raise UnreachableHostError(self.host, "the connection was lost")
        if command.argv[3] == "follow":
            await asyncio.Event().wait()  # it goes on and says nothing


class Declared:
    """What `merged` needs of a fleet."""

    def __init__(self, layout: Layout, *fakes: Fake) -> None:
        self.layout = layout
        places = Places.below("/var/lib/dask-fleet", "/var/lib/dask-fleet", "sst")
        self.hosts = {
            fake.host: HostAccess(cast("Any", fake), SystemdRuntime("sst"), places)
            for fake in fakes
        }

    def check_names(self, names: frozenset[str]) -> None:
        assert names <= {unit.name for unit in self.layout.units} | {"dask-worker-0001"}


def read(
    *fakes: Fake,
    names: frozenset[str] = frozenset(),
    follow: bool = False,
    count: int = 1000,
    layout: Layout = LAYOUT,
) -> tuple[list[str], FleetError | None]:
    """Return so many lines, and how it ended."""
    found: list[str] = []

    async def whole() -> FleetError | None:
        fleet = cast("Fleet", Declared(layout, *fakes))
        async with aclosing(logs.merged(fleet, names, lines=2, follow=follow)) as lines:  # type: ignore[type-var]
            try:
                async for line in lines:
                    found.append(line)
                    if len(found) == count:
                        return None
            except FleetError as error:
                return error
        return None

    return found, asyncio.run(asyncio.wait_for(whole(), 20))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FIRST_PAUSE", 0.0)


SAID = [entry("dask-scheduler", "dask-scheduler | 2026-11-23T12:00:01.000Z one", "s=1")]
DOWN = UnreachableHostError("vm-w", "no answer")


def test_what_others_say_comes_before_the_failure_of_a_host():
    lines, error = read(Fake("vm-s", SAID), Fake("vm-w", DOWN))
    assert lines == ["dask-scheduler | 2026-11-23T12:00:01.000Z one"]
    assert error is DOWN
    assert error.exit_code == 4


def test_every_host_that_failed_is_named():
    other = UnreachableHostError("vm-s", "no answer")
    lines, error = read(Fake("vm-s", other), Fake("vm-w", DOWN))
    assert lines == []
    assert isinstance(error, SeveralErrors)
    assert (error.errors, error.exit_code) == ((other, DOWN), 4)


def test_one_command_for_all_units_of_a_host_and_lines_keep_their_owners():
    answer = [
        entry("dask-workers-default", "dask-worker-0001 | 2026-11-23T12:00:03.000Z late"),
        entry("dask-workers-default", "without a stamp"),
        entry("dask-workers-big", "big-0001 | 2026-11-23T12:00:00.000Z early"),
        "journalctl: something",
    ]
    fake = Fake("vm-w", answer)
    lines, error = read(Fake("vm-s", SAID), fake)
    assert error is None
    assert lines == [
        "dask-workers-default | without a stamp",
        "vm-w | journalctl: something",
        "big-0001 | 2026-11-23T12:00:00.000Z early",
        "dask-scheduler | 2026-11-23T12:00:01.000Z one",
        "dask-worker-0001 | 2026-11-23T12:00:03.000Z late",
    ]
    ((*_, one, two),) = fake.asked
    assert (one, two) == (
        "--unit=dask-fleet.sst.dask-workers-default.service",
        "--unit=dask-fleet.sst.dask-workers-big.service",
    )
    some, _ = read(Fake("vm-s", SAID), Fake("vm-w", answer), names=frozenset({"dask-worker-0001"}))
    assert some == ["dask-worker-0001 | 2026-11-23T12:00:03.000Z late"]


COMMON = lay_out(
    parse(
        """\
name: sst
hosts:
  vm-s: {address: 10.0.0.1}
  "vm-[1-2]": {address: "10.0.0.[2-3]"}
scheduler: {host: vm-s}
workers:
  default: {hosts: ["vm-[1-2]"], nthreads: 1, memory_limit: 1 GiB}
""",
        {},
    )
)


def test_a_unit_that_several_hosts_have_bears_the_name_of_its_host():
    unit = "dask-workers-default"
    said = [
        entry(unit, f"{unit} | 2026-11-23T12:00:02.000Z what the launcher says"),
        entry(unit, "Started dask-fleet.sst.dask-workers-default.service."),
        entry(unit, "dask-worker-0001 | 2026-11-23T12:00:03.000Z a process's own"),
    ]

    def remade() -> list[Fake]:
        return [Fake("vm-s", SAID), Fake("vm-1", said), Fake("vm-2", said[:2])]

    lines, error = read(*remade(), layout=COMMON)
    assert error is None
    told = "2026-11-23T12:00:02.000Z what the launcher says"
    started = "Started dask-fleet.sst.dask-workers-default.service."
    assert lines == [
        "dask-scheduler | 2026-11-23T12:00:01.000Z one",
        f"{unit}@vm-1 | {told}",
        f"{unit}@vm-1 | {started}",
        f"{unit}@vm-2 | {told}",
        f"{unit}@vm-2 | {started}",
        "dask-worker-0001 | 2026-11-23T12:00:03.000Z a process's own",
    ]
    # They are asked for by the name that all of them share.
    named, _ = read(*remade(), layout=COMMON, names=frozenset({unit}))
    assert named == lines[1:]


@pytest.mark.usefixtures("at_once")
def test_a_host_that_was_away_is_followed_from_where_it_was():
    fake = Fake(
        "vm-w",
        [entry("dask-workers-big", "a", "s=1"), entry("dask-workers-big", "b", "s=2")],
        DOWN,
        DOWN,
        [entry("dask-workers-big", "c", "s=3")],
        DOWN,
    )
    lines, error = read(Fake("vm-s"), fake, follow=True, count=6)
    assert error is None
    assert lines == [
        "dask-workers-big | a",
        "dask-workers-big | b",
        "vm-w | not followed: the connection was lost; it is tried again",
        "vm-w | followed again",
        "dask-workers-big | c",
        "vm-w | not followed: the connection was lost; it is tried again",
    ]
    assert [asked[:3] for asked in fake.asked[:2]] == [("follow", "2", ""), ("follow", "0", "s=2")]


def test_a_line_that_comes_twice_is_yielded_once():
    twice = [entry("dask-workers-big", "a", "s=1"), '{"__CURSOR": "s=0"}']
    twice += [entry("dask-workers-big", "a", "s=1"), entry("dask-workers-big", "b", "s=2")]
    lines, _ = read(Fake("vm-s"), Fake("vm-w", twice), follow=True, count=2)
    assert lines == ["dask-workers-big | a", "dask-workers-big | b"]


@pytest.mark.usefixtures("at_once")
def test_a_host_that_is_down_from_the_beginning_does_not_end_the_others():
    fake = Fake("vm-s", SAID)
    lines, error = read(fake, Fake("vm-w", DOWN), follow=True, count=3)
    assert error is None
    assert set(lines) == {
        "dask-scheduler | 2026-11-23T12:00:01.000Z one",
        "vm-w | not followed: no answer; it is tried again",
        "vm-w | followed again",
    }


def test_nothing_is_followed_when_no_host_was_ever_reached():
    _, error = read(Fake("vm-s", *[DOWN] * 3), Fake("vm-w", *[DOWN] * 3), follow=True)
    assert error is not None
    assert error.exit_code == 4


def test_what_goes_wrong_in_following_is_not_lost():
    class Broken(Fake):
        async def run(self, command: Command, *, check: bool = True) -> Outcome:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read(Fake("vm-s"), Broken("vm-w"), follow=True)
