"""From spec to processes: names, addresses, ports, threads and memory."""

# ruff: noqa: E501 - cases are data, one to a line

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.layout import THIS_MACHINE, HostFacts, Layout, lay_out
from dask_fleet.spec import default_spec, parse

GIB = 1 << 30

SEED = """\
name: sst
hosts:
  dask-scheduler: {address: 192.168.1.166, external: 80.158.2.66, memory: 16 GiB, cpus: 4}
  dask-worker-[0001-0004]: {address: "192.168.1.[11-14]", memory: 8 GiB}
workers:
  default:
    hosts: ["dask-worker-[0001-0004]"]
    nthreads: 2
    memory_limit: 4 GiB
    resources: {GPU: 1}
    ports: {per: group}
port_range: 9000-9100
config: {distributed.comm.timeouts.connect: 60s}
variables: {OMP_NUM_THREADS: "1"}
directories: {work: /data/dask-work}
"""


def ports(layout: Layout):
    return [(w.name, w.host, w.port, w.nanny_port, w.dashboard_port) for w in layout.workers]


def test_the_fleet_by_hand_that_this_replaces():
    layout = lay_out(parse(SEED, {}))
    assert ports(layout) == [
        ("dask-worker-0001", "dask-worker-0001", 9010, 9011, 9012),
        ("dask-worker-0002", "dask-worker-0002", 9020, 9021, 9022),
        ("dask-worker-0003", "dask-worker-0003", 9030, 9031, 9032),
        ("dask-worker-0004", "dask-worker-0004", 9040, 9041, 9042),
    ]
    assert [w.contact for w in layout.workers] == [f"192.168.1.{n}" for n in (11, 12, 13, 14)]
    assert {(w.nthreads, w.memory_limit, w.resources["GPU"]) for w in layout.workers} == {
        (2, 4 * GIB, 1.0)
    }
    assert layout.scheduler_address == "tcp://192.168.1.166:8786"
    assert layout.client_address == "tcp://80.158.2.66:8786"
    assert layout.dashboard_url == "http://80.158.2.66:8787/status"
    assert layout.dask_configuration == {"distributed": {"comm": {"timeouts": {"connect": "60s"}}}}
    assert layout.environment_variables == {"OMP_NUM_THREADS": "1"}
    assert [(u.name, u.host, u.role) for u in layout.units] == [
        ("dask-scheduler", "dask-scheduler", "scheduler"),
        *(("dask-workers-default", f"dask-worker-000{n}", "workers") for n in (1, 2, 3, 4)),
    ]
    host = layout.hosts["dask-worker-0001"]
    assert (host.transport, host.runtime, host.work_directory, host.log_directory) == (
        "ssh",
        "systemd",
        "/data/dask-work",
        None,
    )


def test_the_default_fleet():
    layout = lay_out(default_spec(), {THIS_MACHINE: HostFacts(cpus=9, memory=16 * GIB)})
    assert ports(layout) == [
        (f"dask-worker-000{n}", "localhost", 9000 + 10 * n, 9001 + 10 * n, 9002 + 10 * n)
        for n in (1, 2, 3, 4)
    ]
    assert {(w.nthreads, w.memory_limit) for w in layout.workers} == {(2, 4 * GIB)}
    assert layout.scheduler_address == layout.client_address == "tcp://127.0.0.1:8786"
    assert [u.name for u in layout.units_on("localhost")] == [
        "dask-scheduler",
        "dask-workers-default",
    ]
    host = layout.hosts["localhost"]
    assert (host.listen, host.transport, host.runtime) == ("127.0.0.1", "local", "supervisor")
    assert layout.scheduler.ports == {"scheduler": 8786, "dashboard": 8787}


def test_without_facts_there_is_one_thread_and_dask_decides_on_memory():
    layout = lay_out(default_spec())
    assert {(w.nthreads, w.memory_limit) for w in layout.workers} == {(1, None)}


TWO_GROUPS = """\
name: x
hosts:
  a: {address: 127.0.0.1, cpus: 8, memory: 16 GiB}
workers:
  one: {per_host: 2, memory_limit: 4 GiB}
  two: {per_host: 2, first: 3, ports: {worker: 9030, nanny: 9031, dashboard: 9032}}
"""


def test_what_is_auto_is_shared_among_all_workers_of_the_host():
    layout = lay_out(parse(TWO_GROUPS, {}), {"a": HostFacts(cpus=100, memory=1000 * GIB)})
    assert [(w.name, w.nthreads, w.memory_limit) for w in layout.workers] == [
        ("dask-worker-0001", 2, 4 * GIB),
        ("dask-worker-0002", 2, 4 * GIB),
        ("dask-worker-0003", 2, 4 * GIB),
        ("dask-worker-0004", 2, 4 * GIB),
    ]
    assert [u.name for u in layout.units] == [
        "dask-scheduler",
        "dask-workers-one",
        "dask-workers-two",
    ]


def test_facts_of_this_machine_are_not_those_of_others():
    layout = lay_out(
        parse(SEED.replace("nthreads: 2", "nthreads: auto"), {}), {THIS_MACHINE: HostFacts(8, GIB)}
    )
    assert {w.nthreads for w in layout.workers} == {1}
    facts = {"dask-worker-0002": HostFacts(cpus=8)}
    layout = lay_out(parse(SEED.replace("nthreads: 2", "nthreads: auto"), {}), facts)
    assert [w.nthreads for w in layout.workers] == [1, 8, 1, 1]


@pytest.mark.parametrize(
    ("per", "expected"),
    [
        ("host", [9010, 9020, 9010, 9020]),
        ("group", [9010, 9020, 9030, 9040]),
    ],
)
def test_ports_are_counted_on_each_host_or_through_the_group(per, expected):
    text = SEED.replace("per: group", f"per: {per}").replace(
        '[0001-0004]"]', '[0001-0002]"]\n    per_host: 2'
    )
    text = text.replace("memory_limit: 4 GiB", "memory_limit: auto")
    layout = lay_out(parse(text, {}))
    assert [w.port for w in layout.workers] == expected
    assert [w.name[-1] for w in layout.workers] == ["1", "2", "3", "4"]
    # Half a GiB of each host's eight is its own.
    assert {w.memory_limit for w in layout.workers} == {3.75 * GIB}


def test_addresses():
    text = """\
name: x
hosts:
  s: {address: "fd00::1", external: "2001:db8::1", listen: "::"}
  h: {address: "::1"}
  f: {address: 127.0.0.1, ssh: {port: 2222}}
  t: {address: 10.0.0.1, transport: local, runtime: systemd}
scheduler: {host: s}
"""
    layout = lay_out(parse(text, {}))
    assert layout.scheduler_address == "tcp://[fd00::1]:8786"
    assert layout.dashboard_url == "http://[2001:db8::1]:8787/status"
    assert (layout.scheduler.listen, layout.scheduler.contact) == ("::", "fd00::1")
    assert {h.name: (h.transport, h.runtime, h.listen) for h in layout.hosts.values()} == {
        "s": ("ssh", "systemd", "::"),
        "h": ("local", "supervisor", "::1"),
        "f": ("ssh", "systemd", "127.0.0.1"),
        "t": ("local", "systemd", "10.0.0.1"),
    }


def test_groups_without_hosts_have_all_but_the_schedulers():
    text = SEED.replace('    hosts: ["dask-worker-[0001-0004]"]\n', "")
    assert lay_out(parse(text, {})) == lay_out(parse(SEED, {}))


def test_a_fleet_may_have_no_workers_yet():
    layout = lay_out(parse("name: x\nworkers: {}\n", {}))
    assert layout.workers == ()
    assert [u.role for u in layout.units] == ["scheduler"]


def test_the_same_spec_gives_the_same_layout():
    assert lay_out(parse(SEED, {})) == lay_out(parse(SEED, {}))


@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.sampled_from(["host", "group"]),
    st.integers(3, 20),
    st.integers(0, 99),
)
def test_no_two_workers_share_a_name_or_a_port_of_a_host(hosts, per_host, per, step, first):
    text = (
        f'name: x\nhosts:\n  s: {{address: 10.0.0.1}}\n  w[1-{hosts}]: {{address: "10.0.1.[1-{hosts}]"}}\n'
        f"scheduler: {{host: s}}\nworkers:\n  a: {{per_host: {per_host}, first: {first}, ports: {{per: {per}, step: {step}}}}}\n"
    )
    layout = lay_out(parse(text, {}))
    assert len({w.name for w in layout.workers}) == len(layout.workers) == hosts * per_host
    bound = [(w.contact, port) for w in layout.workers for port in w.ports.values()]
    assert len(set(bound)) == len(bound)
    if per == "group":
        assert len({port for _, port in bound}) == len(bound)
    assert [p for unit in layout.units[1:] for p in unit.processes] == list(layout.workers)


def big(hosts):
    written = "".join(
        f"  w{i:04d}:\n    address: 10.{i // 250}.{i % 250}.1\n    memory: 8 GiB\n"
        for i in range(1, hosts + 1)
    )
    listed = "".join(f"    - w{i:04d}\n" for i in range(1, hosts + 1))
    return (
        f"name: x\nhosts:\n  s:\n    address: 10.255.0.1\n{written}scheduler: {{host: s}}\n"
        f"workers:\n  default:\n    memory_limit: 4 GiB\n    hosts:\n{listed}"
    )


def test_five_thousand_written_out_hosts_are_no_trouble():
    layout = lay_out(parse(big(5000), {}))
    assert len(layout.workers) == 5000
    assert layout.workers[-1].name == "dask-worker-5000"


@pytest.mark.parametrize(
    ("contact", "addresses", "listen"),
    [
        ("10.0.0.1", {"ens3": ("10.0.0.1", "fe80::1")}, "10.0.0.1"),
        ("10.0.0.1", {"ens3": ("192.168.0.7", "10.0.0.1")}, "10.0.0.1"),
        ("80.1.2.3", {"ens3": ("192.168.0.7",), "ens4": ("10.0.0.1",)}, "192.168.0.7"),
        ("vm-1.example", {"ens3": ("fd00::1", "192.168.0.7")}, "192.168.0.7"),
        ("fd00::1", {"ens3": ("192.168.0.7", "fe80::1", "fd00::2")}, "fd00::2"),
        ("10.0.0.1", {"ens3": ("fe80::1",)}, "10.0.0.1"),
        ("10.0.0.1", {"eth0": ("10.0.0.1",)}, "10.0.0.1"),
        ("10.0.0.1", {}, "10.0.0.1"),
    ],
)
def test_processes_listen_on_the_address_of_their_interface(contact, addresses, listen):
    text = f'name: x\nhosts:\n  a: {{address: "{contact}", ssh: {{}}, interface: ens3}}\n'
    layout = lay_out(parse(text, {}), {"a": HostFacts(addresses=addresses)})
    assert layout.scheduler.listen == layout.hosts["a"].listen == listen
    assert {worker.listen for worker in layout.workers} == {listen}
    assert layout.scheduler.contact == contact
