"""The lease on a booted host: of an operator on another machine, and of one who is gone."""

from __future__ import annotations

import json

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


def threads(lab: Lab) -> set[int]:
    """Return the threads of workers that are deployed; `status` has those that are declared."""
    unit = "/var/lib/dask-fleet/fleets/sst/etc/units/dask-workers-default.json"
    deployed = (json.loads(host.run(["cat", unit]).stdout) for host in lab.workers)
    return {worker["nthreads"] for one in deployed for worker in one["workers"]}


def test_it_is_respected_until_it_is_broken_by_hand(lab: Lab, fleet: Operator):
    fleet.write(FLEET.replace("nthreads: 1", "nthreads: 2"))
    lab.scheduler.run(f"umask 077; cat >{LEASE}", text=json.dumps(RECORD) + "\n")
    try:
        for command in ("up", "down", "restart"):
            refused = fleet.call(command, "--yes", status=5)
            assert "ann@far-away (pid 4242) is at work on this fleet" in refused.stderr
            assert "with `dask fleet up` since 2026-11-24 09:30:00 +0100" in refused.stderr
            assert f"expires after {TTL} s" in refused.stderr
            assert threads(lab) == {1}
            assert json.loads(lab.scheduler.run(["cat", LEASE]).stdout) == RECORD
            # As one who has renewed it: a busy machine may take longer than it holds.
            lab.scheduler.run(["touch", LEASE])
        said = fleet.call("up", "--yes", "--break-lease").stdout
        assert "4 workers registered" in said
        assert threads(lab) == {2}
        assert lab.scheduler.run(["test", "-e", LEASE], check=False).returncode == 1
    finally:
        lab.scheduler.run(["rm", "-f", LEASE])
