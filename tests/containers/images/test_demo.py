"""The demo on containers: the real job in the scheduler's container, on two worker hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Host, Lab

from tests.containers.conftest import THREE
from tests.vms.fleet.test_demo import holds_what_it_says, run
from tests.vms.layers import IMAGE, XCUBE
from tests.vms.operator import WORKERS, Operator, eventually
from tests.vms.wheels import DATA

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

WITH_XCUBE = THREE.replace(IMAGE, XCUBE).replace(
    "containers: {nofile: 16384}", 'containers: {volumes: ["/data:/data:ro"], nofile: 16384}'
)
WORK = "/var/lib/dask-fleet/fleets/sst/work"
OSTIA = Path(__file__).parents[4] / "shared" / "data" / "ostia"
SCHEDULER = "dask-fleet.sst.dask-scheduler"
LEFT = f"find {WORK} -maxdepth 1 -name 'demo*'; pgrep -af '[d]emo-[0-9a-f]*/job.py' || true"

MEANS = """\
import json, sys, netCDF4, numpy, zarr
cube, source = sys.argv[1:]
group = zarr.open_group(f"{cube}/sst.zarr", mode="r")
with netCDF4.Dataset(source) as file:
    raw = next(v for v in file.variables.values() if v.ndim == 3)[:]
sst = group["sst"][:]
print(json.dumps([float(numpy.nanmean(sst)), float(numpy.ma.mean(raw)), sst.shape[0]]))
"""

# Each worker opens the files that a volume of its own host gives it.
DAILY = """\
import glob, json
from distributed import Client, get_worker

def mean(path):
    import netCDF4
    with netCDF4.Dataset(path) as file:
        return get_worker().name, float(file["analysed_sst"][:].mean())

with Client("tcp://10.77.0.11:8786", timeout=30) as client:
    paths = sorted(glob.glob("/data/ostia/*.nc"))
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    found = [client.submit(mean, p, workers=[w], pure=False) for w in workers for p in paths]
    print(json.dumps(client.gather(found)))
"""


@pytest.fixture(scope="module")
def demo(lab: Lab, operator: Operator) -> Operator:
    """A fleet that is up, whose operator has fetched the demo's data at some time."""
    assert (DATA / "demo-data").is_dir(), "make test-containers fetches the demo's data"
    place = Path(operator.variables["XDG_DATA_HOME"]) / "dask-fleet" / "demo-data"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(DATA / "demo-data")
    lab.each(lambda host: host.run("mkdir -p /data"))
    operator.write(WITH_XCUBE)
    operator.call("up", "--yes", "--all-at-once")
    return operator


@pytest.fixture(autouse=True)
def without_cube(lab: Lab) -> Iterator[None]:
    """After each test the cube is gone."""
    yield
    lab.scheduler.run(["rm", "-rf", f"{WORK}/demo"])


def left(lab: Lab) -> list[str]:
    return lab.scheduler.run(LEFT).stdout.split("\n")


def test_the_cube_is_right_and_all_workers_made_it(lab: Lab, demo: Operator, tmp_path: Path):
    output = tmp_path / "out"
    result = run(demo, "--output", str(output))
    assert result["written_by"] == "client"
    assert (result["host"], result["output"]["path"]) == ("dask-scheduler", f"{WORK}/demo")
    holds_what_it_says(demo, result, output, WORKERS[:2])
    source = f"{WORK}/source.nc"
    argv = lab.scheduler.command(["sh", "-c", f"cat >{source}"])
    subprocess.run(argv, input=Path(result["input"]["path"]).read_bytes(), check=True, timeout=60)
    argv = ["docker", "exec", SCHEDULER, "python", "-c", MEANS, f"{WORK}/demo", source]
    mean, raw, times = json.loads(lab.scheduler.run(argv, timeout=60).stdout)
    lab.scheduler.run(["rm", source])
    assert times == 54
    assert mean == pytest.approx(raw, abs=0.3)
    owner = lab.scheduler.run(["stat", "-c", "%u:%g", f"{WORK}/demo/sst.zarr"]).stdout.strip()
    assert owner == "8786:8786"
    # The cube is where the result says, and nothing else of the demo is anywhere.
    assert left(lab) == [f"{WORK}/demo", ""]


def test_an_interrupt_ends_the_job_in_its_container(lab: Lab, demo: Operator, tmp_path: Path):
    process = demo.begin("demo", "--factor", "20", "--output", str(tmp_path / "out"))
    try:
        assert process.stdout is not None
        assert next((line for line in process.stdout if "Resampling" in line), None)
        assert any("job.py" in word for word in left(lab))
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert left(lab) == [""]
    eventually(
        "the workers forget what nobody waits for",
        lambda: not any(row["executing"] or row["ready"] for row in demo.rows().values()),
        60,
    )


def test_workers_read_daily_fields_from_a_volume(lab: Lab, demo: Operator):
    files = sorted(OSTIA.glob("*.nc"))
    assert files, OSTIA

    def give(host: Host) -> None:
        packed = subprocess.run(
            ["tar", "-C", str(OSTIA.parent), "-cf", "-", "ostia"], capture_output=True, check=True
        )
        argv = host.command(["sh", "-euc", "tar -C /data --no-same-owner -xf -"])
        subprocess.run(argv, input=packed.stdout, check=True, timeout=60)

    lab.each(give)
    argv = ["docker", "exec", SCHEDULER, "python", "-c", DAILY]
    found = json.loads(lab.scheduler.run(argv, timeout=120).stdout)
    assert len(found) == 2 * len(files)
    assert {name for name, _ in found} == set(WORKERS[:2])
    # Sea surface temperature in kelvin, the same from each worker's own host.
    days = {round(mean, 6) for _, mean in found}
    assert len(days) == len(files)
    assert all(270 < mean < 305 for mean in days)
