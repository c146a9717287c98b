"""Compose's second version, a plugin of Docker's command, in place of the older docker-compose."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from lab import Host, Lab
from lab.packages import PLUGIN, ensure_package

from tests.containers.conftest import CONTAINED
from tests.containers.fleet.test_compose import FOLDER, UNIT, container, inspect
from tests.vms.operator import RIGHT, Operator, all_run

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

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
    older = "/usr/bin/docker-compose.older"
    host.run(f"rm -f /{BINARY}; [ ! -e {older} ] || mv {older} /usr/bin/docker-compose")


@pytest.fixture
def older(lab: Lab, operator: Operator) -> Iterator[Operator]:
    """A fleet that the older one has brought up; hosts have the older one again afterwards."""
    operator.write(CONTAINED)
    operator.call("up", "--yes", "--all-at-once")
    yield operator
    lab.each(use_older)
    # What the plugin has made, the older one would make anew by hand.
    operator.write(CONTAINED)
    operator.call("down", "--yes")


def all_containers(lab: Lab) -> dict[str, str]:
    return {
        host.name: container(host, SCHEDULER if host is lab.scheduler else UNIT)
        for host in lab.hosts
    }


def test_the_plugin_leaves_what_the_older_one_made_until_it_changes(lab: Lab, older: Operator):
    lab.each(lambda host: use_plugin(lab, host))
    assert "version 2." in lab.workers[0].run("docker compose version").stdout
    assert lab.workers[0].run("command -v docker-compose", check=False).stdout == ""
    before = all_containers(lab)
    assert older.plan()["empty"]
    assert "nothing to do" in older.call("up", "--yes").stdout
    assert all_containers(lab) == before
    older.write(CONTAINED.replace("memory_limit: 1 GiB", "memory_limit: 900 MiB"))
    older.call("up", "--yes")
    after = all_containers(lab)
    assert {name for name in after if after[name] == before[name]} == {"dask-scheduler"}
    assert inspect(lab.workers[0])["HostConfig"]["Memory"] == (900 + 512) * 2**20
    assert older.plan()["empty"]
    assert all_run(older.until_all_run(120))
    assert older.compute() == RIGHT


def test_a_fleet_comes_up_from_nothing_and_by_hand_and_an_edited_file_is_seen(
    lab: Lab, older: Operator
):
    older.call("down", "--yes")
    lab.each(lambda host: use_plugin(lab, host))
    assert "4 workers registered" in older.call("up", "--yes").stdout
    before = all_containers(lab)
    lab.each(lambda host: host.run(f"cd {FOLDER} && docker compose up -d", timeout=120))
    assert all_containers(lab) == before
    lab.workers[0].run(["docker", "rm", "-f", UNIT])
    lab.workers[0].run(f"cd {FOLDER} && docker compose up -d", timeout=60)
    older.until_all_run(120)
    assert older.plan()["empty"]
    edit = "sed 's/10m/20m/' docker-compose.yml >a.yml && docker compose -f a.yml up -d && rm a.yml"
    lab.workers[2].run(f"cd {FOLDER} && {edit}", timeout=60)
    (change,) = older.plan()["changes"]
    assert change["host"] == "dask-worker-0003"
    assert "its container was not made from these files" in change["reason"]
    older.call("up", "--yes")
    assert older.plan()["empty"]
    assert all_run(older.rows())
