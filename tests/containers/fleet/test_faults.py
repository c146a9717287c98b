"""Faults of a fleet of containers: what comes back without a hand.

That it outlives the end of the scheduler's process and the boot of a worker's host is in
`tests/journeys/docker`; the boot of the scheduler's host and another start of its engine, with a
door besides, are in `test_door.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import Lab

from tests.containers.conftest import CONTAINED
from tests.vms.operator import RIGHT, Operator, eventually

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

UNIT = "dask-fleet.sst.dask-workers-default"


@pytest.fixture(scope="module")
def fleet(operator: Operator) -> Operator:
    operator.write(CONTAINED)
    operator.call("up", "--yes", "--all-at-once")
    return operator


def power_cut(lab: Lab) -> None:
    lab.each(lambda host: host.power_cut())
    lab.each(lambda host: host.power_on())


def three_at_once(lab: Lab, *engine: str) -> None:
    """Kill a container on a host and processes on another, and start the third's engine anew."""
    lab.workers[0].run(f"kill -KILL $(docker inspect -f '{{{{.State.Pid}}}}' {UNIT})")
    lab.workers[1].run("pkill -KILL -u 8786")
    lab.workers[2].run(["systemctl", "restart", *engine], timeout=90)


FAULTS: dict[str, Callable[[Lab], object]] = {
    "a container, processes in another one and an engine end": lambda lab: three_at_once(
        lab, "docker"
    ),
    "the power of all hosts is cut": power_cut,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_everything_is_back_without_a_hand(lab: Lab, fleet: Operator, fault: str):
    FAULTS[fault](lab)
    all_is_back(fleet)


def all_is_back(fleet: Operator) -> None:
    """Wait until all run, compute what is right, and have nothing to do for an `up`."""
    fleet.until_all_run(180)
    eventually("a new client computes what is right", lambda: fleet.compute() == RIGHT, 120)
    assert fleet.plan()["empty"]
