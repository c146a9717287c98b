"""The demo on booted hosts: the real job on four worker hosts, with and without a shared folder."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lab import Host, Lab
from PIL import Image

from tests.vms.operator import FLEET, WORKERS, Operator, eventually
from tests.vms.reset import bring_up
from tests.vms.wheels import DATA

SHARED = "/srv/shared"
STATE = "/var/lib/dask-fleet/fleets/sst"
AWAY = f"{STATE}/work/demo"


@pytest.fixture
def demo(lab: Lab, fleet: Operator) -> Operator:
    """A fleet that is up, whose operator has fetched the demo's data at some time."""
    data = DATA / "demo-data"
    assert data.is_dir(), "make test-vms fetches the demo's data"
    place = Path(fleet.variables["XDG_DATA_HOME"]) / "dask-fleet" / "demo-data"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(data)
    for host in lab.hosts:
        host.run(f"chown dask-fleet: {SHARED}")
    return fleet


def run(operator: Operator, *words: str) -> dict[str, Any]:
    done = operator.call("demo", "--json", "--factor", "3", *words, timeout=240)
    return json.loads(done.stdout)


def holds_what_it_says(
    operator: Operator,
    result: dict[str, Any],
    output: Path,
    workers: Sequence[str] = WORKERS,
) -> None:
    assert result["checks"]["xcube"] == {
        "passed": True,
        "issues": {"sst": [], "climatology": [], "trend": []},
    }
    assert result["checks"]["numpy"]["passed"]
    assert set(result["tasks_per_worker"]) == set(workers)
    assert all(count > 0 for count in result["tasks_per_worker"].values())
    assert {path.name for path in output.iterdir()} == {"map.png", "result.json"}
    assert json.loads((output / "result.json").read_text()) == result
    assert result["picture"] == str(output / "map.png")
    with Image.open(output / "map.png") as picture:
        assert picture.width >= 1200
        colours = picture.convert("RGB").resize((200, 150)).getcolors(maxcolors=100_000)
    assert colours is not None
    assert len(colours) > 200, "the picture is almost empty"
    # No file of the demo changes what is declared.
    plan = operator.plan()
    assert plan["empty"], plan


def means(host: Host, cube: str, data: str) -> dict[str, float]:
    """Return means of the cube and of its source by plain numpy, on a host."""
    code = """
import json, sys, netCDF4, numpy, zarr
cube, source = sys.argv[1:]
group = zarr.open_group(f"{cube}/sst.zarr", mode="r")
with netCDF4.Dataset(source) as file:
    raw = next(v for v in file.variables.values() if v.ndim == 3)[:]
sst, anomaly = group["sst"][:], group["sst_anomaly"][:]
print(json.dumps({"times": sst.shape[0], "mean": float(numpy.nanmean(sst)),
    "spread": float(numpy.nanstd(sst)), "raw": float(numpy.ma.mean(raw)),
    "anomaly": float(numpy.nanmean(anomaly))}))
"""
    python = host.run("ls -d /var/lib/dask-fleet/environments/*/bin/python").stdout.split()[0]
    there = "/tmp/source.nc"
    host.run(f"base64 -d >{there}", text=_base64(data))
    try:
        said = host.run([python, "-c", code, cube, there]).stdout
    finally:
        host.run(["rm", there])
    return json.loads(said)


def _base64(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


def is_right(found: dict[str, float]) -> None:
    assert found["times"] == 54
    assert found["mean"] == pytest.approx(found["raw"], abs=0.3)
    assert found["spread"] > 0.5
    assert found["anomaly"] == pytest.approx(0, abs=1e-3)


def leftovers(lab: Lab) -> dict[str, list[str]]:
    """Return whatever of a demo is on hosts, shared or not, and its processes."""
    names = "-name '*demo*' -o -name '.seen-by*'"
    inside = f"! -path '{SHARED}/demo-sst/.dask*'"
    places = f"{STATE} {SHARED} /tmp /srv/alike"
    find = f"find {places} -maxdepth 2 \\( {names} \\) {inside} 2>/dev/null || true"
    running = "pgrep -af '[d]emo-[0-9a-f]*/job.py' || true"
    return {host.name: sorted(host.run(f"{find}; {running}").stdout.split()) for host in lab.hosts}


def clear(lab: Lab) -> None:
    for host in lab.hosts:
        host.run(f"rm -rf {AWAY} {SHARED}/demo-sst /srv/alike")


def test_without_a_shared_disk_results_come_back_to_the_job(
    lab: Lab, demo: Operator, tmp_path: Path
):
    clear(lab)
    output = tmp_path / "out"
    said = demo.call("demo", "--factor", "3", "--output", str(output), timeout=240).stdout
    result = json.loads((output / "result.json").read_text())
    assert result["written_by"] == "client"
    assert result["shared"] is None
    assert (result["host"], result["output"]["path"]) == ("dask-scheduler", AWAY)
    holds_what_it_says(demo, result, output)
    is_right(means(lab.scheduler, AWAY, result["input"]["path"]))
    owner = lab.scheduler.run(["stat", "-c", "%U", f"{AWAY}/sst.zarr"]).stdout.strip()
    assert owner == "dask-fleet"
    # The cube is where the result says, and nothing else of the demo is anywhere.
    left = leftovers(lab)
    assert left.pop("dask-scheduler") == [AWAY]
    assert not any(left.values())
    # A person reads which way it went.
    assert "by the job on dask-scheduler: workers share no disk" in said
    assert f"{AWAY} on dask-scheduler" in said
    for name in WORKERS:
        assert name in said


def test_with_a_shared_directory_workers_write_the_cube_there(
    lab: Lab, demo: Operator, tmp_path: Path
):
    clear(lab)
    output = tmp_path / "out"
    result = run(demo, "--output", str(output), "--shared", SHARED)
    assert (result["written_by"], result["shared"]) == ("workers", SHARED)
    cube = f"{SHARED}/demo-sst"
    assert result["output"]["path"] == cube
    holds_what_it_says(demo, result, output)
    is_right(means(lab.workers[2], cube, result["input"]["path"]))
    assert set(map(tuple, leftovers(lab).values())) == {(cube,)}
    lab.scheduler.run(["rm", "-rf", cube])


def test_a_directory_that_is_not_shared_is_refused_by_the_name_of_the_host(
    lab: Lab, demo: Operator, tmp_path: Path
):
    clear(lab)
    other, without = lab.workers[2], lab.workers[3]
    for host in lab.hosts:
        host.run(f"ln -s {SHARED} /srv/alike")
    other.run("rm /srv/alike; mkdir /srv/alike; chown dask-fleet: /srv/alike")
    without.run("rm /srv/alike")
    words = ("demo", "--factor", "2", "--output", str(tmp_path / "out"), "--shared")
    try:
        said = demo.call(*words, "/srv/alike", status=10, timeout=240).stderr
        assert f"{other.name}: its /srv/alike is not the same directory" in said
        assert f"{without.name}: there is no directory /srv/alike" in said
        assert lab.workers[0].name not in said
        assert "mount one directory" in said
        # What is the same for all, but not for their user.
        lab.scheduler.run(f"chown root: {SHARED}")
        said = demo.call(*words, SHARED, status=10, timeout=240).stderr
        assert f"cannot write beside {SHARED}" in said
        assert "Permission denied" in said
        said = demo.call(*words, "/srv/none", status=10, timeout=240).stderr
        assert "there is no directory /srv/none" in said
    finally:
        for host in lab.hosts:
            host.run("rm -rf /srv/alike")
    assert not any(leftovers(lab).values())


def test_an_interrupt_ends_the_job_on_its_host(lab: Lab, demo: Operator, tmp_path: Path):
    clear(lab)
    process = demo.begin("demo", "--factor", "20", "--output", str(tmp_path / "out"))
    try:
        assert process.stdout is not None
        stages = (line for line in process.stdout if "Resampling" in line)
        assert next(stages, None), "it never computed"
        assert any("job.py" in word for word in leftovers(lab)["dask-scheduler"])
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not any(leftovers(lab).values())
    eventually(
        "the workers forget what nobody waits for",
        lambda: not any(row["executing"] or row["ready"] for row in demo.rows().values()),
        60,
    )


def test_the_job_finds_its_certificates(lab: Lab, demo: Operator, tmp_path: Path):
    clear(lab)
    bring_up(demo, FLEET + "tls: true\n")
    output = tmp_path / "out"
    result = run(demo, "--output", str(output))
    holds_what_it_says(demo, result, output)
    assert demo.call("env", "--address").stdout.strip() == "tls://10.77.0.11:8786"
    left = leftovers(lab)
    assert left.pop("dask-scheduler") == [AWAY]
    assert not any(left.values())
