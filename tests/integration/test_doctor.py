"""The doctor on fleets of this machine: real probes, real Dask, real processes in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.integration.conftest import Desk, eventually, fleet_text, free_ports

PROBE = ["python3", "-I", "-"]


def findings(desk: Desk, *, status: int) -> dict[str, list[dict[str, Any]]]:
    """Return what the doctor finds, by check."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in desk.call("doctor", "--json", status=status).json["findings"]:
        found.setdefault(one["check"], []).append(one)
    return found


def listens(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether a socket listens there, without connecting to it."""
    return any(
        one.status == psutil.CONN_LISTEN and tuple(one.laddr) == (address, port)
        for one in psutil.net_connections("tcp")
    )


def probes(parent: int) -> list[psutil.Process]:
    """Return the probes that a doctor has started."""
    children = psutil.Process(parent).children(recursive=True)
    return [one for one in children if one.status() != psutil.STATUS_ZOMBIE]


def ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_before_the_first_up_all_is_well_and_nothing_is_left(desk: Desk):
    base = free_ports(40)
    desk.declare(fleet_text("doctor-first", base))
    done = desk.call("doctor", "--json")
    assert {one["severity"] for one in done.json["findings"]} <= {"note", "warning"}
    assert {"hosts", "ports", "connections", "clocks"} <= set(done.json["passed"])
    assert not any(listens(base + offset) for offset in (0, 1, 10, 11, 12, 20, 21, 22))
    assert not (desk.state / "fleets").exists()
    text = desk.call("doctor").out
    assert "passed  connections: every host reaches every host" in text


def test_while_up_and_half_up(desk: Desk, environment_python: object):
    base = free_ports(40)
    desk.declare(fleet_text("doctor-up", base))
    desk.call("up", "--yes")
    found = findings(desk, status=0)
    assert not {"hosts", "ports", "connections", "versions"} & set(found), found
    # Half up: the workers' unit is stopped, the scheduler runs.
    workers = desk.rows()["dask-worker-0001"]
    program = f"unix://{desk.state}/fleets/doctor-up/control.sock"
    desk.run(
        sys.executable, "-m", "supervisor.supervisorctl", "-s", program, "stop", workers["unit"]
    )
    assert desk.rows()["dask-worker-0001"]["state"] != "running"
    found = findings(desk, status=0)
    assert not {"hosts", "ports", "connections", "versions"} & set(found), found
    assert listens(base)
    assert not listens(base + 10)


def test_a_foreign_process_on_a_declared_port_is_named(desk: Desk):
    base = free_ports(40)
    desk.declare(fleet_text("doctor-foreign", base))
    with socket.create_server(("127.0.0.1", base + 11)):
        (finding,) = findings(desk, status=11)["ports"]
    assert finding["severity"] == "error"
    assert f"port {base + 11}, which dask-workers-default needs, is held by" in finding["fault"]
    assert f"(pid {os.getpid()})" in finding["fault"]


def test_a_pair_that_is_blocked_is_named_with_its_ports(desk: Desk):
    base = free_ports(40)
    desk.declare(f"""\
name: doctor-blocked
hosts:
  a: {{address: 127.0.0.1}}
  b: {{address: 127.0.0.2, listen: 127.0.0.3}}
  c: {{address: 127.0.0.4, listen: 192.0.2.1}}
scheduler: {{host: a, port: {base}, dashboard: {base + 1}}}
workers:
  default:
    hosts: [b, c]
    per_host: 1
    nthreads: 1
    memory_limit: 1 GiB
    ports: {{worker: {base + 10}, nanny: {base + 11}, dashboard: {base + 12}}}
""")
    found = findings(desk, status=11)
    (port,) = found["ports"]
    assert port["place"] == "c"
    assert "192.0.2.1 is no address of this host" in port["fault"]
    pairs = {
        (one["place"], one["severity"]): one["fault"].split(":")[0] for one in found["connections"]
    }
    assert pairs == {
        ("a -> b", "error"): f"TCP ports {base + 10}-{base + 11}",
        ("a -> b", "warning"): f"TCP port {base + 12}",
        ("b -> b", "error"): f"TCP ports {base + 10}-{base + 11}",
        ("c -> b", "error"): f"TCP port {base + 10}",
    }
    assert all("refused" in one["fault"] for one in found["connections"])
    text = desk.call("doctor", status=11).out
    assert "error   connections: a -> b" in text


def test_a_filtered_port_and_a_rejected_one(desk: Desk):
    """In a network namespace of its own, with a firewall that drops one port of its loopback."""
    desk.declare(fleet_text("doctor-filtered", 9000))
    rules = """
table inet blocks {
  chain input {
    type filter hook input priority filter; policy accept;
    tcp dport 9010 drop
    tcp dport 9021 reject with tcp reset
    tcp dport 9012 reject with icmpx type admin-prohibited
  }
}
"""
    apart = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--net", "--map-root-user"]
    words = 'ip link set lo up; printf %s "$0" | nft -f -; "$@" || test $? = 11'
    out = desk.run(
        *apart, "sh", "-ec", words, rules, *desk.argv, "doctor", "--json",
        PATH=f"{desk.environ['PATH']}:/usr/sbin:/sbin",
    )  # fmt: skip
    found = json.loads(out)["findings"]
    faults = [one["fault"].split(" (")[0] for one in found if one["check"] == "connections"]
    assert faults == [
        "TCP port 9010: no answer",
        "TCP port 9021: refused, although something listens there",
        "TCP port 9012: no route",
    ]


def test_a_host_on_which_the_probe_cannot_run_does_not_keep_the_others(desk: Desk):
    base = free_ports(40)
    desk.declare(fleet_text("doctor-bare", base))
    bare = desk.directory / "bin"
    bare.mkdir()
    python = bare / "python3"
    python.write_text("#!/bin/sh\necho no python here >&2\nexit 127\n")
    python.chmod(0o755)
    desk.environ["PATH"] = f"{bare}:{desk.environ['PATH']}"
    done = desk.call("doctor", "--json", status=11).json
    (finding,) = done["findings"]
    assert (finding["check"], finding["place"]) == ("hosts", "localhost")
    assert "no python here" in finding["fault"]
    assert "python3" in finding["remedy"]
    assert done["passed"] == []


@pytest.fixture
def held_up(desk: Desk) -> Callable[[], None]:
    """Have every second probe wait, so that a doctor stays between its two phases."""
    bare = desk.directory / "bin"
    bare.mkdir()
    python = bare / "python3"
    real = desk.run("sh", "-c", "command -v python3").strip()
    gate = desk.directory / "gate"
    os.mkfifo(gate)
    # The first call listens, the second would connect: it waits for somebody to open the gate.
    python.write_text(
        f'#!/bin/sh\nif mkdir {desk.directory}/first 2>/dev/null; then exec {real} "$@"; fi\n'
        f"touch {desk.directory}/second\nexec cat {gate}\n"
    )
    python.chmod(0o755)
    desk.environ["PATH"] = f"{bare}:{desk.environ['PATH']}"

    def wait() -> None:
        eventually((desk.directory / "second").exists, within=120, what="the second phase begins")

    return wait


def test_a_doctor_that_is_killed_leaves_nobody_listening(desk: Desk, held_up: Callable[[], None]):
    base = free_ports(40)
    desk.declare(fleet_text("doctor-killed", base))
    doctor = desk.begin("doctor")
    held_up()
    assert listens(base)
    children = probes(doctor.pid)
    assert any(one.cmdline()[1:] == PROBE[1:] for one in children)
    doctor.send_signal(signal.SIGKILL)
    doctor.communicate(timeout=120)
    eventually(
        lambda: not any(listens(base + offset) for offset in (0, 1, 10, 11, 12)),
        within=120,
        what="the probe has ended with the doctor",
    )
    # The stand-in of the second probe waits for its gate; the real one would end by itself.
    for one in children:
        if not ended(one) and one.name() == "cat":
            one.kill()
    eventually(lambda: all(ended(one) for one in children), within=120, what="no process is left")


def test_ctrl_c_ends_the_probe_too(desk: Desk, held_up: Callable[[], None]):
    base = free_ports(40)
    desk.declare(fleet_text("doctor-interrupted", base))
    doctor = desk.begin("doctor")
    held_up()
    children = probes(doctor.pid)
    doctor.send_signal(signal.SIGINT)
    doctor.communicate(timeout=120)
    assert doctor.returncode == 130
    eventually(lambda: all(ended(one) for one in children), within=120, what="no process is left")
    assert not listens(base)
