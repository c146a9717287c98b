"""A real Prometheus watches a real fleet by what `dask fleet monitoring export` writes.

`test_monitoring_door.py` has those of these tests for which it matters that a door is between.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.integration import watching
from tests.integration.conftest import eventually
from tests.integration.prometheus import PATIENCE, Board, missing_data, values_of_rules
from tests.integration.watching import PROCESSES, WORKERS, Watched, stopped


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with watching.watching(through=False) as one:
        yield one


@pytest.fixture(scope="module")
def computing(watched: Watched) -> Iterator[None]:
    with watching.computing(watched):
        yield


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
    missing_data(watched.prometheus, queries, within=120)


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
        within=120,
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
