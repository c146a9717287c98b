"""In which steps workers that run are replaced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_fleet.actions import (
    BuildEnvironment,
    Plan,
    Replaced,
    UpdateUnits,
    WriteFiles,
)
from dask_fleet.batches import outlook, steps
from dask_fleet.drafting import Draft
from dask_fleet.observed import ProcessRecord, RuntimeObserved, UnitObserved, UnitState
from dask_fleet.planning_units import stop
from tests.unit.simulator import ENVIRONMENT, HOST, SimulatedHost

OLD, NEW = ("a", "b", "c"), "fresh"
EVERY = (*OLD, NEW)
PLAN = Plan(
    phases=(
        tuple(
            action
            for host in EVERY
            for action in (BuildEnvironment(host, ENVIRONMENT), WriteFiles(host, ()))
        ),
        tuple(UpdateUnits(host, ("dask-workers-default",)) for host in EVERY),
    ),
    replaced=tuple(Replaced(host, (f"worker-{host}",)) for host in OLD),
)


def shown(plan: Plan) -> list[list[str]]:
    return [[f"{type(one).__name__} {one.host}" for one in phase] for phase in plan.phases]


def test_every_host_has_the_image_before_any_is_touched_and_new_ones_come_first():
    first, fresh, *rolled = steps(PLAN, 1)
    assert shown(first.plan) == [[f"BuildEnvironment {host}" for host in EVERY]]
    assert first.vital
    assert not first.replaced
    assert shown(fresh.plan) == [["WriteFiles fresh"], ["UpdateUnits fresh"]]
    assert not fresh.vital
    assert [shown(step.plan) for step in rolled] == [
        [[f"WriteFiles {host}"], [f"UpdateUnits {host}"]] for host in OLD
    ]
    assert [step.replaced for step in rolled] == [(one,) for one in PLAN.replaced]
    assert all(step.vital for step in rolled)


@pytest.mark.parametrize(("batch", "sizes"), [(2, [2, 1]), (3, [3]), (9, [3])])
def test_batches(batch: int, sizes: list[int]):
    rolled = [step for step in steps(PLAN, batch) if step.replaced]
    assert [len(step.hosts) for step in rolled] == sizes


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_no_action_is_lost_or_done_twice(batch: int | None):
    done = [one for step in steps(PLAN, batch) for phase in step.plan.phases for one in phase]
    every = [one for phase in PLAN.phases for one in phase]
    assert len(done) == len(every)
    assert all(one in done for one in every)


@pytest.mark.parametrize(
    ("plan", "batch"), [(PLAN, None), (Plan(PLAN.changes, PLAN.phases), 1)], ids=["asked", "idle"]
)
def test_all_at_once(plan: Plan, batch: int | None):
    (step,) = steps(plan, batch)
    assert step.plan == plan
    assert not step.vital


@pytest.mark.parametrize(
    ("plan", "batch", "hosts", "words"),
    [
        (PLAN, 1, 4, "Workers are replaced host by host"),
        (PLAN, 2, 4, "Workers are replaced 2 hosts at once"),
        (PLAN, None, 4, "All workers stop at once"),
        (PLAN, 3, 3, "No other host has workers that could take"),
        (Plan(PLAN.changes, PLAN.phases, PLAN.replaced[:1]), 1, 1, "No other host has workers"),
        (replace(PLAN, interrupts=True), 1, 4, "--keep-scheduler leaves its host as it is"),
    ],
)
def test_what_becomes_of_running_work(plan: Plan, batch: int | None, hosts: int, words: str):
    assert words in outlook(plan, batch, hosts)


def test_there_is_nothing_to_say_where_no_work_is_stopped_and_no_host_to_keep_on_one_alone():
    assert outlook(Plan(PLAN.changes, PLAN.phases), 1, 4) == ""
    alone = Plan(phases=((UpdateUnits("a", ("dask-scheduler",)),),), interrupts=True)
    assert "--keep-scheduler" not in outlook(alone, 1, 1)


@pytest.mark.parametrize(("state", "drained"), [("running", ["w1"]), ("stopped", [])])
def test_only_workers_of_a_unit_that_runs_can_be_drained(state: UnitState, drained: list[str]):
    """A container that is paused counts as stopped, and its processes are still there."""
    record = ProcessRecord("w1", "workers", "workers", 9, 900.0, 0, "d", {}, alive=True)
    seen = replace(
        SimulatedHost().observe(),
        runtime=RuntimeObserved(True, 1, {"workers": UnitObserved("workers", state, 9)}),
        records={"w1": record},
    )
    draft = Draft(HOST)
    stop(draft, seen, ["workers"])
    assert draft.stopped == drained
    assert not draft.interrupts
