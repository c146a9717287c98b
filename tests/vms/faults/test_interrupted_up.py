"""An `up` that is killed, loses a host on its way or finds a full disk is gone on with."""

from __future__ import annotations

import difflib
import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from lab import Lab

from tests.vms.operator import FLEET, RIGHT, Operator, right

if TYPE_CHECKING:
    from collections.abc import Callable

UNIT = "dask-fleet.sst.dask-workers-default.service"
ETC = "/var/lib/dask-fleet/fleets/sst/etc"
TWO_THREADS = FLEET.replace("nthreads: 1", "nthreads: 2")

# Not compared: names that differ from start to start, what spills, and the lease, which that of a
# killed `up` may be: it expires, and whoever comes next takes it. Nor the history: an `up` that
# finds all done by those that were killed writes none.
STATE = """\
cd /
fleet=var/lib/dask-fleet
find $fleet /etc/systemd/system \\( -path "$fleet/environments/*/*" -o -path "*/work/*" \
  -o -name "*.lease*" -o -name "*history*" \\) -prune -o -printf "%y %m %u:%g %p %l\n" |
  sed "s/[.]io-[0-9]*/.io-PID/" | sort
find $fleet/fleets/*/etc /etc/systemd/system -type f -exec sha256sum {} + | sort -k2
systemctl show --property=Id,LoadState,ActiveState,SubState,Result,UnitFileState,NeedDaemonReload \
  "dask-fleet.*"
cat /etc/passwd /etc/group
ls -A /etc
"""
"""What an `up` leaves on a host: files with owners, modes and digests, units, users, locks."""


def state(lab: Lab, fleet: Operator) -> dict[str, list[str]]:
    """Return all that an `up` has to bring about, when every process runs."""
    rows = fleet.until_all_run(60)
    assert fleet.plan()["empty"]
    keys = ("name", "host", "ports", "unit_state", "registered", "memory_limit")
    listed = [str([row[key] for key in keys]) for row in rows.values()]
    hosts = {host.name: host.run(STATE).stdout.splitlines() for host in lab.hosts}
    return {**hosts, "status": listed, "a client": fleet.compute().splitlines()}


def changes(now: dict[str, list[str]], before: dict[str, list[str]]) -> list[str]:
    """Return what differs between two states, line by line."""
    return [
        line
        for place, lines in before.items()
        for line in difflib.unified_diff(lines, now[place], place, place, lineterm="", n=0)
    ]


def make_bare(lab: Lab, fleet: Operator) -> None:
    """Take the fleet down and remove what `down` leaves, but for the environment."""
    fleet.call("down", "--yes")
    rest = "if getent passwd dask-fleet >/dev/null; then userdel dask-fleet; fi"
    lab.each(lambda host: host.run(f"{rest}; rm -rf /var/lib/dask-fleet/fleets"))


def seconds_of_up(fleet: Operator) -> float:
    began = time.monotonic()
    fleet.call("up", "--yes")
    return time.monotonic() - began


def killed_after(fleet: Operator, seconds: float) -> bool:
    """Begin an `up` and kill it at this moment; return whether it still ran."""
    process = fleet.begin("up", "--yes")
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return process.returncode == -signal.SIGKILL
    assert process.returncode == 0, f"{out}\n{err}"
    return False


def kill_ten(
    fleet: Operator, prepare: Callable[[int], object], moments: Callable[[], float]
) -> None:
    """Kill ten `up`s while they run; one that ended before its moment does not count.

    Many do, where a killed one had changed nothing and the next has nothing to do.
    """
    killed = 0
    for number in range(60):
        prepare(number)
        killed += killed_after(fleet, moments())
        if killed == 10:
            return
    raise AssertionError(f"only {killed} of 60 still ran at their moment")


def test_up_killed_at_random_twenty_times(lab: Lab, fleet: Operator):
    seed = int(os.environ.get("DASK_FLEET_SEED", time.time_ns() % 2**32))
    print(f"DASK_FLEET_SEED={seed} draws the same moments again")
    chance = random.Random(seed)

    make_bare(lab, fleet)
    seconds = seconds_of_up(fleet)
    undisturbed = state(lab, fleet)
    kill_ten(fleet, lambda _: make_bare(lab, fleet), lambda: chance.uniform(0, seconds))
    fleet.call("up", "--yes")
    assert changes(state(lab, fleet), undisturbed) == []

    fleet.write(TWO_THREADS)
    changing = seconds_of_up(fleet)
    kill_ten(
        fleet,
        lambda number: fleet.write(TWO_THREADS if number % 2 else FLEET),
        lambda: chance.uniform(0, changing),
    )
    fleet.write()
    fleet.call("up", "--yes")
    assert changes(state(lab, fleet), undisturbed) == []


def test_sshd_of_one_host_down_before_up(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    host.stop_sshd()
    try:
        fleet.write(TWO_THREADS)
        done = fleet.call("up", "--yes", status=4)
        assert "dask-worker-0001" in done.stderr
        assert "3 workers registered of 4 declared" in done.stdout
        assert fleet.states()["dask-worker-0001"] == "unreachable"
    finally:
        host.start_sshd()
    fleet.call("up", "--yes")
    fleet.until_all_run(60)
    assert fleet.compute() == right(nthreads=2)
    assert fleet.plan()["empty"]


MOMENTS = {
    "when its files come": f"[ -e {ETC}/units/dask-workers-default.json ]",
    "when its unit starts": f'[ "$(systemctl is-active {UNIT})" = active ]',
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_sshd_of_one_host_dies_during_up(lab: Lab, fleet: Operator, moment: str):
    host = lab.workers[0]
    fleet.call("down", "--yes")
    process = fleet.begin("up", "--yes")
    try:
        host.run(f"for i in $(seq 3000); do if {MOMENTS[moment]}; then exit; fi; sleep 0.01; done")
        host.stop_sshd(sessions=True)
        assert process.poll() is None
        out, err = process.communicate(timeout=150)
        assert process.returncode == 4, f"{out}\n{err}"
        assert host.name in err
        assert "3 workers registered of 4 declared" in out
        states = fleet.states()
        assert states.pop(host.name) == "unreachable"
        assert set(states.values()) == {"running"}
    finally:
        process.kill()
        process.communicate()
        host.start_sshd()
    fleet.call("up", "--yes")
    fleet.until_all_run(60)
    assert fleet.compute() == RIGHT
    assert fleet.plan()["empty"]


def test_a_full_disk_is_named_and_mended(lab: Lab, fleet: Operator):
    host = lab.workers[2]
    place = f"{ETC}/launcher"
    host.small_disk(place, 1)
    try:
        host.fill_disk(place, 0)
        done = fleet.call("up", "--yes", status=None)
        assert done.returncode not in (0, None)
        assert "dask-worker-0003" in done.stderr
        assert "No space left" in done.stderr
    finally:
        host.remove_disk(place)
    fleet.call("up", "--yes")
    assert fleet.plan()["empty"]
    fleet.until_all_run(60)
    assert fleet.compute() == RIGHT
