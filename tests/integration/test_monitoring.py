"""A real Prometheus watches a real fleet by what `dask fleet monitoring export` writes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import Desk, eventually, fleet_text, free_ports, make_desk
from tests.integration.prometheus import (
    PATIENCE,
    Board,
    Prometheus,
    missing_data,
    prometheus,
    values_of_rules,
)

WORKERS = ["dask-worker-0001", "dask-worker-0002"]
PROCESSES = ["dask-scheduler", *WORKERS]

#: Computes, moves data, spills and fails until its input ends; it keeps what it has made.
COMPUTATION = """\
import os, sys, threading
import dask.array as da
from distributed import Client, wait

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

with Client(timeout=60) as client:
    failed = client.submit(lambda: 1 / 0)
    kept = client.map(lambda number: os.urandom(20 << 20), range(40), pure=False)
    wait([failed, *kept], timeout=120)
    assert [one.status for one in kept] == ["finished"] * len(kept)
    assert failed.status == "error"
    print("kept", flush=True)
    rounds = 0
    while not ended.is_set():
        rounds += 1
        x = da.random.default_rng(rounds).normal(size=(2000, 2000), chunks=250)
        (x + x.T).mean(axis=0).std().compute()
    print("rounds", rounds, flush=True)
"""


@dataclass(frozen=True)
class Watched:
    """A fleet that a Prometheus watches."""

    desk: Desk
    export: Path
    prometheus: Prometheus

    @property
    def rules(self) -> list[dict[str, Any]]:
        (group,) = yaml.safe_load((self.export / "rules.yml").read_text())["groups"]
        return group["rules"]

    def pid(self, name: str) -> int:
        return self.desk.rows()[name]["pid"]


@pytest.fixture(scope="module", params=["straight", "through the door"])
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A fleet that is watched: each process by itself, or all through a door with TLS and login."""
    through = request.param == "through the door"
    with make_desk() as desk:
        base = free_ports(60)
        door = f"door: {{listen: {base + 5}, tls: fleet, login: users}}\n" if through else ""
        text = fleet_text("watched", base, workers=len(WORKERS), more=f"tls: true\n{door}")
        desk.declare(text.replace("1 GiB", "600 MiB"))
        desk.call("up", "--yes")
        export = desk.directory / "monitoring"
        said = desk.call("monitoring", "export", str(export), "--interval", "1").out
        if through:
            token = export / "prometheus.token"
            assert f"wanted {token}: a token: `dask fleet door token add prometheus" in said
            token.write_text(desk.call("door", "token", "add", "prometheus").out)
        with prometheus(export) as one:
            yield Watched(desk, export, one)


@pytest.fixture(scope="module")
def computing(watched: Watched) -> Iterator[None]:
    """Compute on the fleet from the first test that asks for it to the last."""
    desk = watched.desk
    script, log = desk.directory / "computation.py", desk.directory / "computation.log"
    script.write_text(COMPUTATION, encoding="utf-8")
    desk.call("client-config", str(desk.directory / "client"))
    with log.open("w") as output:
        process = subprocess.Popen(
            [desk.call("env", "--python").out.strip(), str(script)],
            cwd=desk.directory,
            env={**os.environ, "DASK_CONFIG": str(desk.directory / "client")},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(
            lambda: "kept" in log.read_text() or process.poll() is not None,
            within=120,
            what="results are kept",
        )
        assert process.poll() is None, log.read_text()
        yield
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_promtool_finds_nothing_wrong(watched: Watched) -> None:
    said = watched.desk.run("promtool", "check", "config", str(watched.export / "prometheus.yml"))
    assert "1 rule files found" in said
    said = watched.desk.run("promtool", "check", "rules", str(watched.export / "rules.yml"))
    assert f"{len(watched.rules)} rules found" in said


def test_prometheus_finds_every_process_by_itself(watched: Watched) -> None:
    eventually(
        lambda: watched.prometheus.health() == dict.fromkeys(PROCESSES, "up"),
        within=PATIENCE,
        what="all targets are up",
    )
    targets = watched.prometheus.targets()
    assert {name: target["labels"] for name, target in targets.items()} == {
        name: {
            "job": "dask-fleet-watched",
            "fleet": "watched",
            "instance": name,
            "host": "localhost",
            **(
                {"role": "scheduler"}
                if name == "dask-scheduler"
                else {"role": "worker", "worker": name, "group": "default"}
            ),
        }
        for name in PROCESSES
    }


@pytest.mark.usefixtures("computing")
def test_every_query_of_the_dashboard_has_data(watched: Watched) -> None:
    board = Board.of(watched.export, window="5s")
    assert board.variables(watched.prometheus) == {
        "fleet": ["watched"],
        "host": ["localhost"],
        "worker": WORKERS,
    }
    queries = board.queries()
    assert len(queries) > 40
    missing_data(watched.prometheus, queries, within=60)


@pytest.mark.usefixtures("computing")
def test_every_rule_is_evaluated_and_looks_at_data(watched: Watched) -> None:
    values = values_of_rules(watched.rules)
    assert len(values) == len(watched.rules)
    missing_data(watched.prometheus, values, within=PATIENCE)
    (group,) = watched.prometheus.ask("rules")["groups"]
    loaded = {rule["name"]: (rule["health"], rule.get("lastError")) for rule in group["rules"]}
    assert loaded == dict.fromkeys(values, ("ok", None))


@pytest.mark.usefixtures("computing")
def test_what_is_true_of_the_computation_is_alarmed(watched: Watched) -> None:
    (failed,) = eventually(
        lambda: watched.prometheus.firing("DaskFleetTasksFailed"),
        within=PATIENCE,
        what="the failed task is known",
    )
    assert failed["fleet"] == "watched"
    spilling = eventually(
        lambda: watched.prometheus.firing("DaskFleetSpilling"),
        within=2 * PATIENCE,
        what="workers spill",
    )
    assert {one["worker"] for one in spilling} <= set(WORKERS)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_is_killed_and_kept_away_is_alarmed(watched: Watched) -> None:
    killed, other = WORKERS
    run = watched.desk.state / "fleets" / "watched" / "run"
    launcher = json.loads((run / "dask-workers-default.json").read_text())["pid"]
    prometheus = watched.prometheus
    assert prometheus.firing("DaskFleetWorkerMissing") == []
    pid = watched.pid(killed)
    with stopped(launcher):  # with its nannies, who would start the worker again
        os.kill(pid, signal.SIGKILL)
        (alert,) = eventually(
            lambda: prometheus.firing("DaskFleetWorkerMissing"),
            within=PATIENCE,
            what="the alert fires",
        )
        assert (alert["worker"], alert["worker_host"]) == (killed, "localhost")
        assert alert["severity"] == "critical"
        assert prometheus.health() == {"dask-scheduler": "up", killed: "down", other: "up"}
    eventually(
        lambda: not prometheus.firing("DaskFleetWorkerMissing"),
        within=60,
        what="the alert is over when the worker is back",
    )
    assert (
        prometheus.query(f'dask_fleet_worker_registered{{worker="{killed}"}}')[0]["value"][1] == "1"
    )


def test_a_worker_that_is_frozen_is_alarmed(watched: Watched) -> None:
    _, frozen = WORKERS
    with stopped(watched.pid(frozen)):
        (alert,) = eventually(
            lambda: watched.prometheus.firing("DaskFleetWorkerOutOfReach"),
            within=PATIENCE,
            what="the alert fires",
        )
        assert alert["worker"] == frozen
    eventually(
        lambda: not watched.prometheus.firing("DaskFleetWorkerOutOfReach"),
        within=PATIENCE,
        what="the alert is over when the worker goes on",
    )


def test_a_scheduler_that_does_not_answer_is_alarmed(watched: Watched) -> None:
    with stopped(watched.pid("dask-scheduler")):
        (alert,) = eventually(
            lambda: watched.prometheus.firing("DaskFleetSchedulerDown"),
            within=PATIENCE,
            what="the alert fires",
        )
        assert alert["severity"] == "critical"
        # Nobody tells Prometheus what there is; it goes on with what it knows.
        assert set(watched.prometheus.targets()) == set(PROCESSES)
    eventually(
        lambda: watched.prometheus.health() == dict.fromkeys(PROCESSES, "up"),
        within=PATIENCE,
        what="all targets are up",
    )
    eventually(
        lambda: not watched.prometheus.firing("DaskFleetSchedulerDown"),
        within=PATIENCE,
        what="the alert is over",
    )
