"""Workers of the only host of a fleet: they end what they compute, and lose nothing in silence."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.clients import begun
from tests.integration.conftest import Desk, eventually, fleet_text, free_ports, make_desk

# Holds a result, or computes for some seconds, and says what came of it.
HOLDS = """\
from distributed import Client, wait
with Client(timeout=120) as client:
    held = client.submit(lambda: 42, key="the-answer")
    wait(held)
    print("begun", flush=True)
    input()
    print(held.result(timeout=120), flush=True)
"""
COMPUTES = """\
import time
from distributed import Client, get_worker
def slow():
    get_worker().log_event("began", 1)
    time.sleep(6)
with Client(timeout=120) as client:
    slowly = client.submit(slow, key="slow-one")
    while not client.get_events("began"):
        time.sleep(0.05)
    print("begun", flush=True)
    slowly.result(timeout=120)
    print(len(client.get_events("began")), flush=True)
"""
ACTS = """\
from distributed import Client
class Counter:
    def __init__(self):
        self.n = 0
    def increment(self):
        self.n += 1
        return self.n
with Client(timeout=120) as client:
    counter = client.submit(Counter, actor=True).result(timeout=120)
    print("begun", flush=True)
    input()
    print(counter.increment().result(timeout=120), flush=True)
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Desk]:
    with make_desk() as desk:
        desk.declare(fleet_text("draining", free_ports(30), workers=2))
        desk.call("up", "--yes")
        yield desk


@contextmanager
def client(desk: Desk, code: str) -> Iterator[subprocess.Popen[str]]:
    """A client in the fleet's Python that has begun."""
    python = desk.call("env", "--python").out.strip()
    address = desk.rows()["dask-scheduler"]["ports"]["scheduler"]
    environ = desk.environ | {"DASK_SCHEDULER_ADDRESS": f"tcp://127.0.0.1:{address}"}
    with begun([python, "-c", code], env=environ, cwd=desk.directory) as process:
        yield process


def test_what_no_other_worker_can_take_is_named_and_kept(fleet: Desk) -> None:
    before = {name: row["pid"] for name, row in fleet.rows().items()}
    with client(fleet, HOLDS) as process:
        refused = fleet.call("restart", "--rolling", "--yes", status=12)
        assert "no other worker is there to take what its workers hold" in refused.err
        assert "alone holds the-answer" in refused.err
        assert {name: row["pid"] for name, row in fleet.rows().items()} == before
        eventually(
            lambda: {row["state"] for row in fleet.rows().values()} == {"running"},
            within=120,
            what="all workers go on",
        )
        assert process.communicate("\n", timeout=120)[0] == "42\n"
    assert fleet.call("restart", "--rolling", "--yes").status == 0
    after = {name: row["pid"] for name, row in fleet.rows().items()}
    assert after["dask-scheduler"] == before["dask-scheduler"]
    assert set(after.values()).isdisjoint(set(before.values()) - {before["dask-scheduler"]})


def test_what_runs_is_waited_for(fleet: Desk) -> None:
    with client(fleet, COMPUTES) as process:
        said = fleet.call("restart", "--rolling", "--yes")
        assert "waits for 1 task to end" in said.out
        assert process.communicate(timeout=120)[0] == "1\n"


def test_an_actor_is_not_thrown_away(fleet: Desk) -> None:
    with client(fleet, ACTS) as process:
        refused = fleet.call("restart", "--rolling", "--yes", "--drain", "2", status=12)
        assert "1 actor, which cannot be moved" in refused.err
        assert "they go on as before" in refused.err
        assert process.communicate("\n", timeout=120)[0] == "1\n"


def test_a_worker_that_is_frozen_is_named(fleet: Desk) -> None:
    row = fleet.rows()["dask-worker-0002"]
    os.kill(row["pid"], signal.SIGSTOP)
    try:
        refused = fleet.call("restart", "--rolling", "--yes", "--drain", "3", status=12)
        assert "dask-worker-0002 does not answer" in refused.err
    finally:
        os.kill(row["pid"], signal.SIGCONT)
    eventually(
        lambda: {one["state"] for one in fleet.rows().values()} == {"running"},
        within=120,
        what="all workers go on",
    )
    assert fleet.rows()["dask-worker-0002"]["pid"] == row["pid"]
