"""Faults of a fleet of containers: what comes back without a hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import Lab

from tests.vms.operator import RIGHT, Operator, eventually

SCHEDULER, UNIT = "dask-fleet.sst.dask-scheduler", "dask-fleet.sst.dask-workers-default"


@pytest.fixture(scope="module")
def fleet(operator: Operator) -> Operator:
    operator.call("up", "--yes")
    return operator


def power_cut(lab: Lab) -> None:
    lab.each(lambda host: host.power_cut())
    lab.each(lambda host: host.power_on())


FAULTS: dict[str, Callable[[Lab], object]] = {
    "a worker's container is killed": lambda lab: lab.workers[0].run(
        f"kill -KILL $(docker inspect -f '{{{{.State.Pid}}}}' {UNIT})"
    ),
    "the processes of a container are killed": lambda lab: lab.workers[1].run(
        "pkill -KILL -u 8786"
    ),
    "the scheduler's process is killed": lambda lab: lab.scheduler.run("pkill -KILL -u 8786"),
    "an engine is started anew": lambda lab: lab.workers[2].run(
        ["systemctl", "restart", "docker"], timeout=90
    ),
    "the scheduler's engine is started anew": lambda lab: lab.scheduler.run(
        ["systemctl", "restart", "docker"], timeout=90
    ),
    "a worker's host boots": lambda lab: lab.workers[3].reboot(),
    "the scheduler's host boots": lambda lab: lab.scheduler.reboot(),
    "the power of all hosts is cut": power_cut,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_everything_is_back_without_a_hand(lab: Lab, fleet: Operator, fault: str):
    FAULTS[fault](lab)
    all_is_back(fleet)


def all_is_back(fleet: Operator) -> None:
    """Wait until all run, compute what is right, and have nothing to do for an `up`."""
    fleet.until_all_run(90)
    eventually("a new client computes what is right", lambda: fleet.compute() == RIGHT, 60)
    assert fleet.plan()["empty"]
