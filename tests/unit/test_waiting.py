"""Waiting for the scheduler to list every worker, while hosts cease to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from dask_fleet import waiting
from dask_fleet.actions import Plan
from dask_fleet.errors import UnreachableHostError
from dask_fleet.events import Registered
from dask_fleet.layout import lay_out
from dask_fleet.observed import (
    HostObserved,
    ProcessRecord,
    RegisteredWorker,
    RuntimeObserved,
    SchedulerObserved,
)
from dask_fleet.observer import Sight
from dask_fleet.spec import parse
from tests.unit.test_checks import record

LAYOUT = lay_out(
    parse(
        """\
name: sst
hosts:
  sched: {address: 10.0.0.1}
  w[1-2]: {address: "10.0.0.[11-12]"}
scheduler: {host: sched}
workers:
  default: {hosts: ["w[1-2]"], memory_limit: 4 GiB, per_host: 1}
""",
        {},
    )
)
HOSTS = frozenset(LAYOUT.hosts)
ONE, TWO = LAYOUT.workers


class FakeFleet:
    """Hosts of which some do not answer looks, and a scheduler that lists some workers."""

    layout = LAYOUT

    def __init__(self, *silent: str, listed: Iterable[str] = ("w1", "w2")) -> None:
        self.silent = [frozenset(names.split()) for names in silent]
        self.listed = set(listed)

    async def cluster(self) -> SchedulerObserved:
        workers = {
            one.name: RegisteredWorker(
                name=one.name,
                address=f"tcp://{one.contact}:{one.port}",
                nanny=f"tcp://{one.contact}:{one.nanny_port}",
                dashboard_port=one.dashboard_port,
                nthreads=1,
                status="running",
            )
            for one in LAYOUT.workers
            if one.host in self.listed
        }
        return SchedulerObserved("tcp://10.0.0.1:8786", 8787, workers)

    async def look(self, *, brief: bool) -> Sight:
        """Look; the last of what was given goes on."""
        assert brief
        silent = self.silent.pop(0) if len(self.silent) > 1 else self.silent[0]
        hosts = {name: seen(name) for name in HOSTS - silent}
        return Sight(hosts, {name: UnreachableHostError(name, "refused") for name in silent})

    async def plan_from(self, sight: Sight) -> Plan:
        assert sight.hosts
        return Plan()


def seen(host: str) -> HostObserved:
    units = {unit.name: record(unit.name) for unit in LAYOUT.units_on(host)}
    return HostObserved(host, {}, True, {}, {}, frozenset(), units, RuntimeObserved(), ())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "_LOOK_SECONDS", 0.0)


def wait(fleet: FakeFleet) -> tuple[set[str], list[Registered]]:
    """Return which hosts were lost on the way, and what was told."""
    told: list[Registered] = []
    lost = asyncio.run(waiting.until_registered(fleet, told.append, 20, HOSTS))  # type: ignore[arg-type]
    return set(lost), told


def test_all_answer():
    lost, told = wait(FakeFleet(""))
    assert not lost
    assert told == [Registered(2, 2, ())]


class Recovering(FakeFleet):
    """A fleet whose scheduler lists a worker of before a power cut, for so many answers."""

    def __init__(self, answers: int) -> None:
        super().__init__("")
        self.answers = answers

    async def cluster(self) -> SchedulerObserved:
        told = await super().cluster()
        self.answers -= 1
        started = 1.0 if self.answers >= 0 else 2.0
        workers = {
            name: replace(worker, started=started if name == ONE.name else 2.0)
            for name, worker in told.workers.items()
        }
        return replace(told, workers=workers)

    async def look(self, *, brief: bool) -> Sight:
        sight = await super().look(brief=brief)
        hosts = dict(sight.hosts)
        for one in LAYOUT.workers:
            own = ProcessRecord(one.name, "u", "worker", 7, 2.0, 0, "d", {}, True)
            records = {**hosts[one.host].records, one.name: own}
            hosts[one.host] = replace(hosts[one.host], records=records)
        return Sight(hosts, sight.failures)


def test_a_worker_that_was_there_before_does_not_count():
    fleet = Recovering(20)
    assert wait(fleet)[0] == set()
    assert fleet.answers < 0


def test_a_host_that_misses_one_look_still_counts():
    assert wait(FakeFleet("w1", "")) == (set(), [Registered(2, 2, ())])
    assert wait(FakeFleet("w1", "w2", ""))[0] == set()


def test_a_host_that_ceases_to_answer_is_left_out_though_its_worker_is_listed():
    assert wait(FakeFleet("w1"))[0] == {"w1"}


def test_a_host_that_ceases_to_answer_before_its_worker_is_listed_does_not_hold_up_the_others():
    lost, told = wait(FakeFleet("w2", listed=["w1"]))
    assert lost == {"w2"}
    assert told == [Registered(1, 2, (TWO.name,)), Registered(1, 1, ())]


def test_nothing_can_be_known_without_the_host_of_the_scheduler():
    with pytest.raises(UnreachableHostError, match="sched: refused"):
        wait(FakeFleet("sched"))
