"""What the doctor concludes from what it was told."""

# ruff: noqa: E501 - cases are data, one to a line

import ast
import dataclasses
import sys

import pytest

from dask_fleet.checks.findings import CHECKS, Answer, Dialled, Examined, Listening
from dask_fleet.checks.hosts import declared_names, host_findings
from dask_fleet.checks.network import (
    MOST_TARGETS,
    connection_findings,
    declared_ports,
    dialled_by,
    held_inodes,
    port_findings,
)
from dask_fleet.environment import Environment
from dask_fleet.firewall import contract
from dask_fleet.layout import lay_out
from dask_fleet.observed import HostObserved, Listener, ProcessRecord, RuntimeObserved
from dask_fleet.ports import Holder
from dask_fleet.spec import parse

SPEC = """\
name: sst
hosts:
  sched: {address: 10.0.0.1}
  w[1-2]: {address: "10.0.0.[11-12]"}
scheduler: {host: sched}
workers:
  default: {hosts: ["w[1-2]"], memory_limit: 4 GiB, per_host: 1}
"""
LAYOUT = lay_out(parse(SPEC, {}))
ENVIRONMENT = Environment("xcube", "3.11", "d1")
GIB_KIB = 1 << 20
FACTS = {
    "memory_kib": str(8 * GIB_KIB),
    "disk_free_kib": str(90 * GIB_KIB),
    "environments_free_kib": str(90 * GIB_KIB),
}
WELL = Answer(python="3.11.2", own_name="x", own_files=1 << 20, systemd="running")


def record(name: str, **versions: str) -> ProcessRecord:
    role = "scheduler" if name == "dask-scheduler" else "workers"
    return ProcessRecord(name, name, role, 7, 0.0, 0, "u1", versions, alive=True)


def host(name: str, layout=LAYOUT, **changes: object) -> Examined:
    """Return a host of the fleet on which all is well and the probe listens on every port."""
    seen = HostObserved(name, FACTS, False, {}, {}, frozenset(), {}, RuntimeObserved(), ())
    listening = Listening(bound=frozenset(declared_ports(layout, name)))
    one = Examined(name, seen, listening, {}, WELL, (0.0, 0.1))
    for key, value in changes.items():
        if key in {field.name for field in dataclasses.fields(Answer)}:
            one = dataclasses.replace(one, answer=dataclasses.replace(one.answer, **{key: value}))
        elif key in {field.name for field in dataclasses.fields(HostObserved)}:
            one = dataclasses.replace(one, seen=dataclasses.replace(one.seen, **{key: value}))
        else:
            one = dataclasses.replace(one, **{key: value})
    return one


def fleet(**changed: dict[str, object]) -> list[Examined]:
    return [host(name, **changed.get(name, {})) for name in LAYOUT.hosts]


HOST_CASES = [
    # what is different on w1, check, severity, words of the fault
    ({"clock": (2.0, 2.3)}, "clocks", "warning", "its clock is 2.0 s ahead of that of sched"),
    ({"clock": (-90.0, -89.0)}, "clocks", "error", "its clock is 90.0 s behind that of sched"),
    (
        {"records": {"a": record("a", python="3.9.1")}},
        "versions",
        "error",
        "a runs Python 3.9.1, declared is 3.11",
    ),
    (
        {"records": {"a": record("a", dask="1"), "b": record("b", dask="2")}},
        "versions",
        "error",
        "b runs dask 2, a runs dask 1",
    ),
    ({"python": "3.9.2"}, "versions", "note", "its own Python is 3.9.2, the environment has 3.11"),
    (
        {"unit_files": {"u": {"release": "d0"}}},
        "versions",
        "warning",
        "deployed is the environment d0, declared is d1",
    ),
    ({"facts": FACTS | {"disk_free_kib": str(GIB_KIB)}}, "disk", "warning", "1.00 GiB are free"),
    ({"facts": FACTS | {"disk_free_kib": "1024"}}, "disk", "error", "0.00 GiB are free"),
    ({"facts": FACTS | {"environments_free_kib": "1024"}}, "disk", "warning", "yet to be made"),
    (
        {"facts": FACTS | {"memory_kib": str(2 * GIB_KIB)}},
        "memory",
        "error",
        "its 1 workers may use 4.0 GiB, it has 2.0 GiB",
    ),
    (
        {"files": {"dask-worker-0001": 64}},
        "files",
        "warning",
        "dask-worker-0001 may open 64 files, and may need 260",
    ),
    (
        {"files": {"dask-workers-default": 64, "dask-worker-0001": 64, "dask-worker-0002": 64}},
        "files",
        "warning",
        "dask-workers-default, dask-worker-[0001-0002] may open 64 files, and may need 260",
    ),
    ({"own_resolves": False}, "names", "warning", "its own name x does not resolve"),
    ({"systemd": "absent"}, "systemd", "error", "systemd does not run as it should: absent"),
    ({"systemd": "degraded"}, "systemd", "note", "some unit of the host has failed"),
    ({"systemd": "starting"}, "systemd", "warning", "still starting"),
    ({"distance": 0.2}, "distance", "warning", "takes 200 ms"),
]


@pytest.mark.parametrize(("changes", "check", "severity", "words"), HOST_CASES)
def test_one_thing_wrong_on_a_host_is_one_finding(changes, check, severity, words):
    (finding,) = host_findings(LAYOUT, ENVIRONMENT, fleet(w1=changes))
    assert (finding.check, finding.severity, finding.place) == (check, severity, "w1")
    assert words in finding.fault
    assert finding.remedy
    assert check in CHECKS


CONTAINED = lay_out(parse(SPEC + "runtime: compose\nenvironment: {image: a}\n", {}))


@pytest.mark.parametrize(
    ("runtime", "faults"),
    [
        (RuntimeObserved(alive=True), []),
        (RuntimeObserved(), ["Docker does not answer there"]),
        (RuntimeObserved(alive=True, unfit=(("one", "mend"), ("other", "mend"))), ["one", "other"]),
    ],
)
def test_an_engine_that_is_not_there_or_lacks_something(
    runtime: RuntimeObserved, faults: list[str]
):
    well = {"runtime": RuntimeObserved(alive=True)}
    hosts = [
        host(name, CONTAINED, **({"runtime": runtime} if name == "w1" else well))
        for name in CONTAINED.hosts
    ]
    found = list(host_findings(CONTAINED, ENVIRONMENT, hosts))
    assert [(one.check, one.severity, one.place) for one in found] == [
        ("engine", "error", "w1") for _ in faults
    ]
    assert all(
        one.fault.startswith(fault) and one.remedy for one, fault in zip(found, faults, strict=True)
    )


RIGHT_CASES = [
    {},
    {"clock": (0.9, 1.0)},
    {"clock": (0.05, 3.0)},
    {"clock": (-3.0, 0.05)},
    {"python": "3.9.2", "other_python": "/usr/bin/python3.11"},
    {"facts": {}},
    {"files": {"dask-worker-0001": None}},
    {"distance": 0.001},
    {"distance": None},
    {
        "records": {
            "a": record("a", python="3.11.9", dask="1"),
            "b": record("b", python="3.11.9", dask="1"),
        }
    },
]


@pytest.mark.parametrize("changes", RIGHT_CASES)
def test_what_is_right_is_no_finding(changes):
    assert list(host_findings(LAYOUT, ENVIRONMENT, fleet(w1=changes))) == []


def test_an_environment_that_is_not_everywhere_and_versions_that_the_scheduler_has_not():
    have = {"environments": frozenset({"d1"})}
    scheduler = {"records": {"dask-scheduler": record("dask-scheduler", dask="2", distributed="2")}}
    hosts = fleet(
        sched=have | scheduler,
        w1={"records": {"a": record("a", dask="1", distributed="2")}},
        w2=have,
    )
    faults = [(one.place, one.fault) for one in host_findings(LAYOUT, ENVIRONMENT, hosts)]
    assert faults == [
        ("w1", "a runs dask 1, dask-scheduler runs dask 2"),
        ("w1", "the environment d1 is not there; sched has it"),
    ]


def test_without_the_scheduler_host_no_clock_is_compared():
    hosts = [one for one in fleet(w1={"clock": (9.0, 9.1)}) if one.host != "sched"]
    assert list(host_findings(LAYOUT, ENVIRONMENT, hosts)) == []


def test_names_that_do_not_resolve_alike():
    layout = lay_out(parse(SPEC.replace("10.0.0.1}", "sched.example}"), {}))
    assert declared_names(layout) == ("sched.example",)
    answers = {"sched": ("10.0.0.1",), "w1": ("10.0.0.1",), "w2": ("10.9.9.9",)}
    hosts = [host(name, layout, names={"sched.example": found}) for name, found in answers.items()]
    (finding,) = host_findings(layout, ENVIRONMENT, hosts)
    assert (finding.place, finding.severity) == ("w2", "warning")
    assert finding.fault == "sched.example is 10.9.9.9 there, but 10.0.0.1 on sched"
    hosts[2] = host("w2", layout, names={"sched.example": ()})
    (finding,) = host_findings(layout, ENVIRONMENT, hosts)
    assert (finding.place, finding.severity) == ("w2", "error")


def connected(hosts: list[Examined], wrong: dict[tuple[str, str, int], str]) -> list[Examined]:
    """Return the hosts with every connection made, but for some that go wrong."""
    targets = dialled_by(LAYOUT, contract(LAYOUT), hosts)
    return [
        dataclasses.replace(
            one,
            answer=dataclasses.replace(
                one.answer,
                dialled=tuple(
                    Dialled(a, p, wrong.get((one.host, a, p), "ok"), 0.001)
                    for a, p in targets[one.host]
                ),
            ),
        )
        for one in hosts
    ]


def test_everything_in_the_contract_is_dialled_both_ways():
    assert dialled_by(LAYOUT, contract(LAYOUT), fleet()) == {
        "sched": (("10.0.0.11", 9010), ("10.0.0.12", 9010), ("10.0.0.11", 9011), ("10.0.0.12", 9011), ("10.0.0.11", 9012), ("10.0.0.12", 9012)),
        "w1": (("10.0.0.1", 8786), ("10.0.0.11", 9010), ("10.0.0.12", 9010), ("10.0.0.11", 9011)),
        "w2": (("10.0.0.1", 8786), ("10.0.0.11", 9010), ("10.0.0.12", 9010), ("10.0.0.12", 9011)),
    }  # fmt: skip


CONNECTION_CASES = [
    ({}, []),
    (
        {("w1", "10.0.0.12", 9010): "timeout"},
        [("error", "w1 -> w2", "TCP port 9010: no answer (filtered)")],
    ),
    ({("w1", "10.0.0.1", 8786): "refused"}, [("error", "w1 -> sched", "TCP port 8786: refused")]),
    (
        {("w1", "10.0.0.1", 8786): "route", ("w2", "10.0.0.1", 8786): "route"},
        [("error", "w[1-2] -> sched", "TCP port 8786: no route")],
    ),
    (
        {("sched", "10.0.0.11", 9010): "timeout", ("sched", "10.0.0.11", 9011): "timeout"},
        [("error", "sched -> w1", "TCP ports 9010-9011: no answer")],
    ),
    (
        {("sched", "10.0.0.11", 9010): "name", ("sched", "10.0.0.12", 9010): "name"},
        [("error", "sched -> w[1-2]", "TCP port 9010: the address does not resolve")],
    ),
    (
        {("sched", "10.0.0.11", 9012): "timeout"},
        [("warning", "sched -> w1", "TCP port 9012: no answer")],
    ),
    ({("w1", "10.0.0.1", 8786): "EPERM"}, [("error", "w1 -> sched", "TCP port 8786: kept back")]),
    ({("w1", "10.0.0.1", 8786): "EMFILE"}, [("error", "w1 -> sched", "TCP port 8786: EMFILE")]),
]


@pytest.mark.parametrize(("wrong", "expected"), CONNECTION_CASES)
def test_a_blocked_pair_is_named_with_its_port(wrong, expected):
    found = list(connection_findings(LAYOUT, contract(LAYOUT), connected(fleet(), wrong)))
    assert [(one.severity, one.place) for one in found] == [case[:2] for case in expected]
    for one, (_, _, words) in zip(found, expected, strict=True):
        assert one.fault.startswith(words)
        assert one.remedy


def test_a_port_of_somebody_else_is_a_finding_and_is_not_dialled():
    held = Listening(held=frozenset({("10.0.0.11", 9010), ("10.0.0.11", 9011)}))
    listeners = (
        Listener("10.0.0.11", 9010, 5),
        Listener("0.0.0.0", 9011, 6),
        Listener("::", 22, 9),
    )
    holders = {5: Holder(70, 70, "/", "nc -l"), 6: Holder(8, 7, "/", "worker")}
    ours = {"records": {"a": record("a")}}
    hosts = fleet(w1={"listening": held, "listeners": listeners, "holders": holders} | ours)
    w1 = hosts[1]
    assert held_inodes(w1.listening, w1.seen) == (5, 6)
    (finding,) = port_findings(LAYOUT, w1)
    assert (
        finding.fault == "port 9010, which dask-workers-default needs, is held by `nc -l` (pid 70)"
    )
    dialled = dialled_by(LAYOUT, contract(LAYOUT), hosts)
    assert ("10.0.0.11", 9010) not in dialled["w2"]
    assert ("10.0.0.11", 9011) in dialled["sched"]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("EADDRNOTAVAIL", "10.0.0.11 is no address of this host"),
        ("name", "10.0.0.11 is no address of this host"),
        ("EACCES", "may not listen on 9010"),
        ("EMFILE", "Too many"),
    ],
)
def test_ports_on_which_nothing_can_listen(word, words):
    listening = Listening(
        failed=(("10.0.0.11", 9010, word, "Too many"), ("10.0.0.11", 9011, word, "Too many"))
    )
    (finding,) = port_findings(LAYOUT, host("w1", listening=listening))
    assert words in finding.fault


def test_in_a_large_fleet_every_host_is_dialled_by_as_many_others():
    text = SPEC.replace("w[1-2]", "w[001-200]").replace("[11-12]", "[11-210]")
    layout = lay_out(parse(text, {}))
    hosts = [host(name, layout) for name in layout.hosts]
    dialled = dialled_by(layout, contract(layout), hosts)
    counts: dict[str, int] = {}
    for name, targets in dialled.items():
        if name != "sched":
            for address, port in targets:
                if port == 9010:
                    counts[address] = counts.get(address, 0) + 1
    assert set(counts.values()) == {MOST_TARGETS}
    assert len(counts) == 200
    (note,) = connection_findings(layout, contract(layout), hosts)
    assert note.severity == "note"


def test_the_probe_is_for_the_python_of_any_host(repository):
    text = (repository / "src/dask_fleet/host_probe/probe.py").read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= sys.stdlib_module_names
