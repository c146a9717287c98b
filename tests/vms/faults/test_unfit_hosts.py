"""Hosts that are not fit are refused before anything is changed."""

from __future__ import annotations

import json

from lab import Lab

from tests.vms.operator import FLEET, Operator


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
