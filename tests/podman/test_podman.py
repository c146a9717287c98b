"""A fleet of containers on booted hosts that have Podman under Docker's name.

That it comes up from bare hosts, computes, boots and leaves nothing is in `tests/journeys/podman`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from lab import Host, Lab, LabError

from tests.containers.client import computing, nothing_was_lost, watching
from tests.containers.conftest import CONTAINED, Contained
from tests.containers.fleet import test_faults as containers
from tests.containers.fleet.test_compose import (
    DRIFTS,
    FOLDER,
    UNIT,
    are_seen_named_and_mended,
    container,
    inspect,
    logs_exec_and_restart,
)
from tests.containers.images.test_images import NAME, ids, sent
from tests.vms.follower import following
from tests.vms.layers import IMAGE
from tests.vms.operator import RIGHT, WORKERS, all_run, eventually

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""
SCHEDULER = "dask-fleet.sst.dask-scheduler"
NEXT = "example.org/dask:2"


@pytest.fixture(scope="module")
def up(operator: Contained) -> Iterator[Contained]:
    """The fleet; whoever declares another one leaves it to others to go back."""
    operator.write(CONTAINED)
    operator.call("up", "--yes", "--all-at-once")
    yield operator
    operator.write(CONTAINED)
    operator.call("down", "--yes")


@pytest.fixture
def fleet(up: Contained) -> Contained:
    """The fleet as declared, whatever another test has declared."""
    up.write(CONTAINED)
    if not up.plan()["empty"]:
        up.call("up", "--yes", "--all-at-once")
    return up


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


def test_drift_is_seen_named_and_mended(lab: Lab, fleet: Contained):
    drifts = [drift for drift in DRIFTS if "docker update" not in drift]
    for first in range(0, len(drifts), len(lab.workers)):
        are_seen_named_and_mended(lab, fleet, drifts[first : first + len(lab.workers)])


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


def test_an_image_is_built_once_and_hosts_are_sent_the_layer_that_they_lack(
    lab: Lab, fleet: Contained
):
    folder = fleet.folder / "image"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY greeting /greeting\n")
    build = "{build: image, build_on: dask-worker-0004}"
    fleet.write(CONTAINED.replace(f'{{image: "{IMAGE}"}}', build))
    for greeting in ("good morning", "good evening", "good night"):
        (folder / "greeting").write_text(greeting)
        said = fleet.call("up", "--yes", "--all-at-once").stdout
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
        eventually(f"{host.name} is back", lambda host=host: back(host, ""), 120)


FAULTS: dict[str, Callable[[Lab], object]] = {
    "a container, processes in another one and Podman's service end": lambda lab: (
        containers.three_at_once(lab, "podman.socket", "podman.service")
    ),
    "the scheduler's process is killed": lambda lab: lab.scheduler.run("pkill -KILL -u 8786"),
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
