"""A fleet of containers with Docker, from bare hosts to bare hosts again.

It takes minutes, for it is a fleet's whole life on booted hosts; every step prints what it took.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.containers.client import computing, nothing_was_lost, watching
from tests.containers.conftest import THREE
from tests.integration.door import ANN, basic
from tests.journeys.contained import UNIT, journey
from tests.journeys.steps import step
from tests.vms.gate import Gate
from tests.vms.layers import IMAGE
from tests.vms.operator import WORKERS, eventually

NEXT = "example.org/dask:2"
UPDATED = THREE.replace(IMAGE, NEXT)
DOOR = "door: {tls: fleet, login: users}\n"
PAGES = ("/status", "/fleet/", "/metrics", *(f"/w/{name}/health" for name in WORKERS[:2]))


@pytest.mark.timeout(1500)
def test_a_fleet_with_docker_lives_from_up_to_down(tmp_path: Path):
    with journey("docker", tmp_path) as fleet:
        lab = fleet.lab
        with step("up"):
            fleet.comes_up()
        with step("a second up has nothing to do"):
            assert "nothing to do" in fleet.call("up", "--yes").stdout
        with step("compute"):
            fleet.computes()
        with step("another image, host by host, while a client computes"):
            lab.each(lambda host: host.run(["docker", "tag", IMAGE, NEXT]))
            fleet.write(UPDATED)
            with computing(lab) as client, watching() as watch:
                before = [host.run("docker ps -q --no-trunc").stdout for host in lab.hosts]
                said = fleet.call("up", "--yes", "--keep-scheduler", timeout=300).stdout
                names = {fleet.container(host, "{{.Config.Image}}") for host in lab.workers}
                assert names == {NEXT}
                after = [host.run("docker ps -q --no-trunc").stdout for host in lab.hosts]
                assert [old == new for old, new in zip(before, after, strict=True)] == [
                    *(True, False, False)
                ]
                for name in WORKERS[:2]:
                    assert f"drain workers on {name}" in said
                client.until_further()
                nothing_was_lost(client)
            assert watch.seen == {1, 2}
            fleet.computes()
            # The scheduler still has to be replaced, and a plan goes on saying so.
            plan = fleet.plan()
            assert plan["interrupts"]
            assert {change["subject"] for change in plan["changes"]} >= {"dask-scheduler"}
            fleet.call("up", "--yes")
            assert fleet.plan()["empty"]
        with step("a container and the scheduler's process are killed"):
            pid = f"$(docker inspect -f '{{{{.State.Pid}}}}' {UNIT})"
            lab.workers[0].run(f"kill -KILL {pid}")
            lab.scheduler.run("pkill -KILL -u 8786")
            fleet.is_back()
        with step("a host boots"):
            before = fleet.container(lab.workers[1], "{{.Id}} {{.State.StartedAt}}").split()
            lab.workers[1].reboot(120)
            fleet.is_back()
            after = fleet.container(lab.workers[1], "{{.Id}} {{.State.StartedAt}}").split()
            assert (after[0], after[1] != before[1]) == (before[0], True)
        with step("a door with login and TLS"):
            running = [host.run("docker ps -q --no-trunc").stdout for host in lab.hosts]
            fleet.write(UPDATED + DOOR)
            fleet.call("up", "--yes")
            assert [host.run("docker ps -q --no-trunc").stdout for host in lab.hosts] == running
            gate = Gate(fleet)
            gate.add_ann()
            assert {gate.ask(path).status for path in PAGES} == {401}
            assert gate.ask(Authorization=basic("ann", "not what ann has")).status == 401
            cookie = gate.log_in("ann", ANN)
            for path in PAGES:
                eventually(path, lambda path=path: gate.ask(path, Cookie=cookie).status == 200, 60)
            assert fleet.plan()["empty"]
        with step("down"):
            fleet.leaves_nothing()
