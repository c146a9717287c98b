"""The lease on a booted host: of an operator on another machine, and of one who is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab import Lab

from dask_fleet.lease import TTL
from tests.vms.operator import FLEET, Operator

LEASE = "/var/lib/dask-fleet/fleets/sst.lease"

RECORD = {
    "who": "ann@far-away",
    "purpose": "dask fleet up",
    "since": "2026-11-24 09:30:00 +0100",
    "pid": "4242",
    "began": "1",
    "machine": "00000000-0000-0000-0000-000000000000 pid:[1]",
    "nonce": "0123456789abcdef",
}
"""Nobody here can see whether that process still runs."""


@pytest.fixture
def held(lab: Lab, fleet: Operator) -> Iterator[Operator]:
    """A fleet that is up, with a change to be made, and somebody's lease on it."""
    fleet.write(FLEET.replace("nthreads: 1", "nthreads: 2"))
    lab.scheduler.run(f"umask 077; cat >{LEASE}", text=json.dumps(RECORD) + "\n")
    yield fleet
    lab.scheduler.run(["rm", "-f", LEASE])
    fleet.write()
    fleet.call("up", "--yes")


def threads(lab: Lab) -> set[int]:
    """Return the threads of workers that are deployed; `status` has those that are declared."""
    unit = "/var/lib/dask-fleet/fleets/sst/etc/units/dask-workers-default.json"
    deployed = (json.loads(host.run(["cat", unit]).stdout) for host in lab.workers)
    return {worker["nthreads"] for one in deployed for worker in one["workers"]}


@pytest.mark.parametrize("command", ["up", "down", "restart"])
def test_it_is_respected(lab: Lab, held: Operator, command: str):
    refused = held.call(command, "--yes", status=5)
    assert "ann@far-away (pid 4242) is at work on this fleet" in refused.stderr
    assert "with `dask fleet up` since 2026-11-24 09:30:00 +0100" in refused.stderr
    assert f"expires after {TTL} s" in refused.stderr
    assert threads(lab) == {1}
    assert json.loads(lab.scheduler.run(["cat", LEASE]).stdout) == RECORD


def test_it_is_broken_by_hand(lab: Lab, held: Operator):
    held.call("up", "--yes", status=5)
    said = held.call("up", "--yes", "--break-lease").stdout
    assert "4 workers registered" in said
    assert threads(lab) == {2}
    assert lab.scheduler.run(["test", "-e", LEASE], check=False).returncode == 1


def test_it_has_expired(lab: Lab, held: Operator):
    lab.scheduler.run(f"touch --date=@$(($(date +%s) - {TTL} - 1)) {LEASE}")
    assert "4 workers registered" in held.call("up", "--yes").stdout
    assert threads(lab) == {2}
    assert lab.scheduler.run(["test", "-e", LEASE], check=False).returncode == 1
