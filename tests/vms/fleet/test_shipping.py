"""A bare host, on which nobody has installed anything, gets the environment and several workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Lab
from lab.host import Host

from tests.vms.operator import COMPUTE, Operator
from tests.vms.reset import bring_down

LIBRARY = "/var/lib/dask-fleet"

SEVERAL = """\
name: several
hosts:
  dask-worker-0004: {address: 10.77.0.15, ssh: {sudo: true}}
workers:
  even:
    per_host: 2
    nthreads: auto
    memory_limit: auto
    prefix: even
    ports: {worker: 9010, nanny: 9011, dashboard: 9012, step: 10}
  small:
    per_host: 2
    nthreads: auto
    memory_limit: 256 MiB
    prefix: small
    ports: {worker: 9050, nanny: 9051, dashboard: 9052, step: 10}
"""

WORKERS = {
    "even-0001": (9010, 9011, 9012),
    "even-0002": (9020, 9021, 9022),
    "small-0001": (9050, 9051, 9052),
    "small-0002": (9060, 9061, 9062),
}


@pytest.fixture
def host(lab: Lab, bare: Operator) -> Iterator[Host]:
    """A host that has no environment, no user and no fleet."""
    host = lab.workers[3]
    host.small_disk(LIBRARY, 3500)
    host.run("if getent passwd dask-fleet >/dev/null; then userdel dask-fleet; fi")
    yield host
    bring_down(bare, SEVERAL)
    host.remove_disk(LIBRARY)


def expected(threads: int) -> list[str]:
    """Return what the client is to say of the workers."""
    ports = {name: " ".join(map(str, three)) for name, three in WORKERS.items()}
    there = (f"{name} on dask-worker-0004 {ports[name]} threads {threads}" for name in WORKERS)
    return [str(sum(x * x for x in range(200))), *there]


def test_two_groups_of_two_workers_with_shares_of_a_bare_host(host: Host, operator: Operator):
    assert host.run(f"ls -A {LIBRARY}").stdout == ""
    assert host.run(["getent", "passwd", "dask-fleet"], check=False).returncode
    operator.write(SEVERAL)
    said = operator.call("up", "--yes", timeout=300).stdout
    assert "sending" in said
    assert "4 workers registered" in said
    assert "nothing to do; 4 workers registered" in operator.call("up", "--yes").stdout

    cpus = int(host.run(["nproc"]).stdout)
    python = host.run(f"ls -d {LIBRARY}/environments/*/bin/python").stdout.split()
    assert len(python) == 1
    argv = ["env", "ADDRESS=tcp://10.77.0.15:8786", *python, "-c", COMPUTE]
    assert host.run(argv).stdout.splitlines() == expected(max(1, cpus // 4))

    rows = operator.rows()
    assert {name: tuple(rows[name]["ports"].values()) for name in WORKERS} == WORKERS
    states = {name: (row["state"], row["unit_state"], row["fault"]) for name, row in rows.items()}
    assert set(states.values()) == {("running", "running", "")}, states
    limits = {name: rows[name]["memory_limit"] for name in WORKERS}
    memory = int(host.run("sed -n 's/^MemTotal: *//p' /proc/meminfo").stdout.split()[0]) * 1024
    kept = max(memory // 16, 512 << 20)
    assert limits["even-0001"] == limits["even-0002"]
    assert limits["small-0001"] == limits["small-0002"] == 256 << 20
    # Shares are of a round figure: the memory of a host differs a little from boot to boot.
    assert 0 <= memory - kept - sum(limits.values()) < 64 << 20
    for unit, name in (("even", "even-0001"), ("small", "small-0001")):
        show = f"systemctl show --value --property=MemoryMax dask-fleet.several.dask-workers-{unit}"
        assert int(host.run(show).stdout) == 2 * limits[name] + (512 << 20)

    # Nothing of the way is left, and what runs from it cannot write into it.
    made = python[0].removesuffix("/bin/python")
    assert host.run(f"ls -A {LIBRARY}/environments").stdout.split() == [made.rpartition("/")[2]]
    write = ["runuser", "-u", "dask-fleet", "--", "touch", f"{made}/x"]
    assert host.run(write, check=False).returncode
