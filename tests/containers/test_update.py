"""A new image goes host by host while a client computes, and nothing is computed twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lab import Host, Lab

from tests.containers.client import (
    SCHEDULER,
    Client,
    computing,
    nothing_was_lost,
    statuses,
    watching,
)
from tests.containers.conftest import CONTAINED, IMAGE
from tests.vms.operator import RIGHT, WORKERS, Operator, eventually

UNIT = "dask-fleet.sst.dask-workers-default"
NEXT = "example.org/xcube:2"
UPDATED = CONTAINED.replace(IMAGE, NEXT)
DERIVE = f"""\
docker image inspect {NEXT} >/dev/null 2>&1 ||
printf 'FROM {IMAGE}\\nRUN ["touch", "/srv-2"]\\n' | DOCKER_BUILDKIT=0 docker build -q -t {NEXT} -
"""
SHORT = "config: {fleet.drain.kept: 10s}\n"
"""A cordon that nobody renews ends after 90 s without it."""


@pytest.fixture(scope="module")
def fleet(lab: Lab, operator: Operator) -> Iterator[Operator]:
    """The fleet, on hosts that have the next image too: it has one small layer more."""
    lab.each(lambda host: host.run(DERIVE, timeout=120))
    yield operator
    operator.write(CONTAINED)
    operator.call("up", "--yes", "--all-at-once")


@pytest.fixture
def client(lab: Lab, fleet: Operator) -> Iterator[Client]:
    """A client that computes on the fleet with the first image."""
    with computing_on(lab, fleet, CONTAINED) as client:
        yield client


@contextmanager
def computing_on(lab: Lab, fleet: Operator, declared: str) -> Iterator[Client]:
    fleet.write(declared)
    fleet.call("up", "--yes", "--all-at-once")
    with computing(lab) as client:
        yield client


def image(host: Host, unit: str = UNIT) -> str:
    """Return the image of a container; empty while it is being replaced and there is none."""
    inspect = ["docker", "inspect", "-f", "{{.Config.Image}}", unit]
    return host.run(inspect, check=False).stdout.strip()


def containers(lab: Lab) -> list[str]:
    return [host.run(["docker", "ps", "-q", "--no-trunc"]).stdout for host in lab.workers]


def test_the_plan_says_what_becomes_of_running_work(fleet: Operator):
    fleet.write(CONTAINED)
    fleet.call("up", "--yes", "--all-at-once")
    fleet.write(UPDATED)
    said = fleet.call("plan", status=2).stdout
    assert "The scheduler is stopped, and with it the work of all its clients" in said
    said = fleet.call("plan", "--keep-scheduler", status=2).stdout
    assert "Workers are replaced host by host" in said
    assert "dask-scheduler" not in said


def test_an_update_while_a_client_computes(lab: Lab, fleet: Operator, client: Client):
    before = containers(lab)
    scheduler = lab.scheduler.run(["docker", "ps", "-q"]).stdout
    fleet.write(UPDATED)
    with watching() as watch:
        said = fleet.call("up", "--yes", "--keep-scheduler", timeout=300).stdout
    assert [image(host) for host in lab.workers] == [NEXT] * 4
    assert set(before).isdisjoint(containers(lab))
    assert lab.scheduler.run(["docker", "ps", "-q"]).stdout == scheduler
    for name in WORKERS:
        assert f"drain workers on {name}" in said
    assert watch.seen == {3, 4}
    client.until_further()
    nothing_was_lost(client)
    assert fleet.compute() == RIGHT
    # The scheduler still has to be replaced, and a plan goes on saying so.
    assert fleet.plan()["interrupts"]
    assert {one["subject"] for one in fleet.plan()["changes"]} >= {"dask-scheduler"}


def test_an_update_that_is_killed_is_gone_on_with(lab: Lab, fleet: Operator, client: Client):
    fleet.write(UPDATED)
    process = fleet.begin("up", "--yes", "--keep-scheduler")
    try:
        eventually("the second host", lambda: image(lab.workers[1]) == NEXT, 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert image(lab.workers[3]) == IMAGE
    client.until_further()
    with watching() as watch:
        fleet.call("up", "--yes", "--keep-scheduler", timeout=300)
    assert [image(host) for host in lab.workers] == [NEXT] * 4
    assert min(watch.seen) >= 3
    client.until_further()
    nothing_was_lost(client)


def test_a_worker_that_cannot_be_drained_in_time_goes_on(lab: Lab, fleet: Operator, client: Client):
    before = containers(lab)
    client.tell("stubborn")
    client.until_further()
    fleet.write(UPDATED)
    said = fleet.call("up", "--yes", "--keep-scheduler", "--drain", "4", status=12).stderr
    assert "dask-worker-0001: its workers were not drained in time" in said
    assert "dask-worker-0001 computes stubborn-" in said
    assert "not begun, and as before: dask-worker-[0002-0004]" in said
    assert containers(lab) == before
    eventually("all go on", lambda: set(statuses().values()) == {"running"}, 20)
    client.until_further()
    client.tell("release")
    fleet.call("up", "--yes", "--keep-scheduler", timeout=300)
    assert [image(host) for host in lab.workers] == [NEXT] * 4
    nothing_was_lost(client)


def test_a_cordon_that_nobody_renews_ends_by_itself(lab: Lab, fleet: Operator):
    with computing_on(lab, fleet, CONTAINED + SHORT) as client:
        client.tell("stubborn")
        client.until_further()
        fleet.write(UPDATED + SHORT)
        process = fleet.begin("up", "--yes", "--keep-scheduler")
        try:
            eventually(
                "it is cordoned", lambda: statuses()["dask-worker-0001"] == "closing_gracefully", 60
            )
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
        asks = "pkill -KILL -f '[l]auncher/drain.py' || :"
        lab.scheduler.run(asks)
        eventually("it goes on", lambda: set(statuses().values()) == {"running"}, 120)
        client.tell("release")
        client.until_further()
        nothing_was_lost(client)


def test_an_image_that_one_host_lacks_touches_no_host(lab: Lab, fleet: Operator, client: Client):
    before = containers(lab)
    lab.workers[2].run(["docker", "tag", IMAGE, "example.org/xcube:3"])
    lab.workers[3].run(["docker", "tag", IMAGE, "example.org/xcube:3"])
    fleet.write(CONTAINED.replace(IMAGE, "example.org/xcube:3"))
    said = fleet.call("up", "--yes", "--keep-scheduler", status=None)
    assert said.returncode not in (0, 2)
    assert "dask-worker-0001: the image example.org/xcube:3 could not be pulled" in said.stderr
    assert "not begun, and as before: dask-worker-[0001-0004]" in said.stderr
    assert containers(lab) == before
    nothing_was_lost(client)


def test_a_rolling_restart_loses_nothing(lab: Lab, fleet: Operator, client: Client):
    with watching() as watch:
        fleet.call("restart", "--rolling", "--yes", timeout=300)
    assert watch.seen == {3, 4}
    client.until_further()
    nothing_was_lost(client)
    assert lab.scheduler.run(["docker", "ps", "-qf", f"name={SCHEDULER}"]).stdout
