"""Hosts that reboot, lose power or network, processes that are killed: all comes back, in time."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from lab import Lab

from tests.vms.faults.test_lease import LEASE
from tests.vms.operator import FLEET, WORKERS, Operator, eventually
from tests.vms.recovery import WITHIN, WORKERS_UNIT, all_back, main_pid

TWO_THREADS = FLEET.replace("nthreads: 1", "nthreads: 2")

STRANGER = f"""\
[Unit]
Before={WORKERS_UNIT}
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


def test_reboot_of_the_scheduler_host(lab: Lab, fleet: Operator):
    since = time.monotonic()
    lab.scheduler.reboot()
    all_back(fleet, "the scheduler host reboots; all hosts reboot at once", since)


def test_reboot_of_all_hosts_at_once(lab: Lab, fleet: Operator):
    since = time.monotonic()
    lab.each(lambda host: host.reboot())
    all_back(fleet, "the scheduler host reboots; all hosts reboot at once", since)


def test_commands_while_the_host_of_the_scheduler_has_no_power(lab: Lab, fleet: Operator):
    host = lab.scheduler
    host.power_cut()
    try:
        states = fleet.states()
        assert states.pop(host.name) == "unreachable"
        # Without a scheduler nobody can say of workers that they are registered.
        assert set(states.values()) == {"starting"}
    finally:
        since = time.monotonic()
        host.power_on()
    all_back(fleet, "a host loses power and is switched on again", since)


def test_commands_while_a_host_has_no_power_name_it_and_show_the_others(lab: Lab, fleet: Operator):
    host = lab.workers[3]
    away = f"error: {host.name}: 10.77.0.15 port 22 did not answer"
    run = 'echo "here is $(hostname)"; [ "$(hostname)" != dask-worker-0002 ] || exit 5'
    host.power_cut()
    try:
        states = fleet.states()
        logs = fleet.call("logs", "-n", "20", status=4)
        done = fleet.call("exec", "--", "sh", "-c", run, status=4)
    finally:
        since = time.monotonic()
        host.power_on()
    assert states.pop(host.name) == "unreachable"
    assert set(states.values()) == {"running"}
    others = ("dask-scheduler", *WORKERS[:3])
    labels = {line.split(" | ")[0] for line in logs.stdout.splitlines()}
    assert labels >= set(others)
    assert host.name not in labels
    assert away in logs.stderr
    said = dict(line.split(" | ", 1) for line in done.stdout.splitlines())
    assert {name.strip(): words for name, words in said.items()} == {
        name: f"here is {name}" for name in others
    }
    errors = done.stderr.splitlines()
    assert "dask-scheduler, dask-worker-0001, dask-worker-0003: ended with status 0" in errors
    assert "dask-worker-0002: ended with status 5" in errors
    assert away in done.stderr
    all_back(fleet, "a host loses power and is switched on again", since)


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
    first = fleet.begin("up", "--yes", "--all-at-once")
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
