"""A new image goes host by host while a client computes, and nothing is computed twice.

That nothing is lost when nobody is in the way is in `tests/journeys/docker`. Tests here take up to
a minute: each drains four hosts, one after the other, under a client.
"""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

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
from tests.containers.conftest import CONTAINED
from tests.vms.layers import IMAGE
from tests.vms.operator import Operator, all_run, eventually

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

UNIT = "dask-fleet.sst.dask-workers-default"
# A cordon that nobody renews would end after 90 s.
FIRST = CONTAINED + "config: {fleet.drain.kept: 20s}\n"


@pytest.fixture(scope="module")
def fleet(operator: Operator) -> Operator:
    """The fleet; after each test its workers have another image, and the scheduler has not."""
    operator.write(FIRST)
    operator.call("up", "--yes", "--all-at-once")
    return operator


@pytest.fixture
def following(lab: Lab, fleet: Operator) -> str:
    """Declare an image that all hosts have and no container has; return its name."""
    name = f"example.org/next:{uuid.uuid4().hex[:8]}"
    build = f"printf 'FROM {IMAGE}\nENV NEXT={name}\n' | docker build -q -t {name} -"
    lab.each(lambda host: host.run(f"DOCKER_BUILDKIT=0; export DOCKER_BUILDKIT; {build}"))
    fleet.write(FIRST.replace(IMAGE, name))
    return name


@pytest.fixture
def standing(fleet: Operator) -> Operator:
    """The fleet, with nothing left to do."""
    fleet.write(FIRST)
    fleet.call("up", "--yes", "--all-at-once")
    return fleet


@pytest.fixture
def client(lab: Lab, fleet: Operator) -> Iterator[Client]:
    """A client that computes on all workers."""
    if not all_run(fleet.rows()):
        fleet.write(FIRST)
        fleet.call("up", "--yes", "--all-at-once")
    with computing(lab) as client:
        yield client


def image(host: Host, unit: str = UNIT) -> str:
    """Return the image of a container; empty while it is being replaced and there is none."""
    inspect = ["docker", "inspect", "-f", "{{.Config.Image}}", unit]
    return host.run(inspect, check=False).stdout.strip()


def containers(lab: Lab) -> list[str]:
    return [host.run(["docker", "ps", "-q", "--no-trunc"]).stdout for host in lab.workers]


def test_the_plan_says_what_becomes_of_running_work(fleet: Operator, following: str):
    said = fleet.call("plan", status=2).stdout
    assert "The scheduler is stopped, and with it the work of all its clients" in said
    said = fleet.call("plan", "--keep-scheduler", status=2).stdout
    assert "Workers are replaced host by host" in said
    assert "dask-scheduler" not in said


def test_an_update_that_is_killed_is_gone_on_with(
    lab: Lab, fleet: Operator, client: Client, following: str
):
    process = fleet.begin("up", "--yes", "--keep-scheduler")
    try:
        eventually("the second host", lambda: image(lab.workers[1]) == following, 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert image(lab.workers[3]) != following
    client.until_further()
    with watching() as watch:
        fleet.call("up", "--yes", "--keep-scheduler", timeout=300)
    assert [image(host) for host in lab.workers] == [following] * 4
    assert min(watch.seen) >= 3
    client.until_further()
    nothing_was_lost(client)


def test_a_worker_that_cannot_be_drained_in_time_goes_on(
    lab: Lab, fleet: Operator, client: Client, following: str
):
    before = containers(lab)
    client.tell("stubborn")
    client.until_further()
    said = fleet.call("up", "--yes", "--keep-scheduler", "--drain", "4", status=12).stderr
    assert "dask-worker-0001: its workers were not drained in time" in said
    assert "dask-worker-0001 computes stubborn-" in said
    assert "not begun, and as before: dask-worker-[0002-0004]" in said
    assert containers(lab) == before
    eventually("all go on", lambda: set(statuses().values()) == {"running"}, 20)
    client.until_further()
    client.tell("release")
    fleet.call("up", "--yes", "--keep-scheduler", timeout=300)
    assert [image(host) for host in lab.workers] == [following] * 4
    nothing_was_lost(client)


def test_a_cordon_that_nobody_renews_ends_by_itself(
    lab: Lab, fleet: Operator, client: Client, following: str
):
    client.tell("stubborn")
    client.until_further()
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
    fleet.write(FIRST.replace(IMAGE, "example.org/xcube:3"))
    said = fleet.call("up", "--yes", "--keep-scheduler", status=None)
    assert said.returncode not in (0, 2)
    assert "dask-worker-0001: the image example.org/xcube:3 could not be pulled" in said.stderr
    assert "not begun, and as before: dask-worker-[0001-0004]" in said.stderr
    assert containers(lab) == before
    nothing_was_lost(client)


def test_a_rolling_restart_loses_nothing(lab: Lab, standing: Operator, client: Client):
    with watching() as watch:
        standing.call("restart", "--rolling", "--yes", timeout=300)
    assert watch.seen == {3, 4}
    client.until_further()
    nothing_was_lost(client)
    assert lab.scheduler.run(["docker", "ps", "-qf", f"name={SCHEDULER}"]).stdout
