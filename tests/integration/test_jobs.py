"""A real job on a real fleet: the demo cube. `test_xcube.py` has xcube's own command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.conftest import Desk, fleet_text, free_ports, in_the_fleet, make_desk

JOB = Path(__file__).parents[2] / "src" / "dask_fleet" / "demo" / "job.py"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Desk]:
    """A desk with a fleet of four workers that is up for all tests here."""
    with make_desk() as desk:
        desk.declare(fleet_text("jobs", free_ports(60), workers=4))
        desk.call("up", "--yes")
        yield desk


@pytest.fixture(scope="module")
def made(fleet: Desk) -> dict[str, Any]:
    """What the demo said when it had made a cube, which lies in the folder ``demo``."""
    output = fleet.directory / "demo"
    return fleet.call("demo", "--json", "--factor", "3", "--output", str(output)).json


def test_the_demo_makes_a_cube_that_others_find_right(fleet: Desk, made: dict[str, Any]) -> None:
    assert made["checks"]["xcube"]["passed"]
    assert made["checks"]["numpy"]["passed"]
    assert set(made["tasks_per_worker"]) == set(fleet.rows()) - {"dask-scheduler"}
    assert all(count > 0 for count in made["tasks_per_worker"].values())

    # Once more and from outside: xcube on its own, and means by plain numpy.
    found = json.loads(
        in_the_fleet(
            fleet,
            """
            import json, sys, netCDF4, numpy, xarray
            from xcube.core.verify import verify_cube
            folder, source = sys.argv[1:]
            problems = {}
            for name in ("sst", "climatology", "trend"):
                problems[name] = verify_cube(xarray.open_zarr(f"{folder}/{name}.zarr"))
            cube = xarray.open_zarr(f"{folder}/sst.zarr")
            first = next(iter(cube.data_vars))
            with netCDF4.Dataset(source) as file:
                raw = next(v for v in file.variables.values() if v.ndim == 3)[:]
            fine = cube[first].mean().compute().item()
            print(json.dumps({
                "problems": problems,
                "times": cube.sizes["time"],
                "mean": fine,
                "raw": float(numpy.ma.mean(raw)),
                "spread": float(cube[first].std().compute()),
            }))
            """,
            str(fleet.directory / "demo"),
            made["input"]["path"],
        )
    )
    assert found["problems"] == {"sst": [], "climatology": [], "trend": []}
    assert found["times"] == 54
    assert found["mean"] == pytest.approx(found["raw"], abs=0.3)
    assert found["spread"] > 0.5

    with Image.open(made["picture"]) as picture:
        assert picture.width >= 1200
        colours = picture.convert("RGB").resize((200, 150)).getcolors(maxcolors=100_000)
    assert colours is not None
    assert len(colours) > 200, "the picture is almost empty"


def test_the_demo_can_be_run_again_and_says_what_to_look_at(
    fleet: Desk, made: dict[str, Any]
) -> None:
    output = fleet.directory / "again"
    shutil.copytree(Path(made["picture"]).parent, output)
    done = fleet.call("demo", "--factor", "2", "--output", str(output))
    for word in ("input", "output", "chunks", "seconds", "MB/s", "tasks", "verified"):
        assert word in done.out
    assert str(output / "map.png") in done.out
    assert "dask fleet down" in done.out
    assert (output / "sst.zarr").is_dir()
    assert fleet.all_running()


def test_the_same_cube_comes_out_whoever_writes_it(fleet: Desk, made: dict[str, Any]) -> None:
    theirs, ours = fleet.directory / "demo", fleet.directory / "by-client"
    python = fleet.call("env", "--python").out.strip()
    words = ["--data", made["input"]["path"], "--output", str(ours), "--factor", "3"]
    address = fleet.call("env", "--address").out.strip()
    done = subprocess.run(
        [python, str(JOB), "--scheduler", address, "--write-here", *words],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, events[-1]
    result = events[-1]
    assert (made["written_by"], result["written_by"]) == ("workers", "client")
    assert all(check["passed"] for check in result["checks"].values())
    assert all(count > 0 for count in result["tasks_per_worker"].values())
    chunks = [event for event in events if event["event"] == "progress"]
    assert chunks[-1]["done"] == chunks[-1]["total"] > 0
    said = in_the_fleet(
        fleet,
        """
        import sys, xarray
        one, two = sys.argv[1:]
        for name in ("sst", "climatology", "trend"):
            a, b = (xarray.open_zarr(f"{folder}/{name}.zarr") for folder in (one, two))
            xarray.testing.assert_identical(a.load(), b.load())
            for variable in a.variables:
                assert a[variable].encoding["chunks"] == b[variable].encoding["chunks"]
            print(name)
        """,
        str(theirs),
        str(ours),
    )
    assert said.split() == ["sst", "climatology", "trend"]


def test_a_shared_directory_gets_the_cube_and_the_output_gets_the_picture(fleet: Desk) -> None:
    shared, output = fleet.directory / "shared", fleet.directory / "brought"
    shared.mkdir()
    words = ("--factor", "2", "--output", str(output), "--shared", str(shared))
    result = fleet.call("demo", "--json", *words).json
    assert result["written_by"] == "workers"
    assert result["output"]["path"] == str(shared / "demo-jobs")
    assert {path.name for path in shared.iterdir()} == {"demo-jobs"}
    assert {path.name for path in output.iterdir()} == {"map.png", "result.json"}
    assert json.loads((output / "result.json").read_text()) == result

    (output / "thesis.txt").write_text("mine")
    refused = fleet.call("demo", *words, status=10)
    assert "thesis.txt" in refused.err
    wrong = fleet.call("demo", "--shared", "relative", status=64)
    assert "not an absolute path" in wrong.err


def test_a_demo_that_fails_says_why_and_leaves_the_fleet_up(fleet: Desk) -> None:
    foreign = fleet.directory / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    done = fleet.call("demo", "--factor", "3", "--output", str(foreign), status=10)
    assert str(foreign) in done.err
    assert "remedy" in done.err
    assert (foreign / "thesis.txt").read_text() == "mine"
    assert fleet.all_running()


@pytest.fixture
def without_network() -> list[str]:
    """Return what to put before a command so that it has loopback and no other network."""
    unshare = shutil.which("unshare")
    assert unshare, "install util-linux"
    # Without root, a user namespace of our own gives the right to make a network namespace.
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return [unshare, *user, "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def test_the_demo_works_without_a_network_once_installed(
    made: dict[str, Any], desk: Desk, without_network: list[str]
) -> None:
    assert Path(made["input"]["path"]).is_file()  # what a demo fetches is here
    # The same machine, cut off: nothing is configured, so it is the default fleet.
    script = (
        '"$0" "$@" demo --factor 2 --output out && "$0" "$@" status --json && "$0" "$@" down -y'
    )
    done = subprocess.run(
        [*without_network, "sh", "-c", script, *desk.argv],
        cwd=desk.directory,
        env=desk.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "by xcube, by numpy" in done.stdout
    status = json.loads(done.stdout[done.stdout.index("{\n") : done.stdout.rindex("\n}\n") + 3])
    ports = [list(row["ports"].values()) for row in status["processes"]]
    assert ports == [[8786, 8787]] + [[p, p + 1, p + 2] for p in (9010, 9020, 9030, 9040)]
    assert {row["state"] for row in status["processes"]} == {"running"}
    assert desk.processes() == []
