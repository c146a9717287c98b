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
    from collections.abc import Callable, Sequence

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


KILLS = 3
"""Of an `up` from nothing, and of a change: one in each third of its time.

After which step it is killed makes no difference to the plan of the next: tests/unit/test_planner
and test_planner_systemd interrupt it everywhere. Here are moments within a step, and real hosts.
"""


def kill_some(fleet: Operator, prepare: Callable[[int], object], moments: Sequence[float]) -> None:
    """Kill an `up` at each of these moments; one that ended before is begun again, and sooner.

    A killed one may have changed all but a little, which the next does in less time.
    """
    for number, moment in enumerate(moments):
        for attempt in range(10):
            prepare(number + attempt)
            if killed_after(fleet, moment * 0.7**attempt):
                break
        else:
            raise AssertionError(f"none of 10 still ran after {moment} s or less")


def drawn(chance: random.Random, seconds: float) -> list[float]:
    """Return a moment at random in each of `KILLS` equal parts of so many seconds."""
    return [seconds * (part + chance.random()) / KILLS for part in range(KILLS)]


@pytest.mark.timeout(900)
def test_up_killed_at_random(lab: Lab, fleet: Operator):
    # Over 20 s: ten `up`s, half of them from nothing.
    seed = int(os.environ.get("DASK_FLEET_SEED", time.time_ns() % 2**32))
    print(f"DASK_FLEET_SEED={seed} draws the same moments again")
    chance = random.Random(seed)

    make_bare(lab, fleet)
    seconds = seconds_of_up(fleet)
    undisturbed = state(lab, fleet)
    kill_some(fleet, lambda _: make_bare(lab, fleet), drawn(chance, seconds))
    fleet.call("up", "--yes")
    assert changes(state(lab, fleet), undisturbed) == []

    fleet.write(TWO_THREADS)
    changing = seconds_of_up(fleet)
    kill_some(
        fleet,
        lambda number: fleet.write(TWO_THREADS if number % 2 else FLEET),
        drawn(chance, changing),
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
def test_sshd_of_one_host_dies_during_up(lab: Lab, bare: Operator, moment: str):
    host, fleet = lab.workers[0], bare
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
