"""What hosts say of themselves becomes shares, and a spec its digest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.blueprint import Blueprint
from dask_fleet.environment import Environment
from dask_fleet.layout import THIS_MACHINE, HostFacts
from dask_fleet.observed import HostObserved
from dask_fleet.places import Places
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.spec import parse
from tests.unit.simulator import ENVIRONMENT, LAUNCHER, SimulatedHost

GIB = 2**30
GIB_KIB = 2**20
STEP_KIB = 64 * 2**10

SPEC = """\
name: sst
hosts:
  head: {address: 10.77.0.11}
  node: {address: 10.77.0.12}
scheduler: {host: head}
workers:
  default: {hosts: [node], per_host: 2}
"""
INTERFACE = SPEC.replace("10.77.0.12}", "10.77.0.12, interface: ens3}")
RUNTIME = SystemdRuntime("sst")
PLACES = Places.below("/var/lib/dask-fleet", "/var/lib/dask-fleet", "sst")


def blueprint(spec: str = SPEC, **other: object) -> Blueprint:
    values = {
        "environment": ENVIRONMENT,
        "known": {},
        "asked": frozenset({"head", "node"}),
        **other,
    }
    return Blueprint(parse(spec, {}), launcher=LAUNCHER, **values)  # type: ignore[arg-type]


def seen(name: str = "node", /, **facts: object) -> dict[str, HostObserved]:
    one = SimulatedHost().observe()
    told = {key: str(value) for key, value in facts.items()}
    return {name: replace(one, host=name, facts=told)}


def shares(one: Blueprint, observed: dict[str, HostObserved] | None) -> tuple[int, int | None]:
    """Return threads and memory of the workers; all of them have the same."""
    ((threads, memory),) = {(w.nthreads, w.memory_limit) for w in one.layout(observed).workers}
    return threads, memory


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # Half of what is left when the system has kept a sixteenth.
        ({"cpus": 8, "memory_kib": 16 * GIB_KIB}, (4, int(7.5 * GIB))),
        ({"cpus": 3, "memory_kib": 16 * GIB_KIB}, (1, int(7.5 * GIB))),
        ({"cpus": 1, "memory_kib": 16 * GIB_KIB}, (1, int(7.5 * GIB))),
        # A limit of the cgroup that all of the host is in counts, if it is below.
        ({"memory_kib": 64 * GIB_KIB, "cgroup_memory_kib": 16 * GIB_KIB}, (1, int(7.5 * GIB))),
        ({"memory_kib": 16 * GIB_KIB, "cgroup_memory_kib": 2**53}, (1, int(7.5 * GIB))),
        # Too little to share: Dask decides.
        ({"cpus": 4, "memory_kib": 100}, (2, None)),
        ({"cpus": 4, "memory_kib": 512 * 2**10}, (2, None)),
        ({"cpus": 4}, (2, None)),
        ({}, (1, None)),
    ],
)
def test_shares_of_what_a_host_has(facts: dict[str, object], expected: tuple[int, int | None]):
    assert shares(blueprint(), seen(**facts)) == expected


@pytest.mark.parametrize(
    ("one", "observed"),
    [
        (blueprint(), None),
        (blueprint(), seen("head", cpus=8, memory_kib=16 * GIB_KIB)),
        (blueprint(asked=frozenset({"head"})), seen(cpus=8, memory_kib=16 * GIB_KIB)),
        # What is known of this machine says nothing of hosts behind SSH.
        (blueprint(known={THIS_MACHINE: HostFacts(8, 16 * GIB)}), None),
    ],
    ids=["no look", "another host", "not asked", "this machine"],
)
def test_hosts_that_are_not_known_leave_shares_open(
    one: Blueprint, observed: dict[str, HostObserved] | None
):
    assert shares(one, observed) == (1, None)


def test_a_look_goes_before_what_was_known_and_the_spec_before_both():
    known = {"node": HostFacts(2, 4 * GIB)}
    look = seen(cpus=8, memory_kib=16 * GIB_KIB)
    assert shares(blueprint(known=known), None) == (1, int(1.75 * GIB))
    assert shares(blueprint(known=known), look) == (4, int(7.5 * GIB))
    declared = SPEC.replace("10.77.0.12}", "10.77.0.12, cpus: 6, memory: 8 GiB}")
    assert shares(blueprint(declared), look) == (3, int(3.75 * GIB))


@given(st.integers(10, 4000), st.integers(0, STEP_KIB - 1), st.integers(0, STEP_KIB - 1))
def test_memory_that_differs_from_boot_to_boot_changes_nothing(steps: int, one: int, two: int):
    before, after = (
        blueprint().layout(seen(cpus=4, memory_kib=steps * STEP_KIB + more)) for more in (one, two)
    )
    assert before == after


@given(st.integers(1, 64 * GIB_KIB), st.integers(1, 64))
def test_no_host_gives_out_more_than_it_has(memory: int, cpus: int):
    layout = blueprint().layout(seen(cpus=cpus, memory_kib=memory))
    assert sum(worker.memory_limit or 0 for worker in layout.workers) <= memory * 1024
    assert all(worker.nthreads * 2 <= max(cpus, 2) for worker in layout.workers)


def test_the_same_words_in_another_dress_have_the_same_digest():
    other = SPEC.replace(
        "  default: {hosts: [node], per_host: 2}",
        "  default:\n    per_host: 2\n    hosts: ['node'] # one",
    )
    assert other != SPEC
    assert blueprint(other).digest == blueprint().digest
    assert blueprint(other).release == blueprint().release


@pytest.mark.parametrize(
    "after",
    [
        SPEC.replace("per_host: 2", "per_host: 3"),
        SPEC.replace("10.77.0.12", "10.77.0.13"),
        SPEC.replace("name: sst", "name: sst2"),
        SPEC + "variables: {TOKEN: one}\n",
        SPEC + "variables: {TOKEN: two}\n",
        SPEC + "config: {a: 1}\n",
        SPEC + "tls: true\n",
    ],
)
def test_any_word_that_differs_has_another_digest(after: str):
    others = {blueprint(SPEC).digest, blueprint(SPEC + "variables: {TOKEN: other}\n").digest}
    assert blueprint(after).digest not in others
    assert blueprint(after).release != blueprint().release


def test_a_release_is_of_spec_and_environment():
    other = blueprint(environment=Environment("xcube", "3.11", "1" * 16))
    assert other.digest == blueprint().digest
    assert other.release != blueprint().release
    assert len(blueprint().release) == len(blueprint().digest) == 16


def test_a_digest_does_not_hang_on_what_was_seen_or_known():
    one = blueprint(known={"node": HostFacts(2, 4 * GIB)}, asked=frozenset())
    assert (one.digest, one.release) == (blueprint().digest, blueprint().release)


@pytest.mark.parametrize(
    ("addresses", "listen"),
    [
        ({"ens3": ("10.0.0.5", "10.77.0.12"), "lo": ("127.0.0.1",)}, "10.77.0.12"),
        ({"ens3": ("fd77::12", "10.0.0.5")}, "10.0.0.5"),
    ],
)
def test_workers_listen_on_the_interface(addresses: dict[str, tuple[str, ...]], listen: str):
    look = {"node": replace(seen()["node"], addresses=addresses)}
    one = blueprint(INTERFACE)
    assert {worker.listen for worker in one.layout(look).workers} == {listen}
    assert one.without_interface(look) == ()


@pytest.mark.parametrize(
    ("addresses", "there"),
    [
        ({}, "none"),
        ({"ens3": ("fd77::12", "fe80::1")}, "ens3 (fd77::12 fe80::1)"),
        ({"lo": ("127.0.0.1",), "eth0": ("10.77.0.12",)}, "lo (127.0.0.1), eth0 (10.77.0.12)"),
    ],
)
def test_a_host_without_its_interface(addresses: dict[str, tuple[str, ...]], there: str):
    look = {"node": replace(seen()["node"], addresses=addresses)}
    (error,) = blueprint(INTERFACE).without_interface(look)
    assert error.message == (
        f"node: interface ens3 has no address that fits 10.77.0.12; there are {there}"
    )
    assert error.remedy
    assert blueprint(INTERFACE).without_interface({}) == (), "a host that did not answer"


def test_a_target_for_each_host_that_has_places_in_their_order():
    one = blueprint()
    names = ("node", "head")
    targets = one.targets(
        one.layout(seen(cpus=8, memory_kib=16 * GIB_KIB)),
        dict.fromkeys(names, PLACES),
        dict.fromkeys(names, RUNTIME),
        {"node": {"ca.pem": b"x"}},
    )
    assert [target.host for target in targets] == ["node", "head"]
    assert [unit.name for target in targets for unit in target.units] == [
        "dask-workers-default",
        "dask-scheduler",
    ]
    paths = [{file.path for file in target.files} for target in targets]
    assert [f"{PLACES.deployed}/tls/ca.pem" in some for some in paths] == [True, False]
