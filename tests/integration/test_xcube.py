"""xcube's own command line on a real fleet, on daily OSTIA fields."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.integration.conftest import (
    Desk,
    fleet_text,
    free_ports,
    in_the_fleet,
    make_desk,
)

OSTIA = REPOSITORY.parent / "shared" / "data" / "ostia"
GEN = Path(__file__).with_name("xcube_gen.yaml")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Desk]:
    """A desk with a fleet of four workers that is up for all tests here."""
    with make_desk() as desk:
        desk.declare(fleet_text("xcube", free_ports(60), workers=4))
        desk.call("up", "--yes")
        yield desk


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
