"""Real jobs on a real fleet: the demo cube, and xcube's own command line on daily OSTIA fields."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.conftest import OSTIA, Desk, fleet_text, free_ports, make_desk

GEN = Path(__file__).with_name("xcube_gen.yaml")
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


def in_the_fleet(desk: Desk, code: str, *words: str, timeout: float = 300) -> str:
    """Run Python code with the fleet's interpreter and return what it prints."""
    python = desk.call("env", "--python").out.strip()
    done = subprocess.run(
        [python, "-c", textwrap.dedent(code), *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=desk.directory,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


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


def test_the_demo_can_be_run_again_and_says_what_to_look_at(fleet: Desk) -> None:
    output = fleet.directory / "again"
    for _ in range(2):
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


@dataclass(frozen=True)
class Xcube:
    """xcube's own command line in the fleet's environment, and a cube that it made there."""

    program: Path
    address: str
    cube: Path
    seconds: float = 280

    def __call__(self, *words: str, fleet: bool = False) -> str:
        where = ["--scheduler", self.address] if fleet else []
        done = subprocess.run(
            [str(self.program), *where, *words],
            capture_output=True,
            text=True,
            timeout=self.seconds,
            check=False,
            cwd=self.cube.parent,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr


def daily_files() -> list[str]:
    paths = sorted(str(path) for path in OSTIA.glob("*.nc"))
    assert len(paths) == 3, f"the daily OSTIA files are not in {OSTIA}"
    return paths


@pytest.fixture(scope="module")
def xcube(fleet: Desk) -> Xcube:
    """xcube, having run ``gen`` on the fleet, which is checked to have had a part in it."""
    program = Path(fleet.call("env", "--python").out.strip()).with_name("xcube")
    address = fleet.call("env", "--address").out.strip()
    tool = Xcube(program, address, fleet.directory / "with.zarr")
    count = """
        import sys, distributed
        with distributed.Client(sys.argv[1]) as client:
            done = client.run(lambda dask_worker: dask_worker.state.executed_count)
        print(sum(done.values()))
        """
    before = int(in_the_fleet(fleet, count, address))
    tool("gen", "-c", str(GEN), "-o", str(tool.cube), *daily_files(), fleet=True)
    assert int(in_the_fleet(fleet, count, address)) - before > 50
    return tool


def test_xcube_gen_gives_the_same_numbers_on_the_fleet_and_without(
    fleet: Desk, xcube: Xcube
) -> None:
    without = fleet.directory / "without.zarr"
    xcube("gen", "-c", str(GEN), "-o", str(without), *daily_files())
    said = in_the_fleet(
        fleet,
        """
        import sys, numpy, xarray
        one, two, *sources = sys.argv[1:]
        cubes = [xarray.open_zarr(path).load() for path in (one, two)]
        for cube in cubes:
            for name in ("date_modified", "history"):
                cube.attrs.pop(name, None)
        xarray.testing.assert_identical(*cubes)
        # Two wrong cubes could be alike: hold them against the source files too.
        finite = 0
        for name in ("analysed_sst", "sst_anomaly"):
            for day, source in enumerate(sources):
                raw = xarray.open_dataset(source)[name].isel(time=0)
                ours = cubes[0][name].isel(time=day)
                theirs = raw.sel(lat=ours.lat, lon=ours.lon, method="nearest")
                numpy.testing.assert_array_equal(ours.values, theirs.values)
                finite += int(numpy.isfinite(ours.values).sum())
        print(finite)
        """,
        str(xcube.cube),
        str(without),
        *daily_files(),
    )
    assert int(said) > 500_000


def test_xcube_verify_resample_and_level_work_in_the_locked_environment(
    fleet: Desk, xcube: Xcube
) -> None:
    resampled, levels = fleet.directory / "resampled.zarr", fleet.directory / "cube.levels"
    cube = str(xcube.cube)
    assert "valid" in xcube("verify", cube)
    xcube("resample", cube, "-o", str(resampled), "--frequency", "2D", "-M", "mean", fleet=True)
    # `level` takes an absolute path for a relative one.
    xcube("level", xcube.cube.name, "-o", levels.name, "-t", "160,90", fleet=True)
    assert "valid" in xcube("verify", str(resampled))
    said = in_the_fleet(
        fleet,
        """
        import sys, numpy, xarray
        cube, resampled, levels = sys.argv[1:]
        sst = xarray.open_zarr(cube).analysed_sst.values
        means = xarray.open_zarr(resampled).analysed_sst_mean.values
        for mean, days in zip(means, (sst[0:2], sst[2:3]), strict=True):
            numpy.testing.assert_allclose(mean, days.mean(axis=0), atol=1e-3)
        for level in range(2):
            coarse = xarray.open_zarr(f"{levels}/{level}.zarr").analysed_sst.values
            numpy.testing.assert_array_equal(coarse, sst[:, :: 2**level, :: 2**level])
            print(coarse.shape)
        """,
        cube,
        str(resampled),
        str(levels),
    )
    assert said.split("\n")[:2] == ["(3, 360, 640)", "(3, 180, 320)"]


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
