"""What a plan says in every situation, and that it always gets there."""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.actions import Plan
from dask_fleet.comparing import differences
from dask_fleet.environment import Environment
from dask_fleet.observed import Listener
from dask_fleet.planner import plan_restart, plan_up
from dask_fleet.ports import PortInTheWay, ports_in_the_way
from dask_fleet.target import HostTarget, ManagedFile
from tests.unit.simulator import (
    ENVIRONMENT,
    HOST,
    LAUNCHER,
    PLACES,
    RUNTIME,
    SECOND_GROUP,
    SPEC,
    SimulatedHost,
    target_of,
    up,
)

Step = Callable[[SimulatedHost], None]
NEXT_ENVIRONMENT = Environment("xcube", "3.11", "1" * 16, "dask==2024.2.0\n")
SECRET = "correct-horse-battery"


def lines(plan: Plan) -> list[str]:
    return [f"{change.verb} {change.subject}: {change.why}" for change in plan.changes]


def acts(plan: Plan) -> list[list[str]]:
    return [[f"{type(a).__name__}: {a}" for a in phase] for phase in plan.phases]


@dataclass(frozen=True)
class Case:
    """A fleet that is up as SPEC says, what happened to it, and the plan for ``spec``."""

    name: str
    happened: Step
    lines: list[str]
    acts: list[list[str]]
    spec: str = SPEC
    environment: Environment = ENVIRONMENT
    launcher: str = "print('launch')\n"

    @property
    def target(self) -> HostTarget:
        launcher = LAUNCHER | {"launch.py": self.launcher.encode()}
        return target_of(self.spec, launcher=launcher, environment=self.environment)


def nothing(_: SimulatedHost) -> None:
    """Nothing happened."""


def all_gone(host: SimulatedHost) -> None:
    host.__init__()  # type: ignore[misc]


def many(*steps: Step) -> Step:
    def happened(host: SimulatedHost) -> None:
        for step in steps:
            step(host)

    return happened


def killed_between_write_and_update(host: SimulatedHost) -> None:
    """An ``up`` for three workers wrote all its files and then was killed."""
    target = target_of(SPEC.replace("per_host: 2", "per_host: 3"))
    host.files = {file.path: file for file in target.files}


def wipe_unit_file(host: SimulatedHost) -> None:
    del host.files[f"{PLACES.deployed}/units/dask-workers-default.json"]


SCHEDULER, WORKERS = "dask-scheduler", "dask-workers-default"
BOTH = f"{SCHEDULER}, {WORKERS}"
NEW_WORKERS = "it is not there (2 workers, dask-worker-0001 to dask-worker-0002)"
UPDATE = f"UpdateUnits: update {WORKERS}"
START_ALL = f"StartRuntime: start supervisor with {BOTH}"
STOP_ALL = "StopRuntime: stop supervisor and its units"
EVERYTHING = "all its units"

CASES = [
    Case(
        "nothing is there",
        all_gone,
        ["create environment xcube: it is not there", "create dask-scheduler: it is not there", f"create {WORKERS}: {NEW_WORKERS}"],
        [["BuildEnvironment: make environment xcube (0000000000000000)", "WriteFiles: write 8 files"], [START_ALL]],
    ),
    Case("all is as declared", nothing, [], []),
    Case(
        "a unit file was edited by hand",
        lambda host: host.edit(f"units/{WORKERS}.json", host.processes[WORKERS].unit_file.replace(b'"nthreads":1', b'"nthreads":9')),
        [f"change {WORKERS}: its files were edited by hand"],
        [["WriteFiles: write 1 file"], [UPDATE]],
    ),
    Case(
        "a unit file was made into something that is not JSON",
        lambda host: host.edit(f"units/{WORKERS}.json"),
        [f"change {WORKERS}: its files were edited by hand"],
        [["WriteFiles: write 1 file"], [UPDATE]],
    ),
    Case("a unit file is gone", wipe_unit_file, [f"change {WORKERS}: its files were edited by hand"], [["WriteFiles: write 1 file"], [UPDATE]]),
    Case(
        "a program file was edited by hand",
        lambda host: host.edit(f"programs/{SCHEDULER}.conf"),
        [f"change {SCHEDULER}: its files were edited by hand"],
        [["WriteFiles: write 1 file"], [f"UpdateUnits: update {SCHEDULER}"]],
    ),
    Case(
        "more threads",
        nothing,
        [f"change {WORKERS}: nthreads 1 -> 2 (2 workers)"],
        [["WriteFiles: write 2 files"], [UPDATE]],
        spec=SPEC.replace("nthreads: 1", "nthreads: 2"),
    ),
    Case(
        "more memory",
        nothing,
        [f"change {WORKERS}: memory_limit 1 GiB -> 2 GiB (2 workers)"],
        [["WriteFiles: write 2 files"], [UPDATE]],
        spec=SPEC.replace("1 GiB", "2 GiB"),
    ),
    Case(
        "other ports of the workers",
        nothing,
        [f"change {WORKERS}: dask-worker-0001.dashboard_port 9012 -> 9112; dask-worker-0001.nanny_port 9011 -> 9111; dask-worker-0001.port 9010 -> 9110; dask-worker-0002.dashboard_port 9022 -> 9122; and 2 more"],
        [["WriteFiles: write 2 files"], [UPDATE]],
        spec=SPEC.replace("901", "911"),
    ),
    Case(
        "another port of the scheduler",
        nothing,
        [f"change {SCHEDULER}: port 8786 -> 8796", f"change {WORKERS}: scheduler tcp://127.0.0.1:8786 -> tcp://127.0.0.1:8796"],
        [["WriteFiles: write 4 files"], [f"UpdateUnits: update {BOTH}"]],
        spec=SPEC.replace("8786", "8796"),
    ),
    Case(
        "a variable was added; its value may be a secret",
        nothing,
        [f"change {SCHEDULER}: variable TOKEN changed", f"change {WORKERS}: variable TOKEN changed"],
        [["WriteFiles: write 4 files"], [f"UpdateUnits: update {BOTH}"]],
        spec=SPEC + f"variables: {{TOKEN: {SECRET}}}\n",
    ),
    Case(
        "dask.yaml changes",
        nothing,
        [f"change {SCHEDULER}: the Dask configuration changed", f"change {WORKERS}: the Dask configuration changed"],
        [["WriteFiles: write 5 files"], [f"UpdateUnits: update {BOTH}"]],
        spec=SPEC + "config: {distributed.comm.timeouts.connect: 60s}\n",
    ),
    Case(
        "dask.yaml was edited by hand",
        lambda host: host.edit("dask.yaml"),
        ["change files: edited or left behind: dask.yaml"],
        [["WriteFiles: write 1 file"]],
    ),
    Case(
        "a new version of dask-fleet brings another launcher",
        nothing,
        [f"change {SCHEDULER}: the launcher of dask-fleet changed", f"change {WORKERS}: the launcher of dask-fleet changed"],
        [["WriteFiles: write 5 files"], [f"UpdateUnits: update {BOTH}"]],
        launcher="print('faster')\n",
    ),
    Case(
        "the environment is missing",
        lambda host: host.environments.clear(),
        ["create environment xcube: it is not there"],
        [["BuildEnvironment: make environment xcube (0000000000000000)"]],
    ),
    Case(
        "a newer environment",
        nothing,
        ["create environment xcube: it is not there", f"change {SCHEDULER}: release 0000000000000000 -> 1111111111111111", f"change {WORKERS}: release 0000000000000000 -> 1111111111111111"],
        [["BuildEnvironment: make environment xcube (1111111111111111)", "WriteFiles: write 4 files"], [f"UpdateUnits: update {BOTH}"]],
        environment=NEXT_ENVIRONMENT,
    ),
    Case(
        "a unit was stopped by hand",
        lambda host: host.set_state(WORKERS, "stopped"),
        [f"start {WORKERS}: it was stopped (Not started)"],
        [[UPDATE]],
    ),
    Case(
        "a unit ends again and again",
        lambda host: host.set_state(WORKERS, "crashing"),
        [f"restart {WORKERS}: it ends at once (Not started)"],
        [[UPDATE]],
    ),
    Case(
        # Not merely started: supervisord would start it from the definition that it has in mind.
        "an up was killed after writing, and the unit ends again and again",
        many(killed_between_write_and_update, lambda host: host.set_state(WORKERS, "crashing")),
        [f"restart {WORKERS}: it ends at once (Not started)"],
        [[UPDATE]],
        spec=SPEC.replace("per_host: 2", "per_host: 3"),
    ),
    Case("a unit is about to run", lambda host: host.set_state(WORKERS, "starting"), [], []),
    Case(
        "an earlier up was killed between writing and restarting",
        killed_between_write_and_update,
        [f"change {WORKERS}: pid 103 was started from an earlier version ("],
        [[UPDATE]],
        spec=SPEC.replace("per_host: 2", "per_host: 3"),
    ),
    Case(
        "it was killed there, and the old spec is wanted again",
        killed_between_write_and_update,
        [f"change {WORKERS}: dask-worker-0003 is gone"],
        [["WriteFiles: write 2 files"], [UPDATE]],
    ),
    Case(
        "a group is new",
        nothing,
        ["create dask-workers-big: it is not there (dask-big-0001)"],
        [["WriteFiles: write 2 files"], ["UpdateUnits: update dask-workers-big"]],
        spec=SPEC + SECOND_GROUP,
    ),
    Case(
        "a group is no longer declared",
        lambda host: host.apply(host.plan(target_of(SPEC + SECOND_GROUP))),
        ["remove dask-workers-big: it is no longer declared"],
        [["WriteFiles: write 2 files"], ["UpdateUnits: update dask-workers-big"]],
    ),
    Case(
        "supervisord was killed and its units live on",
        lambda host: host.kill_supervisord(),
        [f"restart {SCHEDULER}: pid 102 runs without its supervisor", f"restart {WORKERS}: pid 103 runs without its supervisor"],
        [[f"StopProcesses: stop {SCHEDULER} (pid 102), {WORKERS} (pid 103)"], [START_ALL]],
    ),
    Case(
        "the same, and one of them is no longer declared",
        many(lambda host: host.apply(host.plan(target_of(SPEC + SECOND_GROUP))), lambda host: host.kill_supervisord()),
        [f"restart {SCHEDULER}: pid 102 runs without its supervisor", f"restart {WORKERS}: pid 103 runs without its supervisor", "remove dask-workers-big: it is no longer declared"],
        [["WriteFiles: write 2 files"], [f"StopProcesses: stop {SCHEDULER} (pid 102), {WORKERS} (pid 103), dask-workers-big (pid 104)"], [START_ALL]],
    ),
    Case(
        "the machine was started anew",
        lambda host: host.reboot(),
        [f"start {SCHEDULER}: supervisor is not running", f"start {WORKERS}: supervisor is not running"],
        [[START_ALL]],
    ),
    Case(
        "supervisord is there and does not answer",
        lambda host: host.hang(),
        ["restart supervisor: pid 101 does not answer on its socket", f"restart {SCHEDULER}: with supervisor", f"restart {WORKERS}: with supervisor"],
        [[STOP_ALL], [START_ALL]],
    ),
    Case(
        # It ends before the file is written, so that no interruption leaves it on old settings.
        "supervisord.conf was edited by hand",
        lambda host: host.edit("supervisord.conf"),
        ["restart supervisor: supervisord.conf changed", f"restart {SCHEDULER}: with supervisor", f"restart {WORKERS}: with supervisor"],
        [[STOP_ALL, "WriteFiles: write 1 file"], [START_ALL]],
    ),
    Case(
        "the same, and supervisord was killed",
        many(lambda host: host.edit("supervisord.conf"), lambda host: host.kill_supervisord()),
        [f"restart {SCHEDULER}: pid 102 runs without its supervisor", f"restart {WORKERS}: pid 103 runs without its supervisor"],
        [["WriteFiles: write 1 file"], [f"StopProcesses: stop {SCHEDULER} (pid 102), {WORKERS} (pid 103)"], [START_ALL]],
    ),
    Case(
        "the same, and the machine was started anew",
        many(lambda host: host.edit("supervisord.conf"), lambda host: host.reboot()),
        [f"start {SCHEDULER}: supervisor is not running", f"start {WORKERS}: supervisor is not running"],
        [["WriteFiles: write 1 file"], [START_ALL]],
    ),
    Case(
        "somebody left a file",
        lambda host: host.add("units/notes.txt"),
        ["change files: edited or left behind: units/notes.txt"],
        [["WriteFiles: write 1 file"]],
    ),
]  # fmt: skip


CONSOLE = {"fleet_console/__init__.py": b"routes = []\n", "fleet_console/page.html": b"<p>\n"}


@pytest.mark.parametrize(
    "after",
    [
        target_of(launcher=LAUNCHER | CONSOLE, inventory=b"other\n"),
        target_of(
            launcher=LAUNCHER | CONSOLE | {"fleet_console/page.html": b"<h1>\n"}, inventory=b"{}\n"
        ),
    ],
    ids=["another inventory", "another page"],
)
def test_what_the_console_shows_is_changed_without_a_restart(after: HostTarget):
    host = up(target_of(launcher=LAUNCHER | CONSOLE, inventory=b"{}\n"))
    plan = host.plan(after)
    assert lines(plan) == ["change console: it shows what is declared now; nothing restarts"]
    assert acts(plan) == [["WriteFiles: write 1 file"]]
    host.apply(plan)
    assert host.plan(after) == Plan()


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


def test_what_comes_down_leaves_nothing(case: Case):
    host = up()
    case.happened(host)
    plan = host.plan_down()
    host.apply(plan)
    assert (host.files, host.processes, host.supervisord) == ({}, {}, None)
    assert host.plan_down().empty
    if "nothing is there" not in case.name:
        assert lines(plan)[-1] == "remove files: everything below /var/state/fleets/sst"


@pytest.mark.parametrize(
    ("happened", "expected", "expected_acts"),
    [
        (all_gone, [], []),
        (
            nothing,
            [f"stop {SCHEDULER}: the fleet goes down", f"stop {WORKERS}: the fleet goes down", "stop supervisor: the fleet goes down"],
            [STOP_ALL],
        ),
        (lambda host: host.hang(), ["stop supervisor: the fleet goes down"], [STOP_ALL]),
        (
            lambda host: host.kill_supervisord(),
            [f"stop {SCHEDULER}: pid 102 runs without its supervisor", f"stop {WORKERS}: pid 103 runs without its supervisor"],
            [f"StopProcesses: stop {SCHEDULER} (pid 102), {WORKERS} (pid 103)"],
        ),
        (lambda host: host.reboot(), [], []),
    ],
    ids=["nothing there", "up", "silent", "orphans", "after a reboot"],
)  # fmt: skip
def test_down_says_what_it_stops(happened: Step, expected: list[str], expected_acts: list[str]):
    host = up()
    happened(host)
    plan = host.plan_down()
    stops = [line for line in lines(plan) if not line.startswith("remove files")]
    assert stops == expected
    assert [a for phase in acts(plan) for a in phase if "RemoveFleet" not in a] == expected_acts


def test_down_removes_directories_that_the_spec_names_too():
    from dask_fleet.places import Places
    from dask_fleet.planner import plan_down

    places = Places.below("/var/state", "/var/data", "sst", work="/fast", logs="/logs")
    plan = plan_down({HOST: up().observe()}, {HOST: RUNTIME}, {HOST: places})
    (removal,) = plan.phases[-1]
    state = "/var/state/fleets/sst"
    assert removal.paths == ("/fast/sst", "/logs/sst", state, f"{state}.lease.turn")


@pytest.mark.parametrize("old", [None, "first-secret"])
def test_no_plan_shows_the_value_of_a_variable(old: str | None):
    before = SPEC + (f"variables: {{TOKEN: {old}, KEPT: kept-secret}}\n" if old else "")
    host = up(target_of(before))
    for after in (SPEC, SPEC + f"variables: {{TOKEN: {SECRET}}}\n"):
        plan = host.plan(target_of(after))
        shown = repr(plan.changes) + repr(acts(plan)) + "".join(map(str, plan.changes))
        assert SECRET not in shown
        assert "secret" not in shown


def workers(**values: int) -> dict[str, object]:
    return {"workers": [{"name": name, "p": value} for name, value in values.items()]}


@pytest.mark.parametrize(
    ("was", "will", "expected"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a 1 -> 2"]),
        ({"a": 1}, {}, ["a 1 -> nothing"]),
        ({}, {"a": 1}, ["a nothing -> 1"]),
        ({"a": None}, {}, []),
        ({"b": 1, "a": 1}, {"a": 2, "c": 3}, ["b 1 -> nothing", "a 1 -> 2", "c nothing -> 3"]),
        ({"r": {"GPU": 1}}, {"r": {"GPU": 2}}, ["r.GPU 1 -> 2"]),
        ({"environment": {"A": "x"}}, {"environment": {"B": "y"}}, ["variable A changed", "variable B changed"]),
        ({"l": [1, 2]}, {"l": [1, 3]}, ["l [1, 2] -> [1, 3]"]),
        (workers(one=1), workers(one=2), ["p 1 -> 2"]),
        (workers(one=1, two=1), workers(one=2, two=2), ["p 1 -> 2 (2 workers)"]),
        (workers(one=1, two=1), workers(one=2, two=3), ["one.p 1 -> 2", "two.p 1 -> 3"]),
        (workers(one=1), workers(one=1, two=1), ["two is new"]),
        (workers(one=1, two=1), workers(two=1), ["one is gone"]),
        ({"workers": 1}, {"workers": 2}, ["workers 1 -> 2"]),
    ],
)  # fmt: skip
def test_differences(was: dict[str, object], will: dict[str, object], expected: list[str]):
    assert differences(was, will) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), [f"restart {SCHEDULER}: asked for all", f"restart {WORKERS}: asked for all"]),
        (
            ("dask-worker-0002",),
            [f"restart {WORKERS}: asked for dask-worker-0002, and with it dask-worker-0001"],
        ),
        (
            (WORKERS,),
            [
                f"restart {WORKERS}: asked for {WORKERS}, and with it dask-worker-0001, dask-worker-0002"
            ],
        ),
        ((SCHEDULER,), [f"restart {SCHEDULER}: asked for {SCHEDULER}"]),
        (
            ("dask-worker-0002", "dask-worker-0001"),
            [f"restart {WORKERS}: asked for dask-worker-0001, dask-worker-0002"],
        ),
        (("nobody",), []),
    ],
)
def test_restart_takes_the_units_that_hold_the_names(names: tuple[str, ...], expected: list[str]):
    host = up()
    before = dict(host.processes)
    plan = plan_restart([target_of()], {HOST: host.observe()}, frozenset(names))
    assert lines(plan) == expected
    host.apply(plan)
    restarted = {name for name in before if host.processes[name] is not before[name]}
    assert restarted == {change.subject for change in plan.changes}


def test_restart_of_what_is_not_up_is_nothing():
    plan = plan_restart([target_of()], {HOST: SimulatedHost().observe()}, frozenset())
    assert plan.empty


def test_hosts_share_phases_and_keep_the_order_of_the_spec():
    here = target_of()
    there = replace(here, host="other")
    seen = {name: replace(SimulatedHost().observe(), host=name) for name in ("other", HOST)}
    plan = plan_up([there, here], seen, {HOST: RUNTIME, "other": RUNTIME})
    assert [change.host for change in plan.changes] == ["other"] * 3 + [HOST] * 3
    assert [[a.host for a in phase] for phase in plan.phases] == [
        ["other", "other", HOST, HOST],
        ["other", HOST],
    ]


# What may happen between two looks, whatever the plan was about.
ACCIDENTS: dict[str, Step] = {
    "nothing": nothing,
    "supervisord killed": lambda host: host.kill_supervisord(),
    "reboot": lambda host: host.reboot(),
    "supervisord hangs": lambda host: host.hang(),
    "workers stopped": lambda host: host.set_state(WORKERS, "stopped"),
    "scheduler crashes": lambda host: host.set_state(SCHEDULER, "crashing"),
    "unit file edited": lambda host: host.edit(f"units/{WORKERS}.json"),
    "program edited": lambda host: host.edit(f"programs/{WORKERS}.conf"),
    "settings edited": lambda host: host.edit("supervisord.conf"),
    "stray file": lambda host: host.add("programs/stray.conf.bak"),
    "environments gone": lambda host: host.environments.clear(),
    "all files gone": lambda host: host.files.clear(),
    "workers started again": lambda host: host.start_again(WORKERS),
}

LOGS_ELSEWHERE = "directories: {logs: /var/log/dask}\n"


def targets() -> list[HostTarget]:
    from dask_fleet.places import Places

    elsewhere = Places.below("/var/state", "/var/data", "sst", logs="/var/log/dask")
    return [
        target_of(),
        target_of(SPEC.replace("per_host: 2", "per_host: 3")),
        target_of(SPEC + SECOND_GROUP),
        target_of(SPEC + "variables: {A: b}\n"),
        target_of(environment=NEXT_ENVIRONMENT),
        target_of(launcher=LAUNCHER | {"more.py": b"1\n"}),
        target_of(SPEC + LOGS_ELSEWHERE, places=elsewhere),
    ]


TARGETS = targets()

ROUND = st.tuples(
    st.sampled_from(range(len(TARGETS))),
    st.integers(0, 40),  # steps after which the apply is interrupted
    st.sampled_from(sorted(ACCIDENTS)),
)


@given(st.lists(ROUND, max_size=4), st.sampled_from(range(len(TARGETS))))
def test_whatever_happened_before_one_up_is_enough(
    rounds: list[tuple[int, int, str]], last: int
) -> None:
    host = SimulatedHost()
    for number, steps, accident in rounds:
        for _ in zip(range(steps), host.steps(host.plan(TARGETS[number])), strict=False):
            pass
        ACCIDENTS[accident](host)
    target = TARGETS[last]
    plan = host.plan(target)
    assert plan == host.plan(target), "the same input gives the same plan"
    host.apply(plan)
    assert host.plan(target) == Plan()
    assert host.differs_from(target) == []


@given(st.lists(ROUND, max_size=4), st.integers(0, 10))
def test_whatever_happened_before_down_leaves_nothing(
    rounds: list[tuple[int, int, str]], steps: int
) -> None:
    host = SimulatedHost()
    for number, done, accident in rounds:
        for _ in zip(range(done), host.steps(host.plan(TARGETS[number])), strict=False):
            pass
        ACCIDENTS[accident](host)
    for _ in zip(range(steps), host.steps(host.plan_down()), strict=False):
        pass
    host.apply(host.plan_down())
    assert (host.files, host.processes, host.supervisord) == ({}, {}, None)
    assert host.plan_down().empty


def listening(*listeners: Listener) -> tuple[PortInTheWay, ...]:
    """Return what is in the way of a fleet that is to be started."""
    seen = replace(SimulatedHost().observe(), listeners=listeners)
    target = target_of()
    plan = plan_up([target], {HOST: seen}, {HOST: RUNTIME})
    return ports_in_the_way(plan, [target], {HOST: seen})


@pytest.mark.parametrize(
    ("wanted", "held", "in_the_way"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),  # takes IPv4 too, unless its owner said otherwise
        ("127.0.0.1", "::1", False),
        ("0.0.0.0", "10.0.0.5", True),
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "::1", False),
        ("0.0.0.0", "::", True),
        ("::1", "::1", True),
        ("::1", "::", True),
        ("::1", "0.0.0.0", False),
        ("::1", "127.0.0.1", False),
        ("::", "::1", True),
        ("::", "127.0.0.1", True),
        ("fd00::1", "fd00::2", False),
    ],
)
def test_addresses_in_the_way(wanted: str, held: str, in_the_way: bool):
    target = target_of()
    units = tuple(replace(unit, ports=((wanted, 8786),)) for unit in target.units[:1])
    target = replace(target, units=units)
    seen = replace(SimulatedHost().observe(), listeners=(Listener(held, 8786, 7),))
    plan = plan_up([target], {HOST: seen}, {HOST: RUNTIME})
    found = ports_in_the_way(plan, [target], {HOST: seen})
    assert found == ((PortInTheWay(HOST, SCHEDULER, 8786, 7),) if in_the_way else ())


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        ((), []),
        ((Listener("127.0.0.1", 22, 1),), []),
        ((Listener("127.0.0.1", 8787, 1),), [(SCHEDULER, 8787, 1)]),
        ((Listener("0.0.0.0", 9021, 1),), [(WORKERS, 9021, 1)]),
        ((Listener("0.0.0.0", 9022, 1), Listener("::", 9022, 2)), [(WORKERS, 9022, 1), (WORKERS, 9022, 2)]),
        ((Listener("127.0.0.1", 9010, 1), Listener("127.0.0.1", 8786, 2)), [(SCHEDULER, 8786, 2), (WORKERS, 9010, 1)]),
    ],
)  # fmt: skip
def test_ports_in_the_way_of_a_start(
    listeners: tuple[Listener, ...], expected: list[tuple[str, int, int]]
):
    found = [(one.unit, one.port, one.inode) for one in listening(*listeners)]
    assert found == expected


def test_ports_of_units_that_go_on_running_are_not_in_the_way():
    host = up()
    ports = [port for unit in target_of().units for _, port in unit.ports]
    listeners = tuple(Listener("127.0.0.1", port, port) for port in ports)
    seen = replace(host.observe(), listeners=listeners)
    for spec, expected in (
        (SPEC, set[str]()),
        (SPEC.replace("nthreads: 1", "nthreads: 2"), {WORKERS}),
    ):
        target = target_of(spec)
        plan = plan_up([target], {HOST: seen}, {HOST: RUNTIME})
        assert {one.unit for one in ports_in_the_way(plan, [target], {HOST: seen})} == expected


def test_content_of_files_stays_out_of_what_a_plan_shows():
    assert SECRET not in repr(ManagedFile("/x", SECRET.encode()))
