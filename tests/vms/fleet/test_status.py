"""Status is the inventory that people kept by hand, and it is true."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from lab import Lab
from lab.host import Host

from tests.clients import begun
from tests.vms.operator import TOOL, WORKERS, Operator, eventually

UNIT = "dask-fleet.sst.dask-workers-default.service"
PYTHON = "/var/lib/dask-fleet/environments/*/bin/python"
CONNECT = 10.0
"""Seconds that docs/vms.md gives a host to answer."""
MARGIN = 6.0
"""Seconds that the rest of a status may take on a busy machine."""

VERSIONS = """\
import importlib.metadata as m, json, platform
names = ("dask", "distributed", "xcube-core")
print(json.dumps({"python": platform.python_version(), **{n: m.version(n) for n in names}}))
"""

KERNEL = """\
import sys
fields = open(f"/proc/{sys.argv[1]}/stat").read().rpartition(")")[2].split()
(booted,) = (l.split()[1] for l in open("/proc/stat") if l.startswith("btime"))
print(int(booted) + int(fields[19]) / 100, 4096 * int(fields[21]))
"""

BUSY = """\
import sys
from distributed import Client, Event

def burn(n):
    event = Event("enough")
    while not event.is_set():
        sum(range(200_000))
    return n

client = Client("tcp://10.77.0.11:8786", timeout=20)
burning = client.map(burn, range(5), workers=[sys.argv[1]], pure=False)
print("begun", flush=True)
sys.stdin.readline()
Event("enough").set()
print(sum(client.gather(burning)), flush=True)
"""


def status(operator: Operator) -> dict[str, Any]:
    return json.loads(operator.call("status", "--json").stdout)


def python(host: Host) -> str:
    return host.run(f"ls -d {PYTHON}").stdout.split()[0]


# -- what a row says ---------------------------------------------------------------------


def test_every_process_is_where_it_was_declared(lab: Lab, fleet: Operator):
    value = status(fleet)
    assert (value["fleet"], value["scheduler"]) == ("sst", "tcp://10.77.0.11:8786")
    assert value["dashboard"] == "http://10.77.0.11:8787/status"
    assert value["scheduler_answers"]
    found = {row["name"]: row for row in value["processes"]}
    assert list(found) == ["dask-scheduler", *WORKERS]
    for number, host in enumerate(lab.hosts):
        row = found[host.name]
        assert (row["host"], row["address"]) == (host.name, host.address)
        first = 9000 + 10 * number
        ports = {"worker": first, "nanny": first + 1, "dashboard": first + 2}
        assert row["ports"] == (ports if number else {"scheduler": 8786, "dashboard": 8787})
        sockets = host.run(["ss", "-Hltn"]).stdout
        assert all(f":{port} " in sockets for port in row["ports"].values())
        assert row["role"] == ("worker" if number else "scheduler")
        assert row["unit"] == ("dask-workers-default" if number else "dask-scheduler")
        assert row["nthreads"] == (1 if number else 0)
        assert (row["state"], row["unit_state"], row["registered"]) == ("running", "running", True)


def test_since_when_with_which_versions_and_memory_is_what_the_host_itself_says(
    lab: Lab, fleet: Operator
):
    found = fleet.rows()
    for number, host in enumerate(lab.hosts):
        row = found[host.name]
        began, resident = map(
            float, host.run(["python3", "-c", KERNEL, str(row["pid"])]).stdout.split()
        )
        assert abs(row["started"] - began) < 3  # the kernel's boot time is in whole seconds
        assert abs(time.time() - row["started"] - row["uptime"]) < 60
        assert row["versions"] == json.loads(host.run([python(host), "-c", VERSIONS]).stdout)
        assert 0.5 < row["memory"] / resident < 2
        assert row["memory_limit"] == (1 << 30 if number else 0)


def test_what_each_host_is(lab: Lab, fleet: Operator):
    found = {host["name"]: host for host in status(fleet)["hosts"]}
    assert list(found) == [host.name for host in lab.hosts]
    for host in lab.hosts:
        said = found[host.name]
        assert (said["address"], said["runtime"]) == (host.address, "systemd")
        assert said["reachable"]
        assert f"Python {said['python']}" == host.run(["python3", "-V"]).stdout.strip()
        assert said["boot_id"] == host.boot_id
        assert said["cpus"] == int(host.run(["nproc"]).stdout)
        assert said["os"].startswith("Debian GNU/Linux")
        assert 0 < said["memory_available"] < said["memory"]
        assert said["disk_free"] > 0


@contextmanager
def burning(host: Host, worker: str) -> Iterator[subprocess.Popen[str]]:
    """Keep one worker busy with five tasks until somebody writes a line."""
    with begun(host.command([python(host), "-c", BUSY, worker])) as process:
        yield process


def test_cpu_and_tasks_are_those_of_the_worker_that_works(lab: Lab, fleet: Operator):
    def working() -> dict[str, dict[str, Any]] | None:
        rows = fleet.rows()
        row = rows[WORKERS[1]]
        return rows if (row["executing"], row["ready"]) == (1, 4) and row["cpu"] > 30 else None

    with burning(lab.scheduler, WORKERS[1]) as process:
        rows = eventually("one task runs, four wait, a CPU is busy", working, 30)
        assert all(rows[name]["executing"] == 0 for name in WORKERS if name != WORKERS[1])
        (line,) = [
            line for line in fleet.call("status").stdout.splitlines() if line.startswith(WORKERS[1])
        ]
        assert " 1+4 " in line
        out, _ = process.communicate("enough\n", timeout=60)
        assert out == "10\n"
    eventually("no task is left", lambda: fleet.rows()[WORKERS[1]]["executing"] == 0, 30)


# -- what changes a row ------------------------------------------------------------------


def test_a_worker_that_died_was_started_once_more(lab: Lab, fleet: Operator):
    rows = fleet.rows()
    before = rows[WORKERS[2]]
    lab.workers[2].run(["kill", "-KILL", str(before["pid"])])

    def back() -> dict[str, Any] | None:
        row = fleet.rows()[WORKERS[2]]
        return row if row["state"] == "running" and row["pid"] != before["pid"] else None

    after = eventually("the worker is back", back, 60)
    assert after["restarts"] == before["restarts"] + 1
    assert after["started"] > before["started"]
    assert fleet.rows()[WORKERS[1]]["restarts"] == rows[WORKERS[1]]["restarts"]


def test_a_unit_that_was_stopped_is_a_row_that_says_so(lab: Lab, fleet: Operator):
    lab.workers[3].run(["systemctl", "stop", UNIT])

    def gone() -> dict[str, dict[str, Any]] | None:
        rows = fleet.rows()
        return rows if not rows[WORKERS[3]]["registered"] else None

    rows = eventually("the scheduler has forgotten it", gone, 30)
    row = rows.pop(WORKERS[3])
    assert (row["state"], row["unit_state"], row["pid"]) == ("stopped", "stopped", None)
    assert (row["started"], row["versions"], row["fault"]) == (None, {}, "not registered")
    assert {one["state"] for one in rows.values()} == {"running"}


def test_a_host_behind_a_firewall_that_drops_does_not_hold_up_the_others(lab: Lab, fleet: Operator):
    host = lab.workers[3]
    host.hide_from_operator()
    try:
        began = time.monotonic()
        value = status(fleet)
        assert time.monotonic() - began < CONNECT + MARGIN
        rows = {row["name"]: row for row in value["processes"]}
        row = rows.pop(host.name)
        assert row["state"] == "unreachable"
        assert host.name in row["fault"]
        assert f"{host.address} port 22" in row["fault"]
        assert (row["address"], row["ports"]["worker"], row["pid"]) == (host.address, 9040, None)
        assert {(one["state"], one["unit_state"]) for one in rows.values()} == {
            ("running", "running")
        }
        there = {one["name"]: one["reachable"] for one in value["hosts"]}
        assert there == {one.name: one is not host for one in lab.hosts}
        plain = fleet.call("status").stdout
        assert plain.count(row["fault"]) == 1
        assert plain.count(" unreachable ") == 1
    finally:
        host.show_to_operator()


# -- how it is shown ---------------------------------------------------------------------


def test_five_hosts_on_a_terminal(lab: Lab, fleet: Operator):
    columns = 80
    shell = f"stty cols {columns} rows 40; exec {TOOL} status"
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", shell, "/dev/null"],
        cwd=fleet.folder,
        env={**fleet.environment, "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.stdout).splitlines()
    assert lines[0].strip() == "fleet sst · 5 of 5 running"
    assert max(map(len, lines)) <= columns
    titles = lines[2].split()
    assert {"process", "state", "host", "uptime", "memory", "tasks"} <= set(titles)
    assert not {"unit", "ports", "restarts", "cpu", "address", "role"} & set(titles)
    shown = [line.split() for line in takewhile(str.strip, lines[4:])]
    at = titles.index("host")
    assert [words[at] for words in shown] == [host.name for host in lab.hosts]
