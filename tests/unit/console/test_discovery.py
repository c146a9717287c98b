"""What Prometheus is told: every declared process, through the door or directly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleet_console.discovery import targets

from tests.unit.console.simulated import SPEC, inventory

DIRECT = inventory()
DOOR = replace(DIRECT, door={"url": "https://dask.example.org"})


def test_directly():
    scheduler, *workers = targets(DIRECT)
    assert scheduler == {
        "targets": ["10.77.0.11:8787"],
        "labels": {
            "__metrics_path__": "/metrics",
            "__scheme__": "http",
            "instance": "dask-scheduler",
            "fleet": "sst",
            "role": "scheduler",
            "host": "head",
        },
    }
    assert workers[3]["targets"] == ["10.77.0.13:9022"]
    assert workers[3]["labels"] == {
        "__metrics_path__": "/metrics",
        "__scheme__": "http",
        "instance": "dask-worker-0004",
        "fleet": "sst",
        "role": "worker",
        "host": "node-2",
        "worker": "dask-worker-0004",
        "group": "default",
    }


def test_through_the_door():
    groups = targets(DOOR)
    assert {group["targets"][0] for group in groups} == {"dask.example.org:443"}
    assert {group["labels"]["__scheme__"] for group in groups} == {"https"}
    paths = [group["labels"]["__metrics_path__"] for group in groups]
    assert paths[:2] == ["/metrics", "/w/dask-worker-0001/metrics"]
    assert len(set(paths)) == 5
    assert targets(DOOR, "door") == groups
    assert targets(DOOR, "direct") == targets(DIRECT)


def test_a_door_on_a_port_of_its_own():
    door = replace(DIRECT, door={"url": "http://[::1]:8788"})
    assert targets(door)[0]["targets"] == ["[::1]:8788"]
    assert targets(door)[0]["labels"]["__scheme__"] == "http"


@pytest.mark.parametrize(("via", "words"), [("door", "no door"), ("x", "door or direct")])
def test_ways_that_are_not_there(via: str, words: str):
    with pytest.raises(ValueError, match=words):
        targets(DIRECT, via)


def test_ipv6():
    spec = SPEC.replace('address: "10.77.0.[12-13]"', 'address: "fd77::[12-13]"')
    assert targets(inventory(spec))[1]["targets"] == ["[fd77::12]:9012"]
