"""Images from a registry: a real one, on the scheduler's host of the lab."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lab import Host, Lab

from tests.containers.conftest import THREE
from tests.vms.layers import IMAGE
from tests.vms.operator import WORKERS, Operator, eventually, right

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

RIGHT = right(WORKERS[:2])
REGISTRY = "10.77.0.11:5000"
SMALL = f"{REGISTRY}/small:1"
OPEN = """\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: "10.77.0.11:5000"}
"""
# As bcrypt has it: the only kind that a registry knows.
PASSWORD = "import crypt; print('user:' + crypt.crypt('hidden', '$2b$05$abcdefghijklmnopqrstuu'))"
CLOSED = OPEN + "auth: {htpasswd: {realm: lab, path: /etc/docker/registry/users}}\n"
ASK = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)"


@pytest.fixture(scope="module")
def fleet(operator: Operator) -> Operator:
    operator.write(THREE)
    operator.call("up", "--yes", "--all-at-once")
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
    serve(host, OPEN)
    host.run(f"tar -C / -c etc/hostname | docker import - {SMALL} && docker push -q {SMALL}")
    host.run(["docker", "image", "rm", SMALL])
    yield host
    host.run(["systemctl", "stop", "docker-registry"])


@pytest.fixture(autouse=True)
def without_small(lab: Lab) -> Iterator[None]:
    """After each test no host has the small image."""
    yield
    lab.each(lambda host: host.run(f"docker image rm -f {SMALL} 2>/dev/null || :"))


def serve(host: Host, how: str) -> None:
    host.run("cat >/etc/docker/registry/config.yml", text=how)
    host.run(["systemctl", "restart", "docker-registry"])
    ask = ["python3", "-c", ASK, f"http://{REGISTRY}/v2/"]
    eventually("it answers", lambda: "refused" not in host.run(ask, check=False).stderr, 60)


def until_all_run(fleet: Operator) -> None:
    everything = dict.fromkeys(("dask-scheduler", *WORKERS[:2]), "running")
    eventually("every process runs", lambda: fleet.states() == everything, 120)


def images(host: Host) -> list[str]:
    text = host.run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).stdout
    return text.split()


def containers(lab: Lab) -> dict[str, str]:
    return {host.name: host.run(["docker", "ps", "-q", "--no-trunc"]).stdout for host in lab.hosts}


def test_an_image_that_no_registry_gives_changes_no_container(lab: Lab, fleet: Operator):
    before = containers(lab)
    fleet.write(THREE.replace(IMAGE, f"{REGISTRY}/nothing:1"))
    reasons = {(one["verb"], one["subject"]) for one in fleet.plan()["changes"]}
    assert ("create", f"image {REGISTRY}/nothing:1") in reasons
    said = fleet.call("up", "--yes", status=None)
    assert said.returncode not in (0, 2)
    for host in lab.hosts:
        assert f"{host.name}: the image {REGISTRY}/nothing:1 could not be pulled" in said.stderr
    assert "docker login" in said.stderr
    assert containers(lab) == before
    fleet.write(THREE)
    fleet.call("up", "--yes")
    assert containers(lab) == before
    assert fleet.compute() == RIGHT


def test_hosts_pull_what_they_lack(lab: Lab, fleet: Operator, registry: Host):
    assert SMALL not in images(lab.workers[0])
    fleet.write(THREE.replace(IMAGE, SMALL))
    # It has no Python: the pull succeeds, and the containers say why they do not start.
    said = fleet.call("up", "--yes", "--limit", "dask-worker-0001", "--timeout", "5", status=None)
    assert "pull image" in said.stdout
    assert SMALL in images(lab.workers[0])
    assert SMALL not in images(lab.workers[1])
    assert said.returncode not in (0, 2)
    assert "python" in said.stdout + said.stderr
    fleet.write(THREE)
    fleet.call("up", "--yes")
    until_all_run(fleet)
    assert fleet.compute() == RIGHT


def test_a_login_of_the_operator_serves_hosts_that_have_none_and_leaves_nothing(
    lab: Lab, fleet: Operator, registry: Host, tmp_path: Path
):
    users = registry.run(["python3", "-W", "ignore", "-c", PASSWORD]).stdout
    registry.run("cat >/etc/docker/registry/users", text=users)
    serve(registry, CLOSED)
    worker = lab.workers[1]
    before = containers(lab)
    fleet.write(THREE.replace(IMAGE, SMALL))
    limited = ("up", "--yes", "--limit", "dask-worker-0002", "--timeout", "5")
    refused = fleet.call(*limited, status=None)
    assert "could not be pulled" in refused.stderr
    assert "no basic auth credentials" in refused.stderr
    assert containers(lab) == before
    auth = base64.b64encode(b"user:hidden").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {REGISTRY: {"auth": auth}}}))
    one = replace(fleet, variables={**fleet.variables, "DOCKER_CONFIG": str(tmp_path)})
    said = one.call(*limited, status=None)
    assert SMALL in images(worker)
    assert "could not be pulled" not in said.stderr
    for text in (said.stdout, said.stderr):
        assert "hidden" not in text
        assert auth not in text
    assert worker.run("ls -d /root/.docker /run/dask-fleet.* 2>/dev/null || :").stdout == ""
    logs = f"grep -rl {auth} /var/lib/dask-fleet /var/log 2>/dev/null || :"
    assert worker.run(logs).stdout == ""
    serve(registry, OPEN)
    fleet.write(THREE)
    fleet.call("up", "--yes")


def test_all_hosts_get_what_a_tag_meant_first(lab: Lab, fleet: Operator, registry: Host):
    """Whoever pushes between two of them does not make a fleet of two images."""
    tag = SMALL.replace("small:1", "moving:1")
    push = f"tar -C / -c etc/%s | docker import - {tag} && docker push -q {tag} && docker rmi {tag}"
    registry.run(push % "hostname")
    fleet.write(THREE.replace(IMAGE, tag))
    limited = ("up", "--yes", "--timeout", "5", "--limit")
    fleet.call(*limited, "dask-worker-0001", status=None)
    registry.run(push % "debian_version")
    fleet.call(*limited, "dask-worker-0002", status=None)
    inspect = ["docker", "image", "inspect", "-f", "{{.Id}}", tag]
    first, second = (host.run(inspect).stdout for host in lab.workers)
    assert first == second
    fleet.write(THREE)
    fleet.call("up", "--yes")
    until_all_run(fleet)
    assert fleet.compute() == RIGHT
