"""The executor: order, journal, and one host's failure that is its own."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator

import pytest

from dask_fleet.actions import (
    Action,
    Plan,
    RemoveFleet,
    RestartUnits,
    StartRuntime,
    StopProcesses,
    StopRuntime,
    UpdateUnits,
    WriteFiles,
)
from dask_fleet.command import Command, Outcome
from dask_fleet.errors import CommandFailedError, SeveralErrors, UnreachableHostError, together
from dask_fleet.events import ActionDone, ActionFailed, ActionStarted, Event
from dask_fleet.executor import apply
from dask_fleet.observer import HostAccess
from tests.unit.simulator import PLACES, RUNTIME

JOURNAL = "journal"


class Fake:
    """A transport that refuses any command that it was not told of.

    It is told of the commands by words that stand in them, in their order; a word with ``!``
    before it makes that command fail.
    """

    def __init__(self, host: str, *told: str) -> None:
        self.host = host
        self.told = list(told)
        self.journal: list[tuple[str, str]] = []
        self.full = False

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        assert check
        await asyncio.sleep(0)
        argv = command.argv
        if JOURNAL in argv:
            if self.full:
                raise CommandFailedError(self.host, JOURNAL, 1, "No space left on device")
            assert argv[4] == PLACES.journal
            begin, done, *argv = argv[5:]
            self._note(begin)
        else:
            done = ""
        text = f"{shlex.join(argv)} {command.stdin.decode()}"
        assert self.told, f"{self.host} was not told of {text}"
        word = self.told.pop(0)
        assert word.lstrip("!") in text
        if word.startswith("!"):
            raise CommandFailedError(self.host, word, 1, "it broke")
        if done:
            self._note(done)
        return Outcome(0, "", "")

    def _note(self, line: str) -> None:
        entry = json.loads("{" + line)
        self.journal.append((entry["what"], entry["action"]))

    def lines(self, command: Command) -> AsyncIterator[str]:
        raise AssertionError(f"{self.host} was not told of {command}")

    async def reach(self, address: str, port: int) -> tuple[str, int]:
        raise AssertionError((self.host, address, port))

    async def close(self) -> None:
        return None


def go(plan: Plan, *transports: Fake) -> list[Event]:
    events: list[Event] = []
    hosts = {one.host: HostAccess(one, RUNTIME, PLACES) for one in transports}
    try:
        failed = asyncio.run(apply(plan, hosts, events.append))
        if failed:
            raise together(failed.values())
    finally:
        for one in transports:
            assert one.told == [], f"{one.host} was not asked for {one.told}"
    return events


def phases(*every: list[Action]) -> Plan:
    return Plan((), tuple(tuple(phase) for phase in every))


@pytest.mark.parametrize(
    ("action", "word"),
    [
        (WriteFiles("a", (), ("/x/gone",)), "/x/gone"),
        (StopProcesses("a", (("unit", 4711),)), "4711"),
        (StartRuntime("a", "supervisor", ("u",)), "supervisor.supervisord"),
        (StopRuntime("a", "supervisor"), "kill -TERM"),
        (UpdateUnits("a", ("u",)), "control update"),
        (RestartUnits("a", ("u",)), "restart u"),
        (RemoveFleet("a", ("/x/a b", "/y")), "'/x/a b' /y rm -rf"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_action_is_one_command(action: Action, word: str):
    events = go(phases([action]), Fake("a", word))
    assert [type(event) for event in events] == [ActionStarted, ActionDone]
    assert {event.text for event in events} == {str(action)}  # type: ignore[union-attr]


def test_what_is_done_is_written_down_before_and_after():
    fake = Fake("a", "restart u")
    go(phases([RestartUnits("a", ("u",))]), fake)
    assert fake.journal == [("begin", "restart u"), ("done", "restart u")]


def test_what_failed_was_begun_and_not_done():
    fake = Fake("a", "!restart u")
    with pytest.raises(CommandFailedError, match="it broke"):
        go(phases([RestartUnits("a", ("u",))]), fake)
    assert fake.journal == [("begin", "restart u")]


def test_a_full_disk_does_not_keep_a_fleet_from_going_down():
    fake = Fake("a", "kill -TERM", "4711", "rm -rf")
    fake.full = True
    stop = [StopRuntime("a", "supervisor"), StopProcesses("a", (("u", 4711),))]
    go(phases([*stop], [RemoveFleet("a", ("/x",))]), fake)
    with pytest.raises(CommandFailedError, match="No space left"):
        go(phases([RestartUnits("a", ("u",))]), fake)


def test_actions_of_a_host_run_in_order_and_end_with_the_first_failure():
    events: list[Event] = []
    fake = Fake("a", "restart one", "!restart two")
    plan = phases([RestartUnits("a", (name,)) for name in ("one", "two", "three")])
    failed = asyncio.run(apply(plan, {"a": HostAccess(fake, RUNTIME, PLACES)}, events.append))
    assert isinstance(failed["a"], CommandFailedError)
    assert [type(event) for event in events] == [
        ActionStarted,
        ActionDone,
        ActionStarted,
        ActionFailed,
    ]
    assert fake.told == []


def test_a_host_that_fails_is_left_out_and_the_others_go_on():
    bad, good = Fake("bad", "!gone"), Fake("good", "gone", "supervisor.supervisord")
    plan = phases(
        [WriteFiles("bad", (), ("/gone",)), WriteFiles("good", (), ("/gone",))],
        [StartRuntime("bad", "s", ()), StartRuntime("good", "s", ())],
    )
    with pytest.raises(CommandFailedError) as caught:
        go(plan, bad, good)
    assert caught.value.host == "bad"


def test_every_failure_is_reported():
    class Unreachable(Fake):
        async def run(self, command: Command, *, check: bool = True) -> Outcome:
            raise UnreachableHostError(self.host, "no route", "see whether it runs")

    fakes = [Fake("one", "!restart u"), Unreachable("two"), Fake("three", "restart u")]
    plan = phases([RestartUnits(fake.host, ("u",)) for fake in fakes])
    with pytest.raises(SeveralErrors) as caught:
        go(plan, *fakes)
    assert [type(error) for error in caught.value.errors] == [
        CommandFailedError,
        UnreachableHostError,
    ]
    assert "two: no route" in str(caught.value)
    assert caught.value.exit_code == 1


def test_hosts_of_a_phase_run_at_once():
    arrived: set[str] = set()

    class Meeting(Fake):
        async def run(self, command: Command, *, check: bool = True) -> Outcome:
            arrived.add(self.host)
            while len(arrived) < 3:  # pytest-timeout is the deadline
                await asyncio.sleep(0)
            return Outcome(0, "", "")

    fakes = [Meeting(name) for name in "abc"]
    go(phases([RestartUnits(fake.host, ("u",)) for fake in fakes]), *fakes)
    assert arrived == set("abc")


def test_an_empty_plan_asks_nobody():
    assert go(Plan(), Fake("a")) == []
