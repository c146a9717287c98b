"""A fleet under systemd from bare hosts to bare hosts, through what the README promises."""

from __future__ import annotations

import json
import time

import pytest
from lab import Lab

from tests.containers.client import computing, nothing_was_lost, statuses, watching
from tests.journeys.steps import step
from tests.vms.gate import GATED, Gate
from tests.vms.operator import (
    COMPUTE,
    FLEET,
    RIGHT,
    WORKERS,
    Operator,
    all_run,
    eventually,
    right,
)
from tests.vms.recovery import SCHEDULER, WORKERS_UNIT, all_back, main_pid
from tests.vms.secure import REFUSED, client, copied, python

KILLED = "scheduler, nannies or a worker are killed"
PORTS = {
    "dask-scheduler": (8786, 8787),
    **{name: tuple(range(9000 + 10 * n, 9003 + 10 * n)) for n, name in enumerate(WORKERS, 1)},
}


def pids(fleet: Operator) -> dict[str, int]:
    return {name: row["pid"] for name, row in fleet.rows().items()}


@pytest.mark.timeout(900)
def test_from_bare_hosts_to_bare_hosts(lab: Lab, operator: Operator):
    # Two minutes: one fleet walks through everything, so that a boot is paid for once.
    fleet = operator
    with step("up from bare hosts"):
        plan = fleet.plan()
        assert {change["host"] for change in plan["changes"]} == {host.name for host in lab.hosts}
        assert "4 workers registered" in fleet.call("up", "--yes").stdout
        rows = fleet.rows()
        assert all_run(rows)
        assert {name: tuple(row["ports"].values()) for name, row in rows.items()} == PORTS
        assert {rows[name]["host"] for name in WORKERS} == set(WORKERS)
    with step("a second up has nothing to do"):
        assert "nothing to do; 4 workers registered" in fleet.call("up", "--yes").stdout
        fleet.call("plan", status=0)
        assert pids(fleet) == {name: row["pid"] for name, row in rows.items()}
    with step("a client computes"):
        assert fleet.compute() == RIGHT
    with computing(lab, python(lab.scheduler)) as streaming:
        with step("a worker that cannot be drained goes on"):
            before = pids(fleet)
            streaming.tell("stubborn")
            streaming.until_further()
            fleet.write(FLEET.replace("nthreads: 1", "nthreads: 2"))
            said = fleet.call("up", "--yes", "--drain", "4", status=12).stderr
            assert "dask-worker-0001 computes stubborn-" in said
            assert "not begun, and as before: dask-worker-[0002-0004]" in said
            eventually("all go on", lambda: set(statuses().values()) == {"running"}, 60)
            assert pids(fleet) == before
        with step("an update under a client"):
            streaming.tell("release")
            streaming.until_further()
            with watching() as watch:
                said = fleet.call("up", "--yes", timeout=300).stdout
            assert all(f"drain workers on {name}" in said for name in WORKERS)
            assert watch.seen == {3, 4}
            after = pids(fleet)
            assert {name for name in before if after[name] != before[name]} == set(WORKERS)
            streaming.until_further()
            nothing_was_lost(streaming)
            assert fleet.compute() == right(nthreads=2)
    with step("back to one thread"):
        fleet.write()
        fleet.call("up", "--yes", timeout=300)
        assert fleet.plan()["empty"]
    with step("workers and nannies that are killed"):
        one, two = lab.workers[:2]
        before = pids(fleet)
        since = time.monotonic()
        one.run(["kill", "-KILL", main_pid(one, WORKERS_UNIT)])
        two.run(["kill", "-KILL", str(before["dask-worker-0002"])])
        eventually(
            "both are others",
            lambda: all(pids(fleet)[name] not in (None, before[name]) for name in WORKERS[:2]),
            60,
        )
        all_back(fleet, KILLED, since)
    with step("a scheduler that is killed"):
        killed = main_pid(lab.scheduler, SCHEDULER)
        since = time.monotonic()
        lab.scheduler.run(["kill", "-KILL", killed])
        all_back(fleet, KILLED, since)
        assert main_pid(lab.scheduler, SCHEDULER) != killed
    with step("a worker host that reboots"):
        since = time.monotonic()
        lab.workers[1].reboot()
        all_back(fleet, "a worker host reboots", since)
    with step("a door with login"):
        before = pids(fleet)
        fleet.write(GATED)
        fleet.call("up", "--yes")
        gate = Gate(fleet)
        gate.add_ann()
        assert {name: pid for name, pid in pids(fleet).items() if name in before} == before
        pages = ["/status", "/fleet/", *(f"/w/{name}/health" for name in WORKERS)]
        assert {gate.ask(page).status for page in pages} == {401}
        eventually("a page", lambda: gate.show("/status").status == 200, 60)
        assert {page: gate.show(page).status for page in pages} == dict.fromkeys(pages, 200)
    with step("TLS on"):
        fleet.write(f"{GATED}tls: true\n")
        assert "4 workers registered" in fleet.call("up", "--yes").stdout
        fleet.call("client-config", "bundle")
        copied(lab.scheduler, fleet.folder / "bundle")
        assert client(lab.scheduler, fleet.folder / "bundle", COMPUTE) == RIGHT
        plain = {"DASK_SCHEDULER_ADDRESS": "tcp://10.77.0.11:8786"}
        assert client(lab.scheduler, "/nowhere", REFUSED, **plain) == "refused"
        assert fleet.plan()["empty"]
        assert gate.ask(pages[-1]).status == 401
        eventually("a worker's page", lambda: gate.show(pages[-1]).status == 200, 60)
    with step("down"):
        fleet.call("down", "--yes")
        for host in lab.hosts:
            assert "dask-fleet" not in host.run("ls /etc/systemd/system").stdout
            left = host.run("ls /var/lib/dask-fleet/fleets").stdout.split()
            kept = ["sst.door", "sst.history.jsonl"]
            assert left == (kept if host is lab.scheduler else [])
            listeners = host.run(["ss", "-Hltn"]).stdout
            assert not any(f":{port} " in listeners for ports in PORTS.values() for port in ports)
            assert not host.run("pgrep -u dask-fleet", check=False).stdout
        assert "nothing to do" in fleet.call("down", "--yes").stdout
        last = json.loads(fleet.call("history", "--json").stdout)[-1]
        assert (last["what"], last["result"]) == ("down", "done")
        assert set(last["hosts"]) == {host.name for host in lab.hosts}
