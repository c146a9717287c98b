"""Compose's second version, a plugin of Docker's command, in place of the older docker-compose."""

from __future__ import annotations

import subprocess

import pytest
from lab import Host, Lab
from lab.packages import PLUGIN, ensure_package

from tests.containers.conftest import CONTAINED
from tests.containers.test_compose import FOLDER, UNIT, container, inspect
from tests.vms.operator import RIGHT, Operator, all_run

BINARY = "usr/libexec/docker/cli-plugins/docker-compose"
SCHEDULER = "dask-fleet.sst.dask-scheduler"


def use_plugin(lab: Lab, host: Host) -> None:
    """Take the older one away, and put the plugin where Docker looks for it."""
    install = f"install -D -m 755 /dev/stdin /{BINARY}"
    with (ensure_package(lab.cache, *PLUGIN) / BINARY).open("rb") as binary:
        subprocess.run(host.command(["sh", "-c", install]), stdin=binary, check=True, timeout=60)
    host.run("mv /usr/bin/docker-compose /usr/bin/docker-compose.older")


def use_older(host: Host) -> None:
    """Put the older one back."""
    host.run(f"rm /{BINARY}; mv /usr/bin/docker-compose.older /usr/bin/docker-compose")


@pytest.fixture(scope="module")
def fleet(lab: Lab, operator: Operator):
    """A fleet that was brought up with the older one, on hosts that have the plugin now."""
    operator.call("down", "--yes", status=None)
    operator.write(CONTAINED)
    assert "4 workers registered" in operator.call("up", "--yes").stdout
    for host in lab.hosts:
        use_plugin(lab, host)
    yield operator
    for host in lab.hosts:
        use_older(host)
    operator.write(CONTAINED)
    operator.call("down", "--yes")


def all_containers(lab: Lab) -> dict[str, str]:
    return {
        host.name: container(host, SCHEDULER if host is lab.scheduler else UNIT)
        for host in lab.hosts
    }


def test_the_hosts_have_the_second_version_and_no_other(lab: Lab, fleet: Operator):
    assert "version 2." in lab.workers[0].run("docker compose version").stdout
    assert lab.workers[0].run("command -v docker-compose", check=False).stdout == ""


def test_what_the_older_one_made_is_left_alone(lab: Lab, fleet: Operator):
    before = all_containers(lab)
    assert fleet.plan()["empty"]
    assert "nothing to do" in fleet.call("up", "--yes").stdout
    assert all_containers(lab) == before


def test_the_plugin_replaces_what_the_older_one_made(lab: Lab, fleet: Operator):
    before = all_containers(lab)
    fleet.write(CONTAINED.replace("memory_limit: 1 GiB", "memory_limit: 900 MiB"))
    fleet.call("up", "--yes")
    after = all_containers(lab)
    assert {name for name in after if after[name] == before[name]} == {"dask-scheduler"}
    assert inspect(lab.workers[0])["HostConfig"]["Memory"] == (900 + 512) * 2**20
    assert fleet.plan()["empty"]
    assert all_run(fleet.until_all_run(60))
    assert fleet.compute() == RIGHT


def test_a_fleet_comes_up_from_nothing_and_by_hand(lab: Lab, fleet: Operator):
    fleet.write(CONTAINED)
    fleet.call("down", "--yes")
    assert "4 workers registered" in fleet.call("up", "--yes").stdout
    before = all_containers(lab)
    for host in lab.hosts:
        host.run(f"cd {FOLDER} && docker compose up -d", timeout=60)
    assert all_containers(lab) == before
    lab.workers[0].run(["docker", "rm", "-f", UNIT])
    lab.workers[0].run(f"cd {FOLDER} && docker compose up -d", timeout=60)
    fleet.until_all_run(60)
    assert fleet.plan()["empty"]


def test_a_container_from_an_edited_file_is_seen_and_replaced(lab: Lab, fleet: Operator):
    edit = "sed 's/10m/20m/' docker-compose.yml >a.yml && docker compose -f a.yml up -d && rm a.yml"
    lab.workers[2].run(f"cd {FOLDER} && {edit}", timeout=60)
    (change,) = fleet.plan()["changes"]
    assert change["host"] == "dask-worker-0003"
    assert "its container was not made from these files" in change["reason"]
    fleet.call("up", "--yes")
    assert fleet.plan()["empty"]
    assert all_run(fleet.rows())
