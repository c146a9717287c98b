"""Images that are built of a Dockerfile and sent to hosts that have no registry."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lab import Host, Lab

from dask_fleet.errors import UnreachableHostError
from dask_fleet.images.archive import END, layer_name, member_head, member_tail, opening
from tests.containers.conftest import THREE
from tests.vms.layers import IMAGE
from tests.vms.operator import WORKERS, Operator, eventually, right

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

BUILT = THREE.replace(f'{{image: "{IMAGE}"}}', "{build: image, build_on: dask-worker-0002}")
DOCKERFILE = f"""\
FROM {IMAGE}
COPY greeting /greeting
"""
RIGHT = right(WORKERS[:2])
UNIT = "dask-fleet.sst.dask-workers-default"
NAME = re.compile(r"localhost/dask-fleet/sst:[0-9a-f]{16}")
SPOOL = "/var/lib/dask-fleet/images"


@pytest.fixture(scope="module")
def built(operator: Operator) -> Iterator[Operator]:
    """The fleet with an image that is built of a Dockerfile."""
    folder = operator.folder / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "greeting").write_text("hello\n")
    operator.write(BUILT)
    operator.call("up", "--yes", "--all-at-once")
    yield operator
    operator.write(THREE)
    shutil.rmtree(folder)


@pytest.fixture
def fleet(built: Operator) -> Operator:
    """The fleet, up with the image that its folder gives."""
    built.write(BUILT)
    (built.folder / "image" / "Dockerfile").write_text(DOCKERFILE)
    (built.folder / "image" / "large").unlink(missing_ok=True)
    if not built.plan()["empty"]:
        built.call("up", "--yes", "--all-at-once")
    return built


def greets(fleet: Operator, words: str) -> None:
    """Let the image say something that no other image says."""
    (fleet.folder / "image" / "greeting").write_text(f"{words}\n")


def greeting(host: Host, unit: str = UNIT) -> str:
    return host.run(["docker", "exec", unit, "cat", "/greeting"]).stdout.strip()


def containers(lab: Lab) -> dict[str, str]:
    return {host.name: host.run(["docker", "ps", "-q", "--no-trunc"]).stdout for host in lab.hosts}


def ids(lab: Lab, name: str) -> set[str]:
    inspect = ["docker", "image", "inspect", "-f", "{{.Id}}", name]
    return {host.run(inspect).stdout for host in lab.hosts}


def sent(said: str) -> dict[str, float]:
    """Return how many MiB each host was sent."""
    found = re.findall(r"(dask-[a-z]+(?:-[0-9]+)?).*?sending ([0-9.]+) MiB", said)
    return {host: float(size) for host, size in found}


def test_it_is_built_once_and_hosts_are_sent_the_layer_that_they_lack(lab: Lab, fleet: Operator):
    before = containers(lab)
    greets(fleet, "good evening")
    said = fleet.call("up", "--yes").stdout
    assert said.count("building localhost/dask-fleet/sst:") == 1
    name = NAME.search(said)
    assert name is not None
    assert len(ids(lab, name[0])) == 1
    assert set(sent(said)) == {host.name for host in lab.hosts if host.name != "dask-worker-0002"}
    assert max(sent(said).values()) < 1
    assert [greeting(host) for host in lab.workers] == ["good evening"] * 2
    assert set(before.values()).isdisjoint(containers(lab).values())
    assert fleet.compute() == RIGHT
    assert fleet.plan()["empty"]
    again = fleet.call("up", "--yes").stdout
    assert "nothing to do" in again
    assert "building" not in again
    for host in lab.hosts:
        assert host.run(f"find {SPOOL} -type f 2>/dev/null || :").stdout == ""


def of_first_worker(fleet: Operator) -> list[dict]:
    listed = json.loads(fleet.call("image", "ls", "--json").stdout)
    return [image for image in listed["images"] if image["host"] == "dask-worker-0001"]


def test_images_are_listed_and_what_nothing_uses_is_removed(lab: Lab, fleet: Operator):
    fleet.call("image", "prune", "--yes")
    for number in range(3 - len(of_first_worker(fleet))):
        greets(fleet, f"good night, {number}")
        fleet.call("up", "--yes", "--all-at-once")
    listed = json.loads(fleet.call("image", "ls", "--json").stdout)
    mine = of_first_worker(fleet)
    assert len(mine) == 3
    assert [image["name"] for image in mine if image["used"]] == [listed["declared"]]
    assert all(0 <= image["age"] < 3600 for image in mine)
    text = fleet.call("image", "ls").stdout
    assert "dask-scheduler, dask-worker-[0001-0002]" in text
    assert "in use" in text
    refused = fleet.call("image", "prune", status=1)
    assert "no terminal to ask on" in refused.stderr
    fleet.call("image", "prune", "--yes")
    # The newest that is not used stays, for a way back.
    assert [image["name"] for image in of_first_worker(fleet)] == [
        image["name"] for image in mine[:2]
    ]
    left = json.loads(fleet.call("image", "ls", "--json").stdout)["images"]
    assert len(left) == 2 * len(lab.hosts)
    assert "nothing removed" in fleet.call("image", "prune", "--yes").stdout
    assert fleet.compute() == RIGHT


@pytest.mark.parametrize(
    ("dockerfile", "words"),
    [
        (f"FROM {IMAGE}\nRUN echo because of this >&2; exit 7\n", "because of this"),
        (f"FROM {IMAGE}\nCOPY missing /x\n", "missing"),
        ("FROM example.org/nowhere:1\n", "example.org/nowhere"),
    ],
)
def test_a_dockerfile_that_does_not_build_changes_nothing(
    lab: Lab, fleet: Operator, dockerfile: str, words: str
):
    before = containers(lab)
    (fleet.folder / "image" / "Dockerfile").write_text(dockerfile)
    said = fleet.call("up", "--yes", status=6)
    assert "the image cannot be built on the engine of dask-worker-0002" in said.stderr
    assert words in said.stderr.split("remedy")[0]
    assert containers(lab) == before


def foreign() -> bytes:
    """Return an archive of an image for a processor that no host of the lab has."""
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    layer = files.getvalue()
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = json.dumps(
        {
            "architecture": "arm64",
            "os": "linux",
            "created": "1980-01-01T00:00:00Z",
            "config": {},
            "history": [{"created": "1980-01-01T00:00:00Z"}],
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
    ).encode()
    id_ = f"sha256:{hashlib.sha256(config).hexdigest()}"
    head = opening("example.org/arm:1", config, id_, [digest])
    member = member_head(layer_name(digest), len(layer)) + layer + member_tail(len(layer))
    return head + member + END


def test_an_image_for_another_processor_is_refused(lab: Lab, fleet: Operator):
    before = containers(lab)
    lab.workers[1].run("base64 -d | docker load", text=base64.b64encode(foreign()).decode())
    (fleet.folder / "image" / "Dockerfile").write_text("FROM example.org/arm:1\nCOPY greeting /\n")
    said = fleet.call("up", "--yes", status=6)
    for host in lab.hosts:
        words = f"{host.name}: the image is for linux/arm64, and this host runs linux/amd64"
        assert words in said.stderr
    assert containers(lab) == before


def test_a_host_without_room_is_left_as_it_is(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    before = host.run(["docker", "ps", "-q", "--no-trunc"]).stdout
    host.run(f"mkdir -p {SPOOL} && mount -t tmpfs -o size=1m tmpfs {SPOOL}")
    greets(fleet, "no room")
    try:
        said = fleet.call("up", "--yes", status=6)
    finally:
        host.run(["umount", SPOOL])
    assert "dask-worker-0001: there is no room for the image" in said.stderr
    assert re.search(r"\d+ MiB are free of about \d+ needed", said.stderr)
    assert host.run(["docker", "ps", "-q", "--no-trunc"]).stdout == before
    assert greeting(lab.workers[1]) == "no room"
    fleet.call("up", "--yes")
    assert greeting(host) == "no room"
    assert fleet.plan()["empty"]


def test_what_was_cut_off_is_gone_on_with(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    before = host.run(["docker", "ps", "-q", "--no-trunc"]).stdout
    (fleet.folder / "image" / "Dockerfile").write_text(DOCKERFILE + "COPY large /large\n")
    greets(fleet, "cut off")
    (fleet.folder / "image" / "large").write_bytes(os.urandom(160 << 20))
    up = fleet.begin("up", "--yes")
    arrived = f"find {SPOOL} -type f ! -name '*.new' -size +15M 2>/dev/null || :"
    eventually("a piece has arrived", lambda: host.run(arrived).stdout, 120)
    host.run("pkill -KILL -f '^sshd: operator'")
    _, said = up.communicate(timeout=150)
    assert up.returncode == UnreachableHostError.exit_code, said
    assert "dask-worker-0001: the connection was lost" in said
    assert host.run(["docker", "ps", "-q", "--no-trunc"]).stdout == before
    assert greeting(lab.workers[1]) == "cut off"
    pieces = len(host.run(arrived).stdout.split())
    assert pieces >= 1
    again = fleet.call("up", "--yes").stdout
    found = re.search(r"dask-worker-0001: sending .*?, (\d+) of (\d+) pieces", again)
    assert found is not None
    assert int(found[1]) <= int(found[2]) - pieces
    assert greeting(host) == "cut off"
    assert fleet.plan()["empty"]
    assert fleet.compute() == RIGHT


def test_the_operators_own_engine_builds(lab: Lab, fleet: Operator, tmp_path: Path):
    """It is that of a host here, which the operator reaches by its socket."""
    client = tmp_path / "docker"
    client.symlink_to(lab.base / "usr/bin/docker")
    one = replace(
        fleet,
        variables={
            **fleet.variables,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "DOCKER_HOST": f"unix:///proc/{lab.workers[1].pid}/root/run/docker.sock",
        },
    )
    one.write(BUILT.replace(", build_on: dask-worker-0002", ""))
    greets(one, "from here")
    said = one.call("up", "--yes").stdout
    assert "on the operator's engine" in said
    assert [greeting(host) for host in lab.workers] == ["from here"] * 2
    # Without an engine here, an image that hosts have is enough, and one that none has is not.
    bare = replace(fleet, variables={**fleet.variables, "DOCKER_HOST": "unix:///nowhere.sock"})
    assert bare.plan()["empty"]
    greets(one, "from nowhere")
    refused = bare.call("up", "--yes", status=6)
    assert "the operator's engine does not answer" in refused.stderr
    assert "build_on" in refused.stderr
    assert [greeting(host) for host in lab.workers] == ["from here"] * 2
