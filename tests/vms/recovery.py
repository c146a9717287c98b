"""What README promises of faults: within how many seconds all is back without a hand."""

from __future__ import annotations

import time

from lab.host import Host

from tests.vms.operator import RIGHT, Operator

SCHEDULER = "dask-fleet.sst.dask-scheduler.service"
WORKERS_UNIT = "dask-fleet.sst.dask-workers-default.service"

WITHIN = {
    "a worker host reboots": 30,
    "the scheduler host reboots; all hosts reboot at once": 45,
    "a host loses power and is switched on again": 45,
    "scheduler, nannies or a worker are killed": 30,
    "a worker's network is away for a minute": 60,
    "a stranger that took a port at boot gives it back": 20,
}
"""Seconds after the fault within which README promises that all workers are registered again."""


def main_pid(host: Host, unit: str) -> str:
    return host.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout.strip()


def all_back(fleet: Operator, fault: str, since: float) -> None:
    """All is registered again without a hand, as soon after the fault as promised, and computes.

    ``since`` is when it began, by the monotonic clock: that of the command to reboot, of the
    switch, of the kill, or of the return of what was away.
    """
    fleet.until_all_run(since + WITHIN[fault] - time.monotonic())
    took = time.monotonic() - since
    print(f"{fault}: all is back after {took:.1f} s")
    assert took <= WITHIN[fault]
    assert fleet.compute() == RIGHT
    assert fleet.plan()["empty"]
