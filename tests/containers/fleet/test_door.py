"""A door in the nginx of a container host: login, https, pages, metrics, and what it says alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.containers.conftest import CONTAINED
from tests.integration.browser import Tab
from tests.integration.door import ALIVE, ANN, basic
from tests.integration.looking import console, goes_on
from tests.vms.door.test_door_live import worker_page
from tests.vms.gate import ACCOUNTS, Gate, until_all_run
from tests.vms.operator import RIGHT, WORKERS, Operator, eventually

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

DOOR = "door: {tls: fleet, login: users}\n"
SCHEDULER = "dask-fleet.sst.dask-scheduler"
SEEN = f"{ACCOUNTS}/seen/dask-scheduler"
PATHS = (
    *("/status", "/fleet/", "/metrics"),
    *(f"/w/{name}/{page}" for name in WORKERS for page in ("health", "metrics")),
    *(f"/proxy/90{n}2/10.77.0.{11 + n}/health" for n in (1, 2, 3, 4)),
)


@pytest.fixture(scope="module")
def gate(operator: Operator) -> Iterator[Gate]:
    """The fleet of containers, which gets a door that knows ann."""
    operator.write(CONTAINED)
    operator.call("up", "--yes", "--all-at-once")
    one = Gate(operator)
    before = containers(one)
    operator.write(CONTAINED + DOOR)
    operator.call("up", "--yes")
    # To have a door is to change nothing that runs.
    assert containers(one) == before
    one.add_ann()
    yield one
    operator.call("down", "--yes", status=None)
    operator.write(CONTAINED)
    left = f"rm -rf {ACCOUNTS}; systemctl disable --now nginx"
    operator.lab.each(lambda host: host.run(left))


@pytest.fixture(scope="module")
def new_tab(gate: Gate) -> Iterator[Callable[[], Tab]]:
    with gate.browsing() as new_tab:
        yield new_tab


def containers(gate: Gate) -> list[str]:
    return [host.run(["docker", "ps", "-q", "--no-trunc"]).stdout for host in gate.lab.hosts]


def until_processes_run(gate: Gate) -> None:
    """Wait until all processes and the door run."""
    eventually(
        "every process and the door run",
        lambda: set(gate.operator.states().values()) == {"running"},
        180,
    )


def test_who_has_logged_in_sees_every_dashboard(gate: Gate):
    assert {path: gate.ask(path).status for path in PATHS} == dict.fromkeys(PATHS, 401)
    assert gate.ask(Authorization=basic("ann", "not what ann has")).status == 401
    cookie = gate.log_in("ann", ANN)
    eventually("a page", lambda: gate.ask("/status", Cookie=cookie).status == 200, 30)
    assert {path: gate.ask(path, Cookie=cookie).status for path in PATHS} == dict.fromkeys(
        PATHS, 200
    )
    for path in ("/proxy/22/10.77.0.12/", "/proxy/9010/10.77.0.12/", "/w/dask-worker-0009/health"):
        assert gate.ask(path, Cookie=cookie).status == 404
    assert gate.door.websocket(Cookie=cookie, Origin=gate.url) == 101
    assert gate.door.websocket(Origin=gate.url) == 401
    assert gate.operator.plan()["empty"]
    row = gate.operator.rows()["dask-door"]
    assert (row["state"], row["host"], row["unit"]) == ("running", "dask-scheduler", "nginx")


def test_a_program_reads_metrics_of_all_by_its_token(gate: Gate):
    token = gate.call("token", "add", "prometheus").strip()
    for path in ("/metrics", *(f"/w/{name}/metrics" for name in WORKERS)):
        answer = gate.ask(path, Authorization=f"Bearer {token}")
        assert (answer.status, "dask_" in answer.body) == (200, True)
    found = gate.ask("/fleet/api/prometheus-sd", Authorization=f"Bearer {token}")
    assert found.status == 200
    assert {one["targets"][0] for one in json.loads(found.body)} == {"10.77.0.11:443"}
    gate.call("token", "rm", "prometheus")
    assert gate.ask("/metrics", Authorization=f"Bearer {token}").status == 401


def test_the_console_and_pages_are_live_in_a_browser(gate: Gate, new_tab: Callable[[], Tab]):
    tab = new_tab()
    until_all_run(console(tab, gate.url))
    assert "443" in (tab.page.locator("#drawing .wide").text_content() or "")
    goes_on(worker_page(gate, WORKERS[0], tab))
    assert tab.sockets[-1].url.startswith(f"wss://10.77.0.11/w/{WORKERS[0]}/")
    assert tab.faults == []
    tab.page.close()


def test_while_the_scheduler_is_down_it_says_since_when(gate: Gate):
    host = gate.lab.scheduler
    assert gate.cookie
    eventually("it has been seen", lambda: host.run(f"cat {SEEN}", check=False).stdout, 60)
    # An order that Docker follows until it is told otherwise.
    host.run(["docker", "stop", "-t", "20", SCHEDULER], timeout=60)
    try:
        answer = gate.show("/fleet/")
        assert answer.status == 503
        assert re.search(ALIVE, answer.body)
        health = f"/w/{WORKERS[0]}/health"
        assert gate.show(health).status in (200, 503)
    finally:
        host.run(["docker", "start", SCHEDULER], timeout=60)
    until_processes_run(gate)
    eventually("it is back", lambda: gate.show("/fleet/").status == 200, 60)


def test_everything_is_open_again_after_a_boot_and_a_restart_of_the_engine(gate: Gate):
    for fault in ("boot", "engine"):
        if fault == "boot":
            gate.lab.scheduler.reboot()
        else:
            gate.lab.scheduler.run(["systemctl", "restart", "docker"], timeout=90)
        until_processes_run(gate)
        eventually("the door is open", lambda: gate.show("/fleet/").status == 200, 120)
        eventually("a client computes", lambda: gate.operator.compute() == RIGHT, 120)
        assert gate.operator.plan()["empty"]


def test_a_door_that_goes_and_comes_again_still_says_since_when(gate: Gate):
    gate.operator.write(CONTAINED)
    gate.operator.call("up", "--yes")
    host = gate.lab.scheduler
    assert host.run(f"ls {ACCOUNTS}/seen").stdout == ""
    gate.operator.write(CONTAINED + DOOR)
    gate.operator.call("up", "--yes")
    eventually("it says so again", lambda: host.run(f"cat {SEEN}", check=False).stdout, 60)
