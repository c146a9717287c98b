"""Hosts that reboot, lose power or network, processes that are killed: all comes back, in time."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest
from lab import Lab
from lab.host import Host

from tests.vms.operator import FLEET, RIGHT, WORKERS, Operator, eventually
from tests.vms.faults.test_lease import LEASE

UNIT = "dask-fleet.sst.dask-workers-default.service"
SCHEDULER = "dask-fleet.sst.dask-scheduler.service"

WITHIN = {
    "a worker host reboots": 30,
    "the scheduler host reboots; all hosts reboot at once": 45,
    "a host loses power and is switched on again": 45,
    "scheduler, nannies or a worker are killed": 30,
    "a worker's network is away for a minute": 60,
    "a stranger that took a port at boot gives it back": 20,
}
"""Seconds after the fault within which README promises that all workers are registered again."""

TWO_THREADS = FLEET.replace("nthreads: 1", "nthreads: 2")

STRANGER = f"""\
[Unit]
Before={UNIT}
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 0.0.0.0 9020
ExecStartPost=/bin/sh -c 'until ss -Hltn "sport = :9020" | grep -q .; do sleep 0.05; done'
[Install]
WantedBy=multi-user.target
"""
"""It listens before the workers of its host are started."""


def test_readme_promises_these_times():
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| fault | seconds |")[2].partition("## Limits")[0]
    promised = dict(re.findall(r"^\| (.+?) \| (\d+)", table, re.MULTILINE))
    assert {fault: int(seconds) for fault, seconds in promised.items()} == WITHIN


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


def test_reboot_of_a_worker_host(lab: Lab, fleet: Operator):
    since = time.monotonic()
    lab.workers[1].reboot()
    all_back(fleet, "a worker host reboots", since)


def test_reboot_of_the_scheduler_host(lab: Lab, fleet: Operator):
    since = time.monotonic()
    lab.scheduler.reboot()
    all_back(fleet, "the scheduler host reboots; all hosts reboot at once", since)


def test_reboot_of_all_hosts_at_once(lab: Lab, fleet: Operator):
    since = time.monotonic()
    lab.each(lambda host: host.reboot())
    all_back(fleet, "the scheduler host reboots; all hosts reboot at once", since)


@pytest.mark.parametrize("name", ["dask-scheduler", "dask-worker-0004"])
def test_power_cut_is_a_row_that_says_so_and_does_not_hold_up_the_others(
    lab: Lab, fleet: Operator, name: str
):
    host = lab[name]
    host.power_cut()
    try:
        states = fleet.states()
        assert states.pop(name) == "unreachable"
        # Without a scheduler nobody can say of workers that they are registered.
        others = {"starting"} if host is lab.scheduler else {"running"}
        assert set(states.values()) == others
    finally:
        since = time.monotonic()
        host.power_on()
    all_back(fleet, "a host loses power and is switched on again", since)


def test_scheduler_killed(lab: Lab, fleet: Operator):
    host = lab.scheduler
    before = main_pid(host, SCHEDULER)
    since = time.monotonic()
    host.run(["kill", "-KILL", before])
    all_back(fleet, "scheduler, nannies or a worker are killed", since)
    assert main_pid(host, SCHEDULER) != before


def test_nannies_killed_and_a_worker_killed(lab: Lab, fleet: Operator):
    fault = "scheduler, nannies or a worker are killed"
    one, two = lab.workers[:2]
    before = fleet.rows()
    since = time.monotonic()
    one.run(["kill", "-KILL", main_pid(one, UNIT)])
    two.run(["kill", "-KILL", str(before["dask-worker-0002"]["pid"])])

    def renewed() -> bool:
        rows = fleet.rows()
        return all(
            rows[name]["state"] == "running" and rows[name]["pid"] != before[name]["pid"]
            for name in ("dask-worker-0001", "dask-worker-0002")
        )

    eventually("both are back", renewed, WITHIN[fault])
    all_back(fleet, fault, since)


def test_network_of_a_worker_away_for_a_minute(lab: Lab, fleet: Operator):
    host = lab.workers[2]
    began = time.monotonic()
    host.cut()
    try:
        states = fleet.states()
        assert states.pop("dask-worker-0003") == "unreachable"
        assert set(states.values()) == {"running"}
        # The fault itself lasts so long.
        time.sleep(began + 60 - time.monotonic())
        assert fleet.states()["dask-worker-0003"] == "unreachable"
    finally:
        since = time.monotonic()
        host.heal()
    all_back(fleet, "a worker's network is away for a minute", since)


def test_a_stranger_that_takes_a_port_at_boot_is_named_and_when_it_goes_all_is_back(
    lab: Lab, fleet: Operator
):
    host, file = lab.workers[1], "/etc/systemd/system/stranger.service"
    others = set(WORKERS) - {host.name}
    host.run(f"cat >{file}; systemctl --quiet enable stranger.service", text=STRANGER)
    try:
        host.reboot()

        def crashes() -> bool:
            return fleet.states()[host.name] == "crashing"

        eventually("status says that it ends again and again", crashes, 30)
        pid = main_pid(host, "stranger")
        words = f"{host.name}: port 9020, which dask-workers-default needs, is held by `"
        (line,) = [x for x in fleet.call("status").stdout.splitlines() if "warning: " in x]
        assert line.startswith(f"warning: {words}")
        assert line.endswith(f"(pid {pid})")
        log = fleet.call("logs", "-n", "20").stdout
        assert f"held by another process: {host.name}: port 9020 on {host.address}" in log
        for _ in range(2):
            done = fleet.call("up", "--yes", status=8)
            assert words in done.stderr
            assert f"(pid {pid})" in done.stderr
        states = fleet.states()
        assert {states[name] for name in others} == {"running"}
        assert main_pid(host, "stranger") == pid
    finally:
        host.run(f"systemctl disable stranger.service; rm {file}")
        since = time.monotonic()
        host.run("systemctl stop stranger.service; systemctl daemon-reload")
    all_back(fleet, "a stranger that took a port at boot gives it back", since)


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
