"""Images from a registry: a real one, on the scheduler's host of the lab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Host, Lab

from tests.containers.conftest import CONTAINED, IMAGE
from tests.vms.operator import RIGHT, Operator, eventually

REGISTRY = "10.77.0.11:5000"
SMALL = f"{REGISTRY}/small:1"
OPEN = """\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: "10.77.0.11:5000"}
"""
ASK = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)"


@pytest.fixture(scope="module")
def fleet(operator: Operator) -> Operator:
    operator.write(CONTAINED)
    operator.call("up", "--yes")
    return operator


@pytest.fixture(scope="module")
def registry(lab: Lab) -> Iterator[Host]:
    """The scheduler's host, with a registry that has a small image, which no other host has."""

    def trust(host: Host) -> None:
        text = f'{{"insecure-registries": ["{REGISTRY}"]}}'
        host.run("cat >/etc/docker/daemon.json", text=text)
        host.run(["systemctl", "reload", "docker"])

    lab.each(trust)
    host = lab.scheduler
    # Debian's own configuration asks for a password.
    host.run("cat >/etc/docker/registry/config.yml", text=OPEN)
    host.run(["systemctl", "start", "docker-registry"])
    address = f"http://{REGISTRY}/v2/"
    eventually(
        "it answers",
        lambda: not host.run(["python3", "-c", ASK, address], check=False).returncode,
        30,
    )
    host.run(f"tar -C / -c etc/hostname | docker import - {SMALL} && docker push -q {SMALL}")
    host.run(["docker", "image", "rm", SMALL])
    yield host
    host.run(["systemctl", "stop", "docker-registry"])


def images(host: Host) -> list[str]:
    text = host.run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).stdout
    return text.split()


def containers(lab: Lab) -> dict[str, str]:
    return {host.name: host.run(["docker", "ps", "-q", "--no-trunc"]).stdout for host in lab.hosts}


def test_an_image_that_no_registry_gives_changes_no_container(lab: Lab, fleet: Operator):
    before = containers(lab)
    fleet.write(CONTAINED.replace(IMAGE, f"{REGISTRY}/nothing:1"))
    reasons = {(one["verb"], one["subject"]) for one in fleet.plan()["changes"]}
    assert ("create", f"image {REGISTRY}/nothing:1") in reasons
    said = fleet.call("up", "--yes", status=None)
    assert said.returncode not in (0, 2)
    for host in lab.hosts:
        assert f"{host.name}: the image {REGISTRY}/nothing:1 could not be pulled" in said.stderr
    assert "docker login" in said.stderr
    assert containers(lab) == before
    fleet.write(CONTAINED)
    fleet.call("up", "--yes")
    assert containers(lab) == before
    assert fleet.compute() == RIGHT


def test_hosts_pull_what_they_lack(lab: Lab, fleet: Operator, registry: Host):
    assert SMALL not in images(lab.workers[0])
    fleet.write(CONTAINED.replace(IMAGE, SMALL))
    # It has no Python: the pull succeeds, and the containers say why they do not start.
    said = fleet.call("up", "--yes", "--limit", "dask-worker-0001", "--timeout", "5", status=None)
    assert "pull image" in said.stdout
    assert SMALL in images(lab.workers[0])
    assert SMALL not in images(lab.workers[1])
    assert said.returncode not in (0, 2)
    assert "python" in said.stdout + said.stderr
    fleet.write(CONTAINED)
    fleet.call("up", "--yes")
    fleet.until_all_run(60)
    assert fleet.compute() == RIGHT
