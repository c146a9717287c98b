"""What `status` asks of a scheduler that is slow to answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from dask_fleet.blueprint import Blueprint
from dask_fleet.errors import UnreachableHostError
from dask_fleet.observed import SchedulerObserved
from dask_fleet.observer import HostAccess, Sight
from dask_fleet.planned import PlannedFleet
from dask_fleet.transports.base import Transport
from tests.unit.simulator import HOST, PLACES, RUNTIME
from tests.unit.test_inventory import WELL, seen
from tests.unit.test_registration import LAYOUT


class Slow(PlannedFleet):
    """A fleet whose scheduler gives these answers, one after another."""

    def __init__(self, *answers: SchedulerObserved | None, alive: bool, reached: bool) -> None:
        blueprint = cast("Blueprint", SimpleNamespace(layout=lambda _=None: LAYOUT))
        access = HostAccess(cast("Transport", SimpleNamespace(host=HOST)), RUNTIME, PLACES)
        super().__init__(blueprint, {HOST: access})
        self.answers = list(answers)
        self.sight = (
            Sight({HOST: seen(alive=alive)})
            if reached
            else Sight({}, {HOST: UnreachableHostError(HOST, "no answer")})
        )

    async def look(self, *, brief: bool = False) -> Sight:
        return self.sight

    async def cluster(self) -> SchedulerObserved | None:
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("answers", "alive", "reached", "states"),
    [
        ((WELL,), True, True, {"running"}),
        ((None, WELL), True, True, {"running"}),
        ((None, None), True, True, {"starting"}),
        ((None,), False, True, {"starting"}),
        ((None,), False, False, {"unreachable"}),
    ],
    ids=["at once", "late", "not at all", "it has not begun", "its host is away"],
)
def test_a_scheduler_that_runs_is_asked_once_more(
    answers: tuple[SchedulerObserved | None, ...], alive: bool, reached: bool, states: set[str]
):
    fleet = Slow(*answers, alive=alive, reached=reached)
    status = asyncio.run(fleet.status())
    assert {row.state for row in status.rows} == states
    assert fleet.answers == []
