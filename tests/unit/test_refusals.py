"""Hosts that are not fit for what they are to run."""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_fleet.environment import Environment
from dask_fleet.errors import EnvironmentBuildError, FleetError
from dask_fleet.observed import HostObserved, HostSoftware, Interpreter, RuntimeObserved
from dask_fleet.refusals import refusals
from dask_fleet.runtimes.base import Runtime
from dask_fleet.runtimes.systemd import SystemdRuntime
from tests.unit.simulator import ENVIRONMENT, HOST, RUNTIME, SPEC, SimulatedHost, target_of

SYSTEMD = SystemdRuntime("sst")
GIB_KIB = 2**20
PYTHONS = (Interpreter("/usr/bin/python3.11", "3.11.2"), Interpreter("/usr/bin/python3", "3.9.2"))
SOFTWARE = HostSoftware("x86_64", "glibc 2.36", PYTHONS)
FIT = replace(
    SimulatedHost().observe(),
    facts={"memory_kib": str(8 * GIB_KIB)},
    runtime=RuntimeObserved(alive=True, prepared=False),
    software=SOFTWARE,
)


def seen(**other: Any) -> HostObserved:
    return replace(FIT, **other)


def found(
    one: HostObserved, runtime: Runtime = SYSTEMD, spec: str = SPEC, python: str = "3.11"
) -> tuple[FleetError, ...]:
    target = target_of(spec, environment=Environment("xcube", python, ENVIRONMENT.digest))
    return refusals([target], {HOST: one}, {HOST: runtime})


MEMORY = "localhost: its 2 workers may use 2.0 GiB of memory together, and it has {} GiB"
MUSL = "localhost: its C library is musl, for which many scientific packages have no wheels"
NO_SYSTEMD = "localhost: systemd is not running there"
NOT_ROOT = "localhost: units under systemd need root, and commands there do not run as root"
UNKNOWN = "localhost: its machine (unknown) or C library is not known"

CASES = [
    ("it is fit", FIT, []),
    ("it was not booted with systemd", seen(runtime=RuntimeObserved(alive=False)), [NO_SYSTEMD]),
    ("the operator is not root", seen(runtime=RuntimeObserved(alive=True, privileged=False)), [NOT_ROOT]),
    ("its engine lacks two things", seen(runtime=RuntimeObserved(alive=True, unfit=(("one", "mend"), ("other", "mend")))), ["localhost: one", "localhost: other"]),
    ("both", seen(runtime=RuntimeObserved(privileged=False)), [NO_SYSTEMD, NOT_ROOT]),
    ("its memory is just enough", seen(facts={"memory_kib": str(2 * GIB_KIB)}), []),
    ("its memory is too little", seen(facts={"memory_kib": str(2 * GIB_KIB - 1)}), [MEMORY.format("2.0")]),
    ("its memory is far too little", seen(facts={"memory_kib": str(GIB_KIB // 2)}), [MEMORY.format("0.5")]),
    ("its cgroup has less than the machine", seen(facts={"memory_kib": str(8 * GIB_KIB), "cgroup_memory_kib": str(GIB_KIB)}), [MEMORY.format("1.0")]),
    ("its cgroup has no limit", seen(facts={"memory_kib": str(2 * GIB_KIB), "cgroup_memory_kib": "9007199254740988"}), []),
    ("its memory is not known", seen(facts={}), []),
    ("its C library is another", seen(software=HostSoftware("x86_64", "musl", PYTHONS)), [MUSL]),
    ("its machine is not known", seen(software=HostSoftware("", "glibc 2.36", PYTHONS)), [UNKNOWN]),
    ("it has no Python that fits", seen(software=HostSoftware("x86_64", "glibc 2.36", PYTHONS[1:])), ["localhost: there is no Python 3.11; it has: /usr/bin/python3 (3.9.2)"]),
    ("it has no Python at all", seen(software=HostSoftware("x86_64", "glibc 2.36")), ["localhost: there is no Python 3.11; it has: none from 3.10 on"]),
    ("its environment is there, so no Python is needed", seen(software=HostSoftware(), environments=frozenset({ENVIRONMENT.digest})), []),
    ("it fetches its environment itself", seen(software=None), []),
    (
        "all of it",
        seen(runtime=RuntimeObserved(privileged=False), software=HostSoftware("arm64", "musl"), facts={"memory_kib": "1024"}),
        [NO_SYSTEMD, NOT_ROOT, MUSL, "localhost: there is no Python 3.11; it has: none from 3.10 on", MEMORY.format("0.0")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_why_a_host_is_refused(one: HostObserved, expected: list[str]):
    errors = found(one)
    assert [error.message for error in errors] == expected
    assert all(error.remedy for error in errors), "each says what to do"


def test_what_keeps_an_environment_from_being_made_is_a_failure_of_environments():
    errors = found(seen(software=HostSoftware("x86_64", "musl")))
    assert [type(error) for error in errors] == [EnvironmentBuildError] * 2


@pytest.mark.parametrize(
    ("wanted", "instead"),
    [("3.12", '"3.11"`, which it has'), ("3.11.9", '"3.11"`, which it has')],
)
def test_a_python_that_the_host_has_is_named(wanted: str, instead: str):
    (error,) = found(FIT, python=wanted)
    assert f"there is no Python {wanted}" in error.message
    assert instead in error.remedy


def test_supervisor_is_started_where_it_does_not_run():
    assert found(seen(runtime=RuntimeObserved(alive=False)), RUNTIME) == ()


def test_workers_without_a_limit_need_no_certain_memory():
    spec = SPEC.replace("memory: 16 GiB, ", "").replace("memory_limit: 1 GiB", "memory_limit: auto")
    assert found(seen(facts={"memory_kib": "1024"}), spec=spec) == ()


def test_a_host_on_which_nothing_is_to_run_is_not_refused():
    target = replace(target_of(), units=())
    unfit = seen(runtime=RuntimeObserved(privileged=False))
    assert refusals([target], {HOST: unfit}, {HOST: SYSTEMD}) == ()


def test_every_host_is_named_in_the_order_of_the_spec():
    targets = [replace(target_of(), host=name) for name in ("b", "a", "c")]
    unfit = seen(runtime=RuntimeObserved(alive=False))
    hosts = {"a": unfit, "b": unfit, "c": FIT}
    errors = refusals(targets, hosts, dict.fromkeys(hosts, SYSTEMD))
    assert [error.message.partition(":")[0] for error in errors] == ["b", "a"]
