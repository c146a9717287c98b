"""Strangers: processes on ports of the fleet, workers that nobody declared; named, never ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from dask_fleet.checks.network import worker_findings
from dask_fleet.command import Command, Outcome
from dask_fleet.errors import FleetError, PortHeldError, UnreachableHostError
from dask_fleet.inventory import Stranger, undeclared_workers
from dask_fleet.observed import ForeignContainer, HostObserved, Listener, ProcessRecord
from dask_fleet.observer import HostAccess, Sight
from dask_fleet.ports import PortInTheWay, unexplained
from dask_fleet.strangers import held_ports, strangers
from tests.unit.simulator import HOST, PLACES, RUNTIME, SimulatedHost
from tests.unit.test_registration import LAYOUT, SECOND, WORKER, cluster

SCHEDULER, WORKERS = "dask-scheduler", "dask-workers-default"
NGINX = "7\t40\t40\t/srv\tnginx: master \n"


def seen(*listeners: Listener, alive: tuple[str, ...] = ()) -> HostObserved:
    records = {
        name: ProcessRecord(name, name, "any", 70, 0.0, 0, "d", {}, alive=name in alive)
        for name in (SCHEDULER, WORKERS, WORKER.name, SECOND.name)
    }
    return replace(SimulatedHost().observe(), listeners=listeners, records=records)


@pytest.mark.parametrize(
    ("listener", "alive", "expected"),
    [
        (Listener("127.0.0.1", 22, 7), (), ()),
        (Listener("127.0.0.1", 8787, 7), (), ((SCHEDULER, 8787),)),
        (Listener("0.0.0.0", 9021, 7), (), ((WORKERS, 9021),)),
        (Listener("127.0.0.2", 9021, 7), (), ()),  # another address is in nobody's way
        (Listener("127.0.0.1", 9021, 7), (SECOND.name,), ()),  # its own
        (Listener("127.0.0.1", 9021, 7), (WORKER.name,), ((WORKERS, 9021),)),
        # The nanny's, whose worker has just died: the holder's group tells.
        (Listener("127.0.0.1", 9011, 7), (WORKERS, SECOND.name), ((WORKERS, 9011),)),
    ],
)
def test_sockets_that_no_living_process_explains(
    listener: Listener, alive: tuple[str, ...], expected: tuple[tuple[str, int], ...]
):
    found = unexplained(LAYOUT, {HOST: seen(listener, alive=alive)})
    assert found == tuple(PortInTheWay(HOST, unit, port, 7) for unit, port in expected)


class Fake:
    """A transport that knows who holds sockets, and nothing else."""

    def __init__(self, said: str | FleetError) -> None:
        self.host = HOST
        self.said = said
        self.asked = 0

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        assert check
        self.asked += 1
        assert b"/fd" in command.stdin
        if isinstance(self.said, FleetError):
            raise self.said
        return Outcome(0, self.said, "")


def access(fake: Fake) -> Mapping[str, HostAccess]:
    return {HOST: HostAccess(fake, RUNTIME, PLACES)}  # type: ignore[arg-type]


def find(fake: Fake, host: HostObserved) -> tuple[Stranger, ...]:
    return asyncio.run(strangers(access(fake), LAYOUT, {HOST: host}, None))


def test_a_process_on_a_port_is_named():
    (one,) = find(Fake(NGINX), seen(Listener("0.0.0.0", 9021, 7)))
    assert (one.kind, one.host, one.port, one.pid) == ("process", HOST, 9021, 40)
    assert one.name == "nginx: master"
    assert one.fault == f"port 9021, which {WORKERS} needs, is held by `nginx: master` (pid 40)"


def test_what_the_fleet_itself_holds_is_no_stranger():
    own = "7\t71\t70\t/srv\tdask worker\n"  # in the group of the unit, whose pid is 70
    fake = Fake(own)
    assert find(fake, seen(Listener("127.0.0.1", 9011, 7), alive=(WORKERS, SECOND.name))) == ()
    assert fake.asked == 1


def test_nobody_is_asked_while_every_process_has_its_ports():
    listeners = [Listener("127.0.0.1", port, port) for port in (8786, 8787, 9010, 9011, 9012)]
    fake = Fake(NGINX)
    assert find(fake, seen(*listeners, alive=(SCHEDULER, WORKERS, WORKER.name))) == ()
    assert fake.asked == 0


def test_a_container_that_is_not_the_fleets_is_named_once_with_its_ports():
    proxy = "docker-proxy -host-port 9 -container-ip 172.18.0.9 -container-port 9"
    held = "".join(f"{inode}\t{inode}\t{inode}\t/\t{proxy}\n" for inode in (21, 22, 23))
    listeners = [Listener("0.0.0.0", 9021, 21), Listener("::", 9021, 22), Listener("::", 9022, 23)]
    host = seen(*listeners)
    old = ForeignContainer("1", "old", "x:1", "running", "always", 5, addresses=("172.18.0.9",))
    host = replace(host, runtime=replace(host.runtime, foreign=(old,)))
    (one,) = find(Fake(held), host)
    assert (one.name, one.pid, one.port) == ("old", 5, 9021)
    assert one.fault == f"container old (image x:1) has port 9021, 9022, which {WORKERS} needs"


def test_a_host_that_does_not_tell_is_no_reason_to_fail():
    fake = Fake(UnreachableHostError(HOST, "the connection was lost"))
    (one,) = find(fake, seen(Listener("0.0.0.0", 9021, 7)))
    assert one.fault == f"who holds its ports is not known: {HOST}: the connection was lost"


@pytest.mark.parametrize(
    ("in_the_way", "alive"),
    [
        ([PortInTheWay(HOST, WORKERS, 9021, 7)], (WORKER.name, SECOND.name)),
        ([], (WORKERS, WORKER.name)),  # its unit is between two ends, and nothing is planned for it
    ],
)
def test_a_held_port_is_the_failure_of_its_host_alone(
    in_the_way: list[PortInTheWay], alive: tuple[str, ...]
):
    host = seen(Listener("0.0.0.0", 9021, 7), alive=alive)
    failures = asyncio.run(held_ports(access(Fake(NGINX)), LAYOUT, in_the_way, {HOST: host}, {}))
    assert isinstance(failures[HOST], PortHeldError)
    assert "nginx: master" in failures[HOST].message
    before = Sight({HOST: host, "vm-2": host}, {"vm-3": UnreachableHostError("vm-3", "away")})
    after = before.without(failures)
    assert set(after.hosts) == {"vm-2"}
    assert set(after.failures) == {HOST, "vm-3"}


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        (WORKER, None),
        (
            replace(WORKER, name="by-hand", address="tcp://127.0.0.1:4000"),
            (HOST, 4000, "worker by-hand at tcp://127.0.0.1:4000 is registered, and not declared"),
        ),
        (
            replace(WORKER, name="by-hand", address="tls://[fd00::9]:4000"),
            ("", 4000, "worker by-hand at tls://[fd00::9]:4000 is registered, and not declared"),
        ),
        (
            replace(WORKER, address="tcp://10.0.0.9:9010"),
            (
                "",
                9010,
                "worker dask-worker-0001 is registered from tcp://10.0.0.9:9010,"
                " declared is 127.0.0.1",
            ),
        ),
        (replace(WORKER, address="inproc://one"), None),  # what has no address is compared by name
    ],
)
def test_workers_that_nobody_declared(worker: object, expected: tuple[str, int | None, str] | None):
    there = cluster(worker, SECOND)  # type: ignore[arg-type]
    found = [(one.host, one.port, one.fault) for one in undeclared_workers(LAYOUT, there)]
    assert found == ([expected] if expected else [])
    findings = list(worker_findings(LAYOUT, there))
    assert [one.fault for one in findings] == [fault for _, _, fault in found]
    assert all(one.severity == "warning" and one.place and one.remedy for one in findings)


def test_a_scheduler_that_does_not_answer_lists_nobody():
    assert undeclared_workers(LAYOUT, None) == ()
