"""The command of the runtime for this machine that prints logs, over every transport."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from dask_fleet.observed import LogLine
from dask_fleet.places import Places
from dask_fleet.runtimes.supervisor import SupervisorRuntime
from dask_fleet.transports.base import Transport
from tests.contract.test_transport import lines_of, run

RUNTIME = SupervisorRuntime("python3")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "a.log").write_text("one\ntwo\twith a tab\nthree")
    (tmp_path / "b.log").write_text("four\n")
    return replace(Places.below(str(tmp_path), str(tmp_path), "sst"), logs=str(tmp_path))


def test_the_last_lines_of_each_unit_and_whose_they_are(transport: Transport, places: Places):
    def said(*units: str, lines: int) -> list[LogLine]:
        command = RUNTIME.log(places, units, lines=lines, follow=False)
        return [RUNTIME.read_log(line) for line in run(lines_of(transport, command))]

    assert said("a", "b", "not-started", lines=2) == [
        LogLine("a", "two\twith a tab"),
        LogLine("a", "three"),
        LogLine("b", "four"),
    ]
    assert said("a", "b", lines=0) == []
    assert said("not-started", lines=2) == []


def test_new_lines_of_all_units_come_from_one_command(
    transport: Transport, places: Places, tmp_path: Path
):
    command = RUNTIME.log(places, ("a", "b"), lines=1, follow=True)

    async def follow() -> set[LogLine]:
        seen: set[LogLine] = set()
        async with aclosing(transport.lines(command)) as lines:  # type: ignore[type-var]
            async for line in lines:
                seen.add(RUNTIME.read_log(line))
                if len(seen) == 1:
                    with (tmp_path / "a.log").open("a") as log:
                        log.write(" and more\n")
                    (tmp_path / "b.log").rename(tmp_path / "b.log.1")
                    (tmp_path / "b.log").write_text("after a rotation\n")
                if wanted <= seen:
                    break
        return seen

    wanted = {LogLine("a", "three and more"), LogLine("b", "after a rotation")}
    seen = run(follow())
    assert LogLine("b", "four") in seen
    assert wanted <= seen
