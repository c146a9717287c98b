"""In which steps workers that run are replaced."""

from __future__ import annotations

import pytest

from dask_fleet.actions import (
    BuildEnvironment,
    Plan,
    Replaced,
    UpdateUnits,
    WriteFiles,
)
from dask_fleet.batches import steps
from tests.unit.simulator import ENVIRONMENT

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
