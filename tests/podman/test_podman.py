"""A fleet of containers on booted hosts that have Podman under Docker's name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from lab import Host, Lab, LabError

from tests.containers import test_faults as containers
from tests.containers.client import computing, watching
from tests.containers.conftest import CONTAINED, IMAGE, Contained
from tests.containers.test_compose import (
    DRIFTS,
    FOLDER,
    UNIT,
    container,
    inspect,
    is_seen_named_and_mended,
    logs_exec_and_restart,
)
from tests.containers.test_images import NAME, ids, sent
from tests.containers.test_update import nothing_was_lost
from tests.vms.follower import following
from tests.vms.operator import RIGHT, WORKERS, all_run, eventually

SCHEDULER = "dask-fleet.sst.dask-scheduler"
NEXT = "example.org/dask:2"


@pytest.fixture(scope="module")
def fleet(operator: Contained) -> Iterator[Contained]:
    """The fleet, brought up on hosts that have Podman with the image and nothing else."""
    assert "4 workers registered" in operator.call("up", "--yes").stdout
    yield operator
    operator.call("down", "--yes")


def test_it_is_up_and_a_second_up_has_nothing_to_do(lab: Lab, fleet: Contained):
    assert "podman" in lab.scheduler.run("docker --version").stdout
    assert all_run(fleet.rows())
    assert fleet.plan()["empty"]
    assert "nothing to do" in fleet.call("up", "--yes").stdout
    assert fleet.compute() == RIGHT


def test_what_a_container_is_given(lab: Lab, fleet: Contained):
    found = inspect(lab.workers[1])
    assert found["Config"]["User"] == "8786:8786"
    assert found["Config"]["Hostname"] == "dask-worker-0002"
    config = found["HostConfig"]
    assert config["RestartPolicy"]["Name"] == "always"
    assert config["Memory"] == config["MemorySwap"] == 2**30 + 512 * 2**20
    assert config["PortBindings"]["9020/tcp"] == [{"HostIp": "10.77.0.13", "HostPort": "9020"}]
    eventually(
        "the container is healthy",
        lambda: inspect(lab.workers[1])["State"]["Health"]["Status"] == "healthy",
        60,
    )


def test_by_hand_the_old_procedure_gives_the_same_container(lab: Lab, fleet: Contained):
    host = lab.workers[0]
    before = container(host)
    host.run(f"cd {FOLDER} && docker-compose up -d", timeout=60)
    assert container(host) == before
    host.run(["docker", "rm", "-f", UNIT])
    host.run(f"cd {FOLDER} && docker-compose up -d", timeout=60)
    fleet.until_all_run(60)
    assert fleet.plan()["empty"]


@pytest.mark.parametrize("drift", [one for one in DRIFTS if "docker update" not in one])
def test_drift_is_seen_named_and_mended(lab: Lab, fleet: Contained, drift: str):
    is_seen_named_and_mended(lab, fleet, drift)


def test_logs_exec_and_restart(lab: Lab, fleet: Contained):
    lines, printed = logs_exec_and_restart(lab, fleet)
    assert not [line for line in lines if "Emulate Docker" in line]
    # Among them podman-docker says that it is not Docker.
    versions = [line for line in printed if re.search(r"\d{4}\.\d+\.\d+$", line)]
    assert len(versions) == 4


def test_a_container_that_is_started_anew_is_followed_on(lab: Lab, fleet: Contained):
    with following(fleet, "-n", "1") as follower:
        follower.until("it is followed", lambda line: line.startswith("dask-worker-0003 | "))
        before = len(follower.lines)
        lab.workers[2].run(["docker", "restart", UNIT], timeout=60)
        follower.until(
            "what it says next",
            lambda line: (
                "Registered to" in line
                and line.startswith("dask-worker-0003 | ")
                and line in follower.lines[before:]
            ),
        )
    assert all_run(fleet.until_all_run(60))


def test_the_doctor_is_content(fleet: Contained):
    findings = json.loads(fleet.call("doctor", "--json").stdout)["findings"]
    assert [one for one in findings if one["severity"] == "error"] == []


def test_another_image_goes_host_by_host_while_a_client_computes(lab: Lab, fleet: Contained):
    def image(host: Host) -> str:
        return host.run(["docker", "inspect", "-f", "{{.ImageName}}", UNIT]).stdout.strip()

    lab.each(lambda host: host.run(["docker", "tag", IMAGE, NEXT]))
    fleet.write(CONTAINED.replace(IMAGE, NEXT))
    with computing(lab) as client, watching() as watch:
        fleet.call("up", "--yes", "--keep-scheduler", timeout=300)
        assert [image(host) for host in lab.workers] == [NEXT] * 4
        client.until_further()
        nothing_was_lost(client)
    assert watch.seen == {3, 4}
    fleet.write(CONTAINED)
    fleet.call("up", "--yes", "--all-at-once")
    assert fleet.compute() == RIGHT


def test_an_image_is_built_once_and_hosts_are_sent_the_layer_that_they_lack(
    lab: Lab, fleet: Contained
):
    folder = fleet.folder / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY greeting /greeting\n")
    build = "{build: image, build_on: dask-worker-0004}"
    fleet.write(CONTAINED.replace(f'{{image: "{IMAGE}"}}', build))
    for greeting in ("good morning", "good evening", "good night"):
        (folder / "greeting").write_text(greeting)
        said = fleet.call("up", "--yes").stdout
        assert said.count("building localhost/dask-fleet/sst:") == 1
        assert set(sent(said)) == {*WORKERS[:3], "dask-scheduler"}
        assert max(sent(said).values()) < 1
        asked = ["docker", "exec", UNIT, "cat", "/greeting"]
        assert [host.run(asked).stdout for host in lab.workers] == [greeting] * 4
    assert fleet.compute() == RIGHT
    assert fleet.plan()["empty"]
    name = NAME.search(said)
    assert name is not None
    assert len(ids(lab, name[0])) == 1
    images_are_listed_and_what_nothing_uses_is_removed(fleet)
    fleet.write(CONTAINED)
    fleet.call("up", "--yes", "--all-at-once")
    assert fleet.compute() == RIGHT


def images_are_listed_and_what_nothing_uses_is_removed(fleet: Contained) -> None:
    listed = json.loads(fleet.call("image", "ls", "--json").stdout)
    mine = [one for one in listed["images"] if one["host"] == "dask-worker-0001"]
    assert len(mine) == 3
    assert [one["name"] for one in mine if one["used"]] == [listed["declared"]]
    assert all(0 <= one["age"] < 3600 for one in mine)
    fleet.call("image", "prune", "--yes")
    left = json.loads(fleet.call("image", "ls", "--json").stdout)["images"]
    # The newest that is not used stays, for a way back.
    assert [one["name"] for one in left if one["host"] == "dask-worker-0001"] == [
        one["name"] for one in mine[:2]
    ]
    assert "nothing removed" in fleet.call("image", "prune", "--yes").stdout


def test_who_is_not_root_is_refused(fleet: Contained):
    fleet.write(CONTAINED.replace("ssh: {sudo: true}", "ssh: {}"))
    said = fleet.call("plan", status=None).stderr
    assert "dask-worker-0001: units under compose need root" in said
    fleet.write(CONTAINED)
    assert fleet.plan()["empty"]


@pytest.fixture(autouse=True)
def as_declared(operator: Contained) -> Iterator[None]:
    """After each test fleet.yaml is as it was."""
    yield
    operator.write(CONTAINED)


def back(host: Host, before: str) -> bool:
    """Return whether a host has booted since and answers.

    Podman's check of health may have failed meanwhile, which systemd counts as a failed unit.
    """
    with suppress(LabError):
        return host.is_on and host.boot_id != before and host.answers
    return False


def power_cut(lab: Lab) -> None:
    lab.each(lambda host: host.power_cut())
    lab.each(lambda host: host.start())
    for host in lab.hosts:
        eventually(f"{host.name} is back", lambda host=host: back(host, ""), 60)


FAULTS: dict[str, Callable[[Lab], object]] = {
    **{
        fault: containers.FAULTS[fault]
        for fault in (
            "a worker's container is killed",
            "the processes of a container are killed",
            "the scheduler's process is killed",
        )
    },
    "Podman's service is started anew": lambda lab: lab.workers[2].run(
        ["systemctl", "restart", "podman.socket", "podman.service"], timeout=90
    ),
    "the power of all hosts is cut": power_cut,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_everything_is_back_without_a_hand(lab: Lab, fleet: Contained, fault: str):
    FAULTS[fault](lab)
    containers.all_is_back(fleet)


@pytest.mark.parametrize(
    ("off", "on", "fault"),
    [
        (
            "systemctl stop podman.socket podman.service",
            "systemctl enable --now podman.socket",
            "Podman's socket, through which compose reaches it, is not open there",
        ),
        (
            "systemctl disable podman-restart.service",
            "systemctl enable podman-restart.service",
            "Podman would not start containers there when the host boots",
        ),
        (
            "mv /usr/bin/docker-compose /usr/bin/docker-compose.away",
            "mv /usr/bin/docker-compose.away /usr/bin/docker-compose",
            "there is no compose",
        ),
    ],
)
def test_what_podman_lacks_is_said_with_its_remedy(
    lab: Lab, fleet: Contained, off: str, on: str, fault: str
):
    host = lab.workers[1]
    host.run(off)
    said = fleet.call("plan", status=None).stderr
    assert "dask-worker-0002: " in said
    assert fault in said
    if on.startswith("systemctl"):
        assert f"`{on}` there" in said
    host.run(on)
    assert fleet.plan()["empty"]


def test_down_leaves_nothing(lab: Lab, fleet: Contained):
    fleet.call("down", "--yes")
    for host in lab.hosts:
        assert host.run("docker ps -aq; docker network ls -qf name=sst").stdout == ""
        assert host.run("ls /var/lib/dask-fleet/fleets 2>/dev/null || :").stdout in (
            "",
            "sst.history.jsonl\n",
        )
