"""A locked environment that is put into an image: the same each time, small, and never root's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Host, Lab

from dask_fleet.assembly import declare
from dask_fleet.environment import built_in_lock
from dask_fleet.wheels.platforms import read_lock
from tests.containers.conftest import THREE
from tests.vms.layers import BASE, CACHE, IMAGE, NEEDED
from tests.vms.operator import WORKERS, Operator, right
from tests.vms.wheels import PLATFORM

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

BAKED = THREE.replace(
    f'{{image: "{IMAGE}"}}', f'{{lock: small.lock, base: "{BASE}", build_on: dask-worker-0002}}'
)
UNIT = "dask-fleet.sst.dask-workers-default"
PAGES = "bokeh contourpy narwhals pandas python-dateutil pytz six tzdata xyzservices"
"""What the pages of dashboards need, and nothing that computes."""


def small_lock() -> str:
    """Return a part of xcube's lock, whose wheels are here."""
    xcube = declare(None, {}).environment.digest
    gathered = CACHE / "cache" / "dask-fleet" / "wheels"
    (wheels,) = gathered.glob(f"{xcube}-{PLATFORM}-*/wheels")
    pins = read_lock(built_in_lock("xcube").read_text(encoding="utf-8"), PLATFORM).pins
    names = {*NEEDED.split()} - {*PAGES.split()}
    chosen = [str(pin) for pin in pins if pin.name in names]
    return "\n".join((f"--find-links {wheels}", *chosen)) + "\n"


RIGHT = right(WORKERS[:2])


@pytest.fixture(scope="module")
def baked(operator: Operator) -> Iterator[Operator]:
    """A fleet whose environment one of its hosts has put on a base; the others were sent it."""
    (operator.folder / "small.lock").write_text(small_lock())
    operator.write(BAKED)
    before, operator.variables = operator.variables, {**operator.variables, "PIP_NO_INDEX": "1"}
    said = operator.call("up", "--yes", "--all-at-once", timeout=600).stdout
    assert said.count("building localhost/dask-fleet/sst:") == 1
    yield operator
    operator.variables = before
    operator.write(THREE)


@pytest.fixture
def fleet(baked: Operator) -> Operator:
    """The fleet, declared as it is."""
    baked.write(BAKED)
    return baked


def inspect(host: Host, name: str) -> dict:
    (found,) = json.loads(host.run(["docker", "image", "inspect", name]).stdout)
    return found


def layers(host: Host, name: str) -> list[str]:
    return inspect(host, name)["RootFS"]["Layers"]


def image(host: Host) -> str:
    return host.run(["docker", "inspect", "-f", "{{.Config.Image}}", UNIT]).stdout.strip()


def test_an_environment_is_put_on_a_base_and_runs_on_all_hosts(lab: Lab, fleet: Operator):
    assert fleet.compute() == RIGHT
    assert fleet.plan()["empty"]
    name = image(lab.workers[0])
    found = [inspect(host, name) for host in lab.hosts]
    assert len({one["Id"] for one in found}) == 1
    labels = found[0]["Config"]["Labels"]
    assert labels["dask-fleet.base"] == BASE
    assert labels["dask-fleet.python"].startswith("3.11.")
    inside = ["docker", "exec", UNIT, "python", "-c"]
    versions = "import dask, distributed; print(dask.__version__, distributed.__version__)"
    assert lab.workers[1].run([*inside, versions]).stdout.split() == [
        labels["dask-fleet.dask"],
        labels["dask-fleet.distributed"],
    ]
    assert found[0]["Config"]["User"] == "8786:8786"
    # One layer above the base, without wheels, and nothing is left of how it was made.
    assert layers(lab.workers[0], name)[:-1] == layers(lab.workers[0], BASE)
    listing = "import os; print(os.listdir('/opt'))"
    assert lab.workers[1].run([*inside, listing]).stdout == "['environment']\n"
    dangling = ["docker", "image", "ls", "-q", "--filter", "dangling=true"]
    assert [host.run(dangling).stdout for host in lab.hosts] == [""] * 3
    # Bytecode is there and taken as it is, whatever times files bear.
    cached = "import dask.core as a; print(a.__cached__, open(a.__cached__, 'rb').read(8)[4])"
    path, flags = lab.workers[1].run([*inside, cached]).stdout.split()
    assert path.startswith("/opt/environment/")
    assert flags == "1"


def test_another_engine_makes_the_same_image(lab: Lab, fleet: Operator):
    there = inspect(lab.workers[0], image(lab.workers[0]))
    fleet.write(BAKED.replace("build_on: dask-worker-0002", "build_on: dask-worker-0001"))
    assert fleet.plan()["empty"]
    said = json.loads(fleet.call("image", "build", "--anew", "--json", timeout=600).stdout)
    assert said["engine"] == "the engine of dask-worker-0001"
    assert said["id"] == there["Id"]
    assert said["layers"] == there["RootFS"]["Layers"]


def test_what_is_written_for_others_builds_by_hand(lab: Lab, fleet: Operator, tmp_path: Path):
    folder = tmp_path / "bakery"
    fleet.call("image", "build", "--write", str(folder), timeout=120)
    assert {path.name for path in folder.iterdir()} == {"Dockerfile", "environment.tar"}
    text = (folder / "Dockerfile").read_text()
    assert f"FROM {BASE} AS made" in text
    assert fleet.call("image", "build", "--write", str(folder), status=1).stderr.count("already")


def test_a_base_that_is_nowhere_changes_nothing(lab: Lab, fleet: Operator):
    fleet.write(BAKED.replace(BASE, "example.org/nowhere:1"))
    said = fleet.call("up", "--yes", status=6)
    assert "the base image example.org/nowhere:1 is not on the engine of dask-worker" in said.stderr
    assert "docker load" in said.stderr
    fleet.write(BAKED)
    assert fleet.plan()["empty"]
    assert fleet.compute() == RIGHT
