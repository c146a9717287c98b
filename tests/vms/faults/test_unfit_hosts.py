"""Hosts that are not fit are refused before anything is changed; a disk fills while wheels come."""

from __future__ import annotations

import json

from lab import Lab

from tests.vms.operator import FLEET, RIGHT, Operator

ENVIRONMENTS = "/var/lib/dask-fleet/environments"
UNIT = "dask-fleet.sst.dask-workers-default.service"


def untouched(lab: Lab) -> dict[str, str]:
    """Return what lies on each host where a fleet would be, and the units there."""
    listing = "find /var/lib/dask-fleet/fleets /etc/systemd/system | sort; cat /etc/passwd"
    return {host.name: host.run(listing, check=False).stdout for host in lab.hosts}


def test_a_python_that_does_not_fit_is_refused_before_anything_is_changed(lab: Lab, bare: Operator):
    before = untouched(lab)
    bare.write(FLEET + 'environment: {packages: [distributed], python: "3.13"}\n')
    done = bare.call("up", "--yes", status=None)
    assert done.returncode not in (0, 2)
    for host in lab.hosts:
        assert f"{host.name}: there is no Python 3.13; it has: /usr/bin/python3.11" in done.stderr
    assert "install Python 3.13 there" in done.stderr
    found = json.loads(bare.call("doctor", "--json", status=11).stdout)["findings"]
    assert {(one["check"], one["place"]) for one in found} == {
        ("versions", host.name) for host in lab.hosts
    }
    assert all("there is no Python 3.13; it has: " in one["fault"] for one in found)
    assert untouched(lab) == before


def test_workers_that_may_use_more_than_there_is_are_refused(lab: Lab, bare: Operator):
    before = untouched(lab)
    bare.write(FLEET.replace("    memory: 4 GiB\n", "").replace("1 GiB", "900 GiB"))
    done = bare.call("up", "--yes", status=None)
    assert done.returncode not in (0, 2)
    assert "dask-worker-0003: its 1 workers may use 900.0 GiB" in done.stderr
    assert "lower `memory_limit`" in done.stderr
    assert untouched(lab) == before


def test_a_disk_that_fills_while_the_environment_comes(lab: Lab, fleet: Operator):
    host = lab.workers[1]
    host.run(["systemctl", "stop", UNIT])
    host.small_disk(ENVIRONMENTS, 2800)
    try:
        # Room for the check before, and then somebody else takes it.
        process = fleet.begin("up", "--yes")
        arrived = host.run(
            f"for i in $(seq 600); do if [ -n \"$(find {ENVIRONMENTS} -name '*.whl' | head -1)\" ];"
            " then echo yes; exit; fi; sleep 0.1; done",
            timeout=90,
        ).stdout
        assert arrived.strip() == "yes"
        host.fill_disk(ENVIRONMENTS, 0)
        out, err = process.communicate(timeout=150)
        assert process.returncode not in (0, 2), out
        assert "dask-worker-0002" in err
        assert "are free of about" in err
        rows = fleet.rows()
        assert rows["dask-worker-0002"]["state"] != "running"
        assert [rows[f"dask-worker-000{n}"]["state"] for n in (1, 3, 4)] == ["running"] * 3
        host.free_disk(ENVIRONMENTS)
        # It travels again, to the same disk, and its worker runs from what has come.
        said = fleet.call("up", "--yes", timeout=300).stdout
        assert "sending" in said
        assert "4 workers registered" in said
        assert fleet.plan()["empty"]
        assert fleet.compute() == RIGHT
    finally:
        host.remove_disk(ENVIRONMENTS)
    host.run(["systemctl", "restart", UNIT])
    fleet.until_all_run(60)
    assert fleet.compute() == RIGHT
