"""Plans under systemd, which is there before the fleet and stays: drift, interruptions, accidents."""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.actions import Plan
from dask_fleet.environment import Environment
from dask_fleet.planner import plan_restart
from dask_fleet.target import HostTarget
from tests.unit.simulator import ENVIRONMENT, HOST, LAUNCHER, SECOND_GROUP, SPEC, target_of
from tests.unit.systemd_simulator import SYSTEM_PLACES, SYSTEMD, SystemdHost

Step = Callable[[SystemdHost], None]
SCHEDULER, WORKERS, BIG = "dask-scheduler", "dask-workers-default", "dask-workers-big"
NEXT_ENVIRONMENT = Environment("xcube", "3.11", "1" * 16, "dask==2024.2.0\n")
THREE = SPEC.replace("per_host: 2", "per_host: 3")


def target(spec: str = SPEC, environment: Environment = ENVIRONMENT) -> HostTarget:
    return target_of(
        spec,
        launcher=LAUNCHER,
        environment=environment,
        places=SYSTEM_PLACES,
        runtime=SYSTEMD,
    )


def up(spec: str = SPEC) -> SystemdHost:
    host = SystemdHost()
    host.apply(host.plan(target(spec)))
    return host


def lines(plan: Plan) -> list[str]:
    return [f"{change.verb} {change.subject}: {change.reason}" for change in plan.changes]


def acts(plan: Plan) -> list[list[str]]:
    return [[f"{type(a).__name__}: {a}" for a in phase] for phase in plan.phases]


def many(*steps: Step) -> Step:
    def happened(host: SystemdHost) -> None:
        for step in steps:
            step(host)

    return happened


def killed_after_writing(spec: str) -> Step:
    """An ``up`` for another spec wrote its files and then was killed."""

    def happened(host: SystemdHost) -> None:
        for action in host.plan(target(spec)).phases[0]:
            for _ in host._do(action):
                pass

    return happened


@dataclass(frozen=True)
class Case:
    """A fleet that is up as SPEC says, what happened to it, and the plan for ``spec``."""

    name: str
    happened: Step
    lines: list[str]
    acts: list[list[str]]
    spec: str = SPEC
    environment: Environment = ENVIRONMENT

    @property
    def target(self) -> HostTarget:
        return target(self.spec, self.environment)


def all_gone(host: SystemdHost) -> None:
    host.__init__()  # type: ignore[misc]


def nothing(_: SystemdHost) -> None:
    """Nothing happened."""


def up_with_both_groups(host: SystemdHost) -> None:
    host.apply(host.plan(target(SPEC + SECOND_GROUP)))


ONE, TWO = "WriteFiles: write 1 file", "WriteFiles: write 2 files"
UPDATE = f"UpdateUnits: update {WORKERS}"
UPDATE_BOTH = f"UpdateUnits: update {SCHEDULER}, {WORKERS}"
PREPARE = "PrepareHost: make user and directories"
NEEDED = "create user and directories: units under systemd need them"
EDITED = f"change {WORKERS}: its files were edited by hand"
IN_MIND = f"change {WORKERS}: systemd has another definition of it in mind"

CASES = [
    Case(
        "nothing is there",
        all_gone,
        [NEEDED, "create environment xcube: it is not there", f"create {SCHEDULER}: it is not there", f"create {WORKERS}: it is not there"],
        [[PREPARE, "BuildEnvironment: make environment xcube (0000000000000000)", "WriteFiles: write 7 files"], [UPDATE_BOTH]],
    ),
    Case("all is as declared", nothing, [], []),
    Case("the machine was started anew", lambda host: host.reboot(), [], []),
    Case("a unit ended and was started again", lambda host: host.start_again(WORKERS), [], []),
    Case("somebody let systemd read its files", lambda host: host.read_again(), [], []),
    Case("a unit was stopped by hand", lambda host: host.stop(WORKERS), [f"start {WORKERS}: it was stopped (inactive (dead), success)"], [[UPDATE]]),
    Case("a unit ends again and again", lambda host: host.crash(WORKERS), [f"restart {WORKERS}: it ends at once (activating (auto-restart), success)"], [[UPDATE]]),
    Case("a unit was disabled", lambda host: host.disable(WORKERS), [f"change {WORKERS}: it would not start at boot (it is disabled)"], [[UPDATE]]),
    Case(
        "a unit was disabled and the machine started anew",
        many(lambda host: host.disable(WORKERS), lambda host: host.reboot()),
        [f"start {WORKERS}: it was stopped (inactive (dead), success)"],
        [[UPDATE]],
    ),
    Case("a service file was edited", lambda host: host.edit_service(WORKERS), [EDITED], [[ONE], [UPDATE]]),
    Case(
        "a service file was edited, and systemd has read it",
        many(lambda host: host.edit_service(WORKERS), lambda host: host.read_again(), lambda host: host.start_again(WORKERS)),
        [EDITED],
        [[ONE], [UPDATE]],
    ),
    Case("a drop-in was added", lambda host: host.add_drop_in(WORKERS), [EDITED], [[ONE], [UPDATE]]),
    Case("a service file is gone", lambda host: host.remove_service(WORKERS), [EDITED], [[ONE], [UPDATE]]),
    Case(
        "a service file is gone, and systemd knows it",
        many(lambda host: host.remove_service(WORKERS), lambda host: host.read_again()),
        [EDITED],
        [[ONE], [UPDATE]],
    ),
    Case(
        "the same, and an up was killed when it had written it again",
        many(lambda host: host.remove_service(WORKERS), lambda host: host.read_again(), killed_after_writing(SPEC)),
        [f"change {WORKERS}: systemd has no definition of it in mind (error)"],
        [[UPDATE]],
    ),
    Case(
        "a service file is gone and the machine was started anew",
        many(lambda host: host.remove_service(WORKERS), lambda host: host.reboot()),
        [f"create {WORKERS}: it is not there"],
        [[ONE], [UPDATE]],
    ),
    Case("a unit file was edited", lambda host: host.edit(f"units/{WORKERS}.json"), [EDITED], [[ONE], [UPDATE]]),
    Case(
        "the fleet's directory is gone",
        lambda host: host.remove_state(),
        [NEEDED, f"change {SCHEDULER}: its files were edited by hand", EDITED],
        [[PREPARE, "WriteFiles: write 5 files"], [UPDATE_BOTH]],
    ),
    Case(
        "the environments are gone",
        lambda host: host.environments.clear(),
        ["create environment xcube: it is not there"],
        [["BuildEnvironment: make environment xcube (0000000000000000)"]],
    ),
    Case(
        "the environments are gone and the machine was started anew",
        many(lambda host: host.environments.clear(), lambda host: host.reboot()),
        ["create environment xcube: it is not there", f"restart {SCHEDULER}: it ends at once (activating (auto-restart), success)", f"restart {WORKERS}: it ends at once (activating (auto-restart), success)"],
        [["BuildEnvironment: make environment xcube (0000000000000000)"], [UPDATE_BOTH]],
    ),
    Case("more workers", nothing, [f"change {WORKERS}: dask-worker-0003 is new"], [[TWO], [UPDATE]], spec=THREE),
    Case(
        "a newer environment",
        nothing,
        ["create environment xcube: it is not there", f"change {SCHEDULER}: release 0000000000000000 -> 1111111111111111", f"change {WORKERS}: release 0000000000000000 -> 1111111111111111"],
        [["BuildEnvironment: make environment xcube (1111111111111111)", "WriteFiles: write 4 files"], [UPDATE_BOTH]],
        environment=NEXT_ENVIRONMENT,
    ),
    Case("an up was killed between writing and updating", killed_after_writing(THREE), [IN_MIND], [[UPDATE]], spec=THREE),
    Case(
        "the same, and somebody let systemd read its files",
        many(killed_after_writing(THREE), lambda host: host.read_again()),
        [f"change {WORKERS}: pid 102 was started from an earlier version ("],
        [[UPDATE]],
        spec=THREE,
    ),
    Case("it was killed there, and the machine was started anew", many(killed_after_writing(THREE), lambda host: host.reboot()), [], [], spec=THREE),
    Case("it was killed there, and the old spec is wanted again", killed_after_writing(THREE), [f"change {WORKERS}: dask-worker-0003 is gone"], [[TWO], [UPDATE]]),
    Case(
        "another group",
        nothing,
        [f"create {BIG}: it is not there"],
        [[TWO], [f"UpdateUnits: update {BIG}"]],
        spec=SPEC + SECOND_GROUP,
    ),
    Case(
        "an up for another group was killed between writing and updating",
        killed_after_writing(SPEC + SECOND_GROUP),
        [f"start {BIG}: it was stopped (inactive (dead), success)"],
        [[f"UpdateUnits: update {BIG}"]],
        spec=SPEC + SECOND_GROUP,
    ),
    Case("a group is no longer declared", up_with_both_groups, [f"remove {BIG}: it is no longer declared"], [[TWO], [f"UpdateUnits: update {BIG}"]]),
    Case(
        "the same, and that up was killed when its files were gone",
        many(up_with_both_groups, killed_after_writing(SPEC)),
        [f"remove {BIG}: it is no longer declared"],
        [[f"UpdateUnits: update {BIG}"]],
    ),
    Case(
        "the same, and the group is wanted again",
        many(up_with_both_groups, killed_after_writing(SPEC), lambda host: host.read_again()),
        [f"change {BIG}: its files were edited by hand"],
        [[TWO], [f"UpdateUnits: update {BIG}"]],
        spec=SPEC + SECOND_GROUP,
    ),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_the_plan_says_what_and_why(case: Case):
    host = up()
    case.happened(host)
    plan = host.plan(case.target)
    said = lines(plan)
    assert len(said) == len(case.lines), said
    for line, expected in zip(said, case.lines, strict=True):
        assert line.startswith(expected), line
    assert acts(plan) == case.acts
    assert plan.empty == (not case.acts)


def test_a_plan_on_what_it_has_done_is_empty(case: Case):
    host = up()
    case.happened(host)
    host.apply(host.plan(case.target))
    assert host.plan(case.target) == Plan()
    assert host.differs_from(case.target) == []


def test_interrupted_anywhere_and_run_again_it_ends_in_the_same_state(case: Case):
    whole = up()
    case.happened(whole)
    total = sum(1 for _ in whole.steps(whole.plan(case.target)))
    for steps in range(total):
        host = up()
        case.happened(host)
        for _ in zip(range(steps), host.steps(host.plan(case.target)), strict=False):
            pass
        host.apply(host.plan(case.target))
        assert host.plan(case.target) == Plan(), f"interrupted after {steps} of {total} steps"
        assert host.differs_from(case.target) == [], f"interrupted after {steps} of {total} steps"
        assert host.files == whole.files
        assert host.enabled == whole.enabled


def test_what_comes_down_leaves_nothing(case: Case):
    host = up()
    case.happened(host)
    host.apply(host.plan_down())
    assert (host.files, host.processes, host.loaded, host.enabled) == ({}, {}, {}, set())
    assert host.plan_down().empty


def test_down_stops_units_and_not_systemd():
    plan = up().plan_down()
    assert lines(plan) == [
        f"stop {SCHEDULER}: the fleet goes down",
        f"stop {WORKERS}: the fleet goes down",
        "remove files: everything below /var/lib/dask-fleet/fleets/sst",
    ]
    assert acts(plan) == [
        ["StopRuntime: stop its units"],
        ["RemoveFleet: remove the fleet's files"],
    ]


def test_down_removes_service_files_that_systemd_has_never_read():
    host = SystemdHost()
    host.apply(Plan(phases=host.plan(target()).phases[:1]))
    host.remove_state()
    plan = host.plan_down()
    assert acts(plan) == [["StopRuntime: stop its units"]]
    host.apply(plan)
    assert host.files == {}


def test_restart_restarts_what_runs():
    host = up()
    before = dict(host.processes)
    plan = plan_restart([target()], {HOST: host.observe()}, frozenset({"dask-worker-0002"}))
    assert acts(plan) == [[f"RestartUnits: restart {WORKERS}"]]
    host.apply(plan)
    assert host.processes[SCHEDULER] is before[SCHEDULER]
    assert host.processes[WORKERS].pid > before[WORKERS].pid
    assert host.plan(target()) == Plan()


# What may happen between two looks, whatever the plan was about.
ACCIDENTS: dict[str, Step] = {
    "nothing": nothing,
    "reboot": lambda host: host.reboot(),
    "systemd reads its files": lambda host: host.read_again(),
    "workers stopped": lambda host: host.stop(WORKERS),
    "scheduler crashes": lambda host: host.crash(SCHEDULER),
    "workers disabled": lambda host: host.disable(WORKERS),
    "workers started again": lambda host: host.start_again(WORKERS),
    "unit file edited": lambda host: host.edit(f"units/{WORKERS}.json"),
    "service edited": lambda host: host.edit_service(WORKERS),
    "service gone": lambda host: host.remove_service(SCHEDULER),
    "service gone and read": many(
        lambda host: host.remove_service(WORKERS), lambda host: host.read_again()
    ),
    "drop-in": lambda host: host.add_drop_in(SCHEDULER),
    "stray file": lambda host: host.add("units/notes.txt"),
    "environments gone": lambda host: host.environments.clear(),
    "state gone": lambda host: host.remove_state(),
}

TARGETS = [
    target(),
    target(THREE),
    target(SPEC + SECOND_GROUP),
    target(SPEC + "variables: {A: b}\n"),
    target(environment=NEXT_ENVIRONMENT),
]

ROUND = st.tuples(
    st.sampled_from(range(len(TARGETS))),
    st.integers(0, 40),  # steps after which the apply is interrupted
    st.sampled_from(sorted(ACCIDENTS)),
)


def after(rounds: list[tuple[int, int, str]]) -> SystemdHost:
    host = SystemdHost()
    for number, steps, accident in rounds:
        for _ in zip(range(steps), host.steps(host.plan(TARGETS[number])), strict=False):
            pass
        ACCIDENTS[accident](host)
    return host


@given(st.lists(ROUND, max_size=4), st.sampled_from(range(len(TARGETS))))
def test_whatever_happened_before_one_up_is_enough(
    rounds: list[tuple[int, int, str]], last: int
) -> None:
    host, wanted = after(rounds), TARGETS[last]
    plan = host.plan(wanted)
    assert plan == host.plan(wanted), "the same input gives the same plan"
    host.apply(plan)
    assert host.plan(wanted) == Plan()
    assert host.differs_from(wanted) == []
    host.reboot()
    assert host.plan(wanted) == Plan(), "it comes back by itself"


@given(st.lists(ROUND, max_size=4), st.integers(0, 20))
def test_whatever_happened_before_down_leaves_nothing(
    rounds: list[tuple[int, int, str]], steps: int
) -> None:
    host = after(rounds)
    for _ in zip(range(steps), host.steps(host.plan_down()), strict=False):
        pass
    host.apply(host.plan_down())
    assert (host.files, host.processes, host.loaded) == ({}, {}, {})
    assert host.plan_down().empty
