"""Hosts that reboot, lose power, network or sshd; operators that are killed: all comes back."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from pathlib import Path

from lab import Lab
from lab.host import Host

from tests.vms.operator import FLEET, RIGHT, WORKERS, Operator, eventually

UNIT = "dask-fleet.sst.dask-workers-default.service"
LEASE = "/var/lib/dask-fleet/fleets/sst.lease"

WITHIN = {
    "a worker host reboots": 40,
    "the scheduler host reboots; all hosts reboot at once": 60,
    "a host loses power and is switched on again": 60,
    "scheduler, nannies or a worker are killed": 60,
    "a worker's network is away for a minute": 90,
}
"""Seconds within which README promises that all workers are registered again."""

TWO_THREADS = FLEET.replace("nthreads: 1", "nthreads: 2")


def test_readme_promises_these_times():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| fault | seconds |")[2].partition("## Limits")[0]
    promised = dict(re.findall(r"^\| (.+?) \| (\d+)", table, re.MULTILINE))
    assert {fault: int(seconds) for fault, seconds in promised.items()} == WITHIN


def deployed(lab: Lab) -> dict[str, str]:
    """Return the digests of everything that is deployed, by host."""
    find = (
        "find /var/lib/dask-fleet/fleets/sst/etc /etc/systemd/system -type f "
        "\\( -path '*/sst/etc/*' -o -name 'dask-fleet.*' \\) ! -path '*/__pycache__/*' "
        "-exec sha256sum {} + | sort"
    )
    return {host.name: host.run(find).stdout for host in lab.hosts}


def main_pid(host: Host, unit: str) -> str:
    return host.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout.strip()


def test_reboot_of_a_worker_host(lab: Lab, fleet: Operator):
    lab.workers[1].reboot()
    fleet.until_all_run(WITHIN["a worker host reboots"])
    assert fleet.compute() == RIGHT
    assert fleet.plan()["empty"]


def test_reboot_of_the_scheduler_host(lab: Lab, fleet: Operator):
    lab.scheduler.reboot()
    fleet.until_all_run(WITHIN["the scheduler host reboots; all hosts reboot at once"])
    assert fleet.compute() == RIGHT


def test_reboot_of_all_hosts_at_once(lab: Lab, fleet: Operator):
    lab.each(lambda host: host.reboot())
    fleet.until_all_run(WITHIN["the scheduler host reboots; all hosts reboot at once"])
    assert fleet.compute() == RIGHT
    assert fleet.plan()["empty"]


def test_power_cut_is_a_row_that_says_so_and_does_not_hold_up_the_others(lab: Lab, fleet: Operator):
    host = lab.workers[3]
    host.power_cut()
    try:
        states = fleet.states()
        assert states.pop("dask-worker-0004") == "unreachable"
        assert set(states.values()) == {"running"}
    finally:
        host.power_on()
    fleet.until_all_run(WITHIN["a host loses power and is switched on again"])
    assert fleet.compute() == RIGHT


def test_scheduler_killed(lab: Lab, fleet: Operator):
    host = lab.scheduler
    host.run(["kill", "-KILL", main_pid(host, "dask-fleet.sst.dask-scheduler.service")])
    fleet.until_all_run(WITHIN["scheduler, nannies or a worker are killed"])
    assert fleet.compute() == RIGHT


def test_nannies_killed_and_a_worker_killed(lab: Lab, fleet: Operator):
    one, two = lab.workers[:2]
    before = fleet.rows()
    one.run(["kill", "-KILL", main_pid(one, UNIT)])
    two.run(["kill", "-KILL", str(before["dask-worker-0002"]["pid"])])

    def renewed() -> bool:
        rows = fleet.rows()
        return all(
            rows[name]["state"] == "running" and rows[name]["pid"] != before[name]["pid"]
            for name in ("dask-worker-0001", "dask-worker-0002")
        )

    eventually("both are back", renewed, WITHIN["scheduler, nannies or a worker are killed"])
    fleet.until_all_run(10)
    assert fleet.compute() == RIGHT


def test_network_of_a_worker_away_for_a_minute(lab: Lab, fleet: Operator):
    host = lab.workers[2]
    host.cut()
    try:
        time.sleep(60)  # the fault itself lasts so long
    finally:
        host.heal()
    fleet.until_all_run(WITHIN["a worker's network is away for a minute"])
    assert fleet.compute() == RIGHT


def test_sshd_of_one_host_down_during_up(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    host.stop_sshd()
    try:
        fleet.write(TWO_THREADS)
        done = fleet.call("up", "--yes", status=4)
        assert "dask-worker-0001" in done.stderr
        rows = fleet.rows()
        assert {rows[name]["nthreads"] for name in WORKERS[1:]} == {2}
        assert rows["dask-worker-0001"]["state"] == "unreachable"
    finally:
        host.start_sshd()
    fleet.call("up", "--yes")
    assert fleet.plan()["empty"]
    fleet.until_all_run(10)


def test_up_killed_at_random_twenty_times(lab: Lab, fleet: Operator):
    undisturbed = deployed(lab)
    moments = random.Random(20261123)
    for number in range(20):
        fleet.write(TWO_THREADS if number % 2 == 0 else FLEET)
        process = fleet.begin("up", "--yes")
        try:
            process.communicate(timeout=moments.uniform(0.1, 2.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    fleet.write()
    fleet.call("up", "--yes")
    assert fleet.plan()["empty"]
    assert deployed(lab) == undisturbed
    fleet.until_all_run(10)
    assert fleet.compute() == RIGHT


def test_two_operators_at_once(lab: Lab, fleet: Operator):
    fleet.write(TWO_THREADS)
    first = fleet.begin("up", "--yes")
    try:
        lab.scheduler.run(f"until [ -s {LEASE} ]; do sleep 0.01; done", timeout=60)
        # It holds the lease and has all before it; while it stands still it cannot be quicker.
        first.send_signal(signal.SIGSTOP)
        second = fleet.call("up", "--yes", status=5)
    finally:
        first.send_signal(signal.SIGCONT)
        out, err = first.communicate(timeout=150)
    assert first.returncode == 0, f"{out}\n{err}"
    holder = rf"\S+@\S+ \(pid {first.pid}\) is at work on this fleet"
    since = r" with `dask fleet up` since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(holder + since, second.stderr)
    assert "--break-lease" in second.stderr
    fleet.write()
    fleet.call("up", "--yes")
    assert fleet.plan()["empty"]


def test_a_foreign_process_on_a_declared_port_is_named(lab: Lab, fleet: Operator):
    host = lab.workers[1]
    host.run(["systemctl", "stop", UNIT])
    serve = "python3 -m http.server --bind 10.77.0.13 9020"
    host.run(["systemd-run", "--unit=foreign", *serve.split()])
    try:
        eventually("it listens", lambda: ":9020" in host.run(["ss", "-Hltn"]).stdout, 10)
        done = fleet.call("up", "--yes", status=8)
        assert "port 9020" in done.stderr
        assert "http.server" in done.stderr
        assert f"pid {main_pid(host, 'foreign')}" in done.stderr
    finally:
        host.run(["systemctl", "stop", "foreign"])
    fleet.call("up", "--yes")
    fleet.until_all_run(10)


def test_a_full_disk_is_named_and_mended(lab: Lab, fleet: Operator):
    host = lab.workers[2]
    place = "/var/lib/dask-fleet/fleets/sst/etc/launcher"
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
    fleet.until_all_run(10)
