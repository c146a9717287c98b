"""Processes and workers that nobody declared are named, and never ended."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab import Lab
from lab.host import Host

from tests.vms.operator import WORKERS, Operator, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = "dask-fleet.sst.dask-workers-default.service"
SCHEDULER = "dask-fleet.sst.dask-scheduler.service"
PYTHON = "/var/lib/dask-fleet/environments/*/bin/python"


@contextmanager
def foreign(host: Host, *argv: str, listens: int | None = None) -> Iterator[int]:
    """Run something on a host that is none of the fleet's, and give its pid."""
    host.run(["systemd-run", "--quiet", "--unit=foreign", *argv])
    try:
        if listens:
            sockets = ["ss", "-Hltn"]
            eventually("it listens", lambda: f":{listens} " in host.run(sockets).stdout, 10)
        yield pid_of(host, "foreign")
    finally:
        host.run(["systemctl", "stop", "foreign"])


def pid_of(host: Host, unit: str) -> int:
    show = ["systemctl", "show", "--property=MainPID", "--value", unit]
    return int(host.run(show).stdout)


def serve(address: str, port: int) -> tuple[str, ...]:
    return ("python3", "-m", "http.server", "--bind", address, str(port))


def strangers(operator: Operator) -> list[dict[str, Any]]:
    return json.loads(operator.call("status", "--json").stdout)["strangers"]


def findings(operator: Operator, status: int) -> dict[str, dict[str, Any]]:
    value = json.loads(operator.call("doctor", "--json", status=status).stdout)
    return {one["check"]: one for one in value["findings"]}


def test_a_port_that_others_hold_is_named_everywhere_and_stops_its_own_host_alone(
    lab: Lab, fleet: Operator
):
    assert strangers(fleet) == []
    held, other = lab.workers[1], lab.workers[2]
    for host in (held, other):
        host.run(["systemctl", "stop", UNIT])
    with foreign(held, *serve(held.address, 9020), listens=9020) as pid:
        words = "port 9020, which dask-workers-default needs, is held by `"
        (one,) = strangers(fleet)
        assert (one["kind"], one["host"]) == ("process", held.name)
        assert (one["port"], one["pid"]) == (9020, pid)
        assert "http.server" in one["name"]
        (line,) = [x for x in fleet.call("status").stdout.splitlines() if "warning: " in x]
        assert line.startswith(f"warning: {held.name}: {words}")
        assert line.endswith(f"(pid {pid})")
        finding = findings(fleet, 11)["ports"]
        assert finding["place"] == held.name
        assert finding["fault"].startswith(words)
        plan = fleet.call("plan", status=8)
        assert f"on {other.name}: it was stopped" in plan.stdout
        assert f"{held.name}: {words}" in plan.stderr
        done = fleet.call("up", "--yes", status=8)
        assert "3 workers registered of 4 declared" in done.stdout
        assert f"{held.name}: {words}" in done.stderr
        assert "remedy: end what holds them" in done.stderr
        assert pid_of(held, "foreign") == pid
        states = fleet.states()
        assert states.pop(WORKERS[1]) == "stopped"
        assert set(states.values()) == {"running"}
        again = fleet.call("up", "--yes", status=8)
        assert "nothing to do; 3 workers registered of 4 declared" in again.stdout
    assert json.loads(fleet.call("history", "--json").stdout)[-1]["result"] == "failed"
    fleet.call("up", "--yes")
    fleet.until_all_run(60)
    assert strangers(fleet) == []


def test_a_port_of_the_scheduler_that_others_hold_stops_an_up(lab: Lab, fleet: Operator):
    lab.scheduler.run(["systemctl", "stop", SCHEDULER])
    lab.workers[0].run(["systemctl", "stop", UNIT])
    with foreign(lab.scheduler, *serve("0.0.0.0", 8786), listens=8786) as pid:
        done = fleet.call("up", "--yes", status=8)
        assert f"(pid {pid})" in done.stderr
        assert "dask-scheduler: port 8786, which dask-scheduler needs" in done.stderr
        assert fleet.states()[WORKERS[0]] == "stopped"
        (one,) = strangers(fleet)
        assert (one["host"], one["port"], one["pid"]) == ("dask-scheduler", 8786, pid)
    fleet.call("up", "--yes")
    fleet.until_all_run(60)


def test_a_worker_that_nobody_declared_is_named_and_left_alone(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    python = host.run(f"ls -d {PYTHON} | head -1").stdout.strip()
    words = [python, "-m", "distributed.cli.dask_worker", "tcp://10.77.0.11:8786", "--no-nanny"]
    words += ["--name", "by-hand", "--no-dashboard", "--worker-port", "4040"]
    words += ["--local-directory", "/var/tmp"]
    with foreign(host, *words, listens=4040) as pid:
        found = eventually("it is registered", lambda: strangers(fleet), 20)
        said = "worker by-hand at tcp://10.77.0.12:4040 is registered, and not declared"
        assert [(one["kind"], one["host"], one["name"], one["fault"]) for one in found] == [
            ("worker", host.name, "by-hand", said)
        ]
        assert f"warning: {host.name}: {said}" in fleet.call("status").stdout
        finding = findings(fleet, 0)["workers"]
        assert (finding["severity"], finding["place"]) == ("warning", host.name)
        assert finding["fault"] == said
        assert "nothing to do; 4 workers registered" in fleet.call("up", "--yes").stdout
        assert pid_of(host, "foreign") == pid
    eventually("it is gone", lambda: not strangers(fleet), 40)
