"""Faults do not hide each other, and bring none of their own making."""

# ruff: noqa: E501 - faults are data, one to a line

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.errors import SpecError
from dask_fleet.spec import parse

BASE = {
    "name": "x",
    "environment": {"packages": ["dask"]},
    "hosts": {
        "sch": {"address": "10.0.0.1", "memory": "8 GiB"},
        "vm-[1-4]": {"address": "10.0.0.[11-14]", "memory": "8 GiB"},
        "big": {"address": "10.0.0.20", "memory": "64 GiB"},
        "here": {"address": "127.0.0.1", "memory": "16 GiB"},
    },
    "scheduler": {"host": "sch"},
    "workers": {
        "a": {"hosts": ["vm-1", "vm-2"], "prefix": "a"},
        "b": {"hosts": ["vm-3", "vm-4"], "prefix": "b", "per_host": 2},
        "c": {"hosts": ["big"], "prefix": "c"},
    },
    "port_range": "9000-9100",
    "config": {"a.b": 1},
}
ABSENT = object()

# What it is about (of one subject, one fault at a time): edits, as path and value, and problems,
# as key and beginning of the fault.
FAULTS = {
    "name": [
        ([("name", "X")], [("name", "the name of the fleet has")]),
        ([("name", ABSENT)], [("name", '"name" is missing')]),
        ([("name", ABSENT), ("nam", "x")], [("nam", 'unknown key "nam"')]),
        ([("name", "${UNSET}")], [("name", "unknown environment variable")]),
    ],
    "root": [([("zzz", 1)], [("zzz", 'unknown key "zzz"')])],
    "environment": [
        ([("environment.zzz", 1)], [("environment.zzz", 'unknown key "zzz"')]),
        ([("environment.python", "2")], [("environment.python", "not a version of Python 3")]),
        ([("environment.lock", 5)], [("environment.lock", "expected text"), ("environment.packages", 'an environment has either "lock"')]),
        ([("environment.name", "xcub"), ("environment.packages", ABSENT)], [("environment.name", "unknown environment")]),
        ([("environment.packages.0", 1)], [("environment.packages[0]", "expected text, got 1")]),
        ([("environment", 5)], [("environment", "expected a mapping")]),
    ],
    "host": [
        ([("hosts.sch.zzz", 1)], [("hosts.sch.zzz", 'unknown key "zzz"')]),
        ([("hosts.sch.adress", "10.0.0.1"), ("hosts.sch.address", ABSENT)], [("hosts.sch.adress", 'unknown key "adress"')]),
        ([("hosts.sch.cpus", "x")], [("hosts.sch.cpus", "expected a whole number")]),
        ([("hosts.sch.address", "10.0.0.256")], [("hosts.sch.address", "neither an IP address")]),
        ([("hosts.sch.ssh", {"port": 0, "jump": "sch"})], [("hosts.sch.ssh.port", "expected 1 or more"), ("hosts.sch.ssh.jump", 'host "sch" is reached through itself')]),
        ([("hosts.sch", {"address": "10.0.0.1", "transport": "local", "ssh": {"zzz": 1}})], [("hosts.sch.ssh", "SSH settings on a local host"), ("hosts.sch.ssh.zzz", "unknown key")]),
        ([("hosts.sch", 5)], [("hosts.sch", "expected a mapping")]),
    ],
    "range": [
        ([('hosts.vm-[1-4].address', "10.0.0.[1-3]")], [('hosts["vm-[1-4]"].address', "the name stands for 4 hosts, the address for 3")]),
        ([('hosts.vm-[1-4].external', "10.0.0.[1-3]")], [('hosts["vm-[1-4]"].external', "the name stands for 4 hosts, the address for 3")]),
        ([('hosts.vm-[1-4].listen', "[::1]")], [('hosts["vm-[1-4]"].listen', "a range where one address")]),
        ([('hosts.vm-[1-4].runtime', "supervisor")], [('hosts["vm-[1-4]"].runtime', "supervisor is for this machine only")]),
        ([('hosts.vm-[1-4].address', ABSENT)], [('hosts["vm-[1-4]"].address', '"address" is missing')]),
    ],
    "further host": [
        ([("hosts._q", {"address": "10.9.9.9", "cpus": 0})], [("hosts._q", "not a name for a host"), ("hosts._q.cpus", "expected 1 or more")]),
        ([("hosts.q-[4-1]", {"address": "10.9.9.9"})], [('hosts["q-[4-1]"]', 'the range "4-1" runs backwards')]),
        ([("hosts.vm-2", {"address": "10.9.9.9"})], [("hosts.vm-2", 'host "vm-2" is declared twice')]),
        ([("hosts.twin", {"address": "10.0.0.20", "zzz": 1})], [("hosts.twin.address", 'the address is that of host "big"'), ("hosts.twin.zzz", "unknown key")]),
        ([("hosts.lost", {"cpus": "x"})], [("hosts.lost.cpus", "expected a whole number"), ("hosts.lost.address", '"address" is missing')]),
    ],
    "scheduler's host": [
        ([("scheduler.host", "shc")], [("scheduler.host", 'unknown host "shc"')]),
        ([("scheduler.host", 5)], [("scheduler.host", "expected text")]),
        ([("scheduler.host", ABSENT)], [("scheduler.host", "it is not said which host")]),
    ],
    "scheduler's ports": [
        ([("scheduler.dashboard", 8786)], [("scheduler.dashboard", "port 8786 is the scheduler's own")]),
        ([("scheduler.port", "abc")], [("scheduler.port", "expected a whole number")]),
        ([("scheduler.dashboard", 0), ("scheduler.zzz", 1)], [("scheduler.dashboard", "expected 1 or more"), ("scheduler.zzz", "unknown key")]),
    ],
    "hosts of a": [
        ([("workers.a.hosts", ["vm-9"])], [("workers.a.hosts[0]", 'unknown host "vm-9"')]),
        ([("workers.a.hosts", ["zzz", "vm-1", "yyy"])], [("workers.a.hosts[0]", 'unknown host "zzz"'), ("workers.a.hosts[2]", 'unknown host "yyy"')]),
        ([("workers.a.hosts", [5, "vm-1", "${UNSET}", "zzz"])], [("workers.a.hosts[0]", "expected text, got 5"), ("workers.a.hosts[2]", "unknown environment variable"), ("workers.a.hosts[3]", 'unknown host "zzz"')]),
        ([("workers.a.hosts", ["${UNSET}", "${UNSET}", "zzz"])], [("workers.a.hosts[0]", "unknown environment variable"), ("workers.a.hosts[1]", "unknown environment variable"), ("workers.a.hosts[2]", 'unknown host "zzz"')]),
        ([("workers.a.hosts", ["vm-1", "z-[1-2]", "vm-[1-2]"])], [("workers.a.hosts[1]", 'the range "z-[1-2]" matches no host'), ("workers.a.hosts[2]", "a host is named twice")]),
        ([("workers.a.hosts", ["vm-[4-1]", "_x", "vm-1"])], [("workers.a.hosts[0]", 'the range "4-1" runs backwards'), ("workers.a.hosts[1]", "not a name for a host")]),
        ([("workers.a.hosts", "vm-1")], [("workers.a.hosts", "expected a list")]),
        ([("workers.a.hosts", ABSENT), ("workers.a.host", ["vm-1"])], [("workers.a.host", 'unknown key "host"')]),
    ],
    "keys of a": [([("workers.a.zzz", 1)], [("workers.a.zzz", "unknown key")])],
    "number in a": [
        ([("workers.a.per_host", "x")], [("workers.a.per_host", "expected a whole number")]),
        ([("workers.a.first", -1)], [("workers.a.first", "expected 0 or more")]),
    ],
    "threads of a": [([("workers.a.nthreads", 0)], [("workers.a.nthreads", "threads are 1 to 1024")])],
    "resources of a": [([("workers.a.resources", {"GPU": -1, "X": 1})], [("workers.a.resources.GPU", "an amount below 0")])],
    "memory of a": [
        ([("workers.a.memory_limit", "900 GiB")], [("workers.a.memory_limit", "900 GiB is more than")]),
        ([("workers.a.memory_limit", "lots")], [("workers.a.memory_limit", "not a size")]),
    ],
    "nanny of a": [
        ([("workers.a.ports.nanny", 9010)], [("workers.a.ports.nanny", "port 9010 is wanted twice")]),
        ([("workers.a.ports.nanny", "x")], [("workers.a.ports.nanny", "expected a whole number")]),
    ],
    "dashboard of a": [
        ([("workers.a.ports.dashboard", 9999)], [("workers.a.ports.dashboard", "port 9999 leaves port_range")]),
        ([("workers.a.ports.dashboard", 70000)], [("workers.a.ports.dashboard", "expected 65535 or less")]),
    ],
    "counting in a": [
        ([("workers.a.ports.per", "x")], [("workers.a.ports.per", 'expected "host" or "group"')]),
        ([("workers.a.ports.zzz", "x")], [("workers.a.ports.zzz", "unknown key")]),
        ([("workers.a.ports.step", 0)], [("workers.a.ports.step", "expected 1 or more")]),
    ],
    "memory of b": [
        ([("workers.b.memory_limit", "5 GiB")], [("workers.b.memory_limit", 'the workers on host "vm-3" may take 10 GiB together')]),
        ([("workers.b.memory_limit", "9 GiB")], [("workers.b.memory_limit", '9 GiB is more than host "vm-3" has')]),
    ],
    "ports of b": [
        ([("workers.b.ports", {"step": 1})], [("workers.b.ports.nanny", "port 9011 is wanted twice")]),
        ([("workers.b.ports", {"worker": 65530})], [("workers.b.ports.worker", "ports run to 65540")]),
        ([("workers.b.ports", [])], [("workers.b.ports", "expected a mapping")]),
    ],
    "further group": [
        ([("workers.Bad", {"hosts": ["vmm"], "prefix": "d", "memory_limit": "65 GiB"})], [("workers.Bad", "the name of the group has"), ("workers.Bad.hosts[0]", 'unknown host "vmm"'), ("workers.Bad.memory_limit", "65 GiB is more than any host has")]),
        ([("workers.d", {"hosts": ["here"], "prefix": "c", "ports": {"worker": 8999}})], [("workers.d", 'two workers would have the same name "c-0001"'), ("workers.d.ports.worker", "port 8999 leaves port_range")]),
        ([("workers.d", {"hosts": ["big"], "prefix": "d", "nthread": 1})], [("workers.d.nthread", "unknown key"), ("workers.d.ports.worker", "port 9010 is wanted twice")]),
        ([("workers.d", 5)], [("workers.d", "expected a mapping")]),
    ],
    "configuration": [
        ([("config.a", {"b": 2})], [("config.a.b", '"a.b" is set twice')]),
        ([("config", 1)], [("config", "expected a mapping")]),
    ],
    "variables": [([("variables", {"A": 1, "1B": "x"})], [("variables.A", "expected text, got 1"), ("variables.1B", "not a name for")])],
    "directories": [([("directories", {"work": "data", "zzz": "/x"})], [("directories.work", "a directory that is not absolute"), ("directories.zzz", "unknown key")])],
    "runtime": [([("runtime", "docker")], [("runtime", 'expected "supervisor"')])],
}  # fmt: skip


# Whether a limit is too high for any host there may be can only be told when all are known.
UNCERTAIN = [
    ({"memory of a", "hosts of a"}, "900 GiB is more than"),
    ({"further group"}, "65 GiB is more than any host has"),
]
HOSTS = {"host", "further host"}

CATALOGUE = [(subject, fault) for subject, some in FAULTS.items() for fault in some]


def edited(chosen):
    value = copy.deepcopy(BASE)
    for _, (edits, _) in chosen:
        for path, new in edits:
            *parents, last = path.split(".")
            within = value
            for step in parents:
                within = within.setdefault(step, {})
            if isinstance(within, list):
                within[int(last)] = new
            elif new is ABSENT:
                del within[last]
            else:
                within[last] = new
    return json.dumps(value, indent=1)


def differences(chosen):
    """Return what is missing and what is too much in the report on some faults together."""
    subjects = {subject for subject, _ in chosen}
    wanted = [problem for _, (_, problems) in chosen for problem in problems]
    try:
        parse(edited(chosen), {})
        found = []
    except SpecError as error:
        found = [(problem.key, problem.fault) for problem in error.problems]
    wrong = []
    for key, fault in wanted:
        hits = [one for one in found if one[0] == key and one[1].startswith(fault)]
        unsure = subjects & HOSTS and any(
            needed <= subjects and fault == text for needed, text in UNCERTAIN
        )
        if len(hits) != 1 and not (unsure and not hits):
            wrong.append(("missing", key, fault))
        found = [one for one in found if one not in hits]
    return wrong + [("too much", *one) for one in found]


def test_the_base_is_without_fault():
    assert differences([]) == []


@pytest.mark.parametrize("one", CATALOGUE, ids=[f"{s}: {f[1][0][1]}" for s, f in CATALOGUE])
def test_a_fault_beside_each_other_one(one):
    assert differences([one]) == []
    for other in CATALOGUE:
        if other[0] != one[0]:
            assert differences([one, other]) == []


@given(
    st.lists(
        st.sampled_from(CATALOGUE), unique_by=lambda one: one[0], min_size=3, max_size=len(FAULTS)
    )
)
def test_any_faults_together_are_reported_completely_and_nothing_else(chosen):
    assert differences(chosen) == []


VM = "name: x\nhosts:\n  sch: {address: 10.0.0.1}\n  vm: {address: 10.0.0.2, memory: 8 GiB}\nscheduler: {host: sch}\n"
ODD = [
    (
        "an unknown host and three other faults of its group",
        "name: x\nworkers:\n  a:\n    hosts: [localhots]\n    ports: {nanny: 9010, dashboard: 9999}\n    memory_limit: 900 GiB\nport_range: 9000-9100\n",
        ["workers.a.hosts[0]", "workers.a.ports.nanny", "workers.a.ports.dashboard", "workers.a.memory_limit"],
    ),
    ("hosts that nobody can read", "name: x\nhosts: 5\nworkers: {a: {hosts: [q], ports: {nanny: 9010}}}\n", ["hosts", "workers.a.ports.nanny"]),
    ("hosts twice", "name: x\nhosts: {a: {address: 10.0.0.1}}\nhosts: {b: {address: 10.0.0.1}}\nworkers: {a: {hosts: [b]}}\n", ["hosts"]),
    ("a group twice", VM + "workers:\n  a: {hosts: [mv]}\n  a: {}\n", ["workers.a.hosts[0]", "workers.a"]),
    ("a misspelt section stands for the one that is missing", "name: x\nworker: {a: {}}\nport_range: 1-2\n", ["worker"]),
    ("a misspelt key beside the right one", VM + "workers: {a: {hosts: [vm], host: [vm], memory_limit: 9 GiB}}\n", ["workers.a.host", "workers.a.memory_limit"]),
    ("a misspelt prefix brings no equal names", VM + "workers: {a: {hosts: [vm]}, b: {hosts: [sch], prefx: b}}\n", ["workers.b.prefx"]),
    ("a step at fault brings no equal ports", VM + "workers: {a: {hosts: [vm], per_host: 4, ports: {step: 0, worker: 9021}}}\n", ["workers.a.ports.step"]),
    ("without transport nothing is said about SSH", "name: x\nhosts: {a: {address: 300.0.0.1}}\nruntime: supervisor\n", ["hosts.a.address"]),
    ("nor about an address that is shared", "name: x\nhosts: {a: {address: 127.0.0.1}, b: {address: 127.0.0.1, transport: x}}\nscheduler: {host: a}\n", ["hosts.b.transport"]),
    ("two groups on one unknown host", VM + "workers: {a: {hosts: [q]}, b: {hosts: [q], prefix: b}}\n", ["workers.a.hosts[0]", "workers.b.hosts[0]", "workers.b.ports.worker"]),
    ("limits together, beside one that is alone too high", VM + "workers:\n  a: {hosts: [vm], memory_limit: 9 GiB}\n"
     "  b: {hosts: [vm], memory_limit: 3 GiB, per_host: 3, prefix: b, ports: {worker: 9110, nanny: 9111, dashboard: 9112}}\n", ["workers.a.memory_limit", "workers.b.memory_limit"]),
    ("a list of packages with none that is right", "name: x\nenvironment: {packages: ['-r x']}\n", ["environment.packages[0]"]),
    ("three kinds of environment", "name: x\nenvironment:\n  name: xcube\n  lock: a\n  packages: [a]\n", ["environment.lock", "environment.packages"]),
    ("ports above the last, and one worker's twice", VM + "workers: {a: {hosts: [vm], per_host: 2, ports: {worker: 65530, nanny: 65530}}}\n", ["workers.a.ports.worker", "workers.a.ports.nanny", "workers.a.ports.nanny"]),
    ("names with control characters", 'name: x\nhosts: {"a\\nb": {address: 10.0.0.1}, c: {address: 10.0.0.2}}\nscheduler: {host: q}\nworkers: {"a\\nb": {}}\n', ['hosts["a\\nb"]', 'scheduler.host', 'workers["a\\nb"]']),
    ("a merge of a scalar brings nothing that is missing", "name: x\nhosts: {a: {<<: 5}}\n", ['hosts.a["<<"]']),
]  # fmt: skip


@pytest.mark.parametrize(("text", "keys"), [case[1:] for case in ODD], ids=[c[0] for c in ODD])
def test_what_is_reported_beside_a_fault(text, keys):
    with pytest.raises(SpecError) as caught:
        parse(text, {}, host_memory={"*": 16 << 30})
    assert sorted(problem.key for problem in caught.value.problems) == sorted(keys)


def test_an_unknown_host_from_a_variable_is_not_printed():
    text = VM + "workers: {a: {hosts: ['${S}'], ports: {nanny: 9010}}}\n"
    with pytest.raises(SpecError) as caught:
        parse(text, {"S": "hunter2"})
    assert len(caught.value.problems) == 2
    assert "hunter2" not in str(caught.value)
