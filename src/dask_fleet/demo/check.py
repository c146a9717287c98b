"""The checks: by xcube, and by a second computation that shares nothing with the first.

The second one reads the source file with netCDF4, finds the neighbours of each sampled point
with searchsorted on the file's own coordinates, interpolates in float64 in four scalar products,
takes months from cftime's calendar and trends from `numpy.polyfit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TOLERANCE_K", "TOLERANCE_TREND", "check_numpy", "check_xcube"]

TOLERANCE_K = 2e-4
"""Kelvin. float32 resolves 3e-5 K at 300 K, and the file's float32 coordinates are off by 1e-5
degrees, worth 2e-5 K where the field is steepest (2 K per degree); an anomaly has both twice. A
neighbour too far or the wrong month gives 1e-2 K and more."""

TOLERANCE_TREND = 1e-3
"""Kelvin per decade: what an error of `TOLERANCE_K` in 54 months can make of a slope, rounded."""


def check_xcube(cubes: dict[str, Path]) -> dict[str, Any]:
    """Let xcube judge every cube; an empty list of issues is what it should be."""
    from xcube.core.verify import verify_cube

    issues: dict[str, list[str]] = {}
    for name, path in cubes.items():
        with xr.open_zarr(path) as dataset:
            issues[name] = [str(issue) for issue in verify_cube(dataset)]
    return {"passed": not any(issues.values()), "issues": issues}


def check_numpy(data: Path, cubes: dict[str, Path], points: int, seed: int) -> dict[str, Any]:
    """Compare the cubes with an independent computation at random points.

    Half of the points are taken near a coast, where a mistake with land would show.

    Returns
    -------
    dict
        ``passed``, the number of points, and for each quantity the largest difference.
    """
    with xr.open_zarr(cubes["sst"], chunks=None) as sst_cube:
        lat = sst_cube["lat"].to_numpy()
        lon = sst_cube["lon"].to_numpy()
    source = _Independent(data)
    rng = np.random.default_rng(seed)
    rows, columns = _choose(source, lat, lon, points, rng)
    expected = [source.point(lat[j], lon[i]) for j, i in zip(rows, columns, strict=True)]
    want_sst, want_anomaly, want_climatology, want_trend = (
        np.array(part) for part in zip(*expected, strict=True)
    )
    got = {
        name: _read(cubes[cube], name, rows, columns)
        for cube, name in [
            ("sst", "sst"),
            ("sst", "sst_anomaly"),
            ("climatology", "sst_climatology"),
            ("trend", "sst_trend"),
        ]
    }
    land = np.isnan(want_sst[:, 0])
    result: dict[str, Any] = {
        "points": len(rows),
        "land_points": int(land.sum()),
        "values": int(sum(values.size for values in got.values())),
        "seed": seed,
        "land_mask_equal": all(
            bool((np.isnan(values) == land[:, None]).all()) for values in got.values()
        ),
    }
    wanted = {
        "sst": (want_sst, TOLERANCE_K),
        "sst_anomaly": (want_anomaly, TOLERANCE_K),
        "sst_climatology": (want_climatology, TOLERANCE_K),
        "sst_trend": (want_trend[:, None], TOLERANCE_TREND),
    }
    passed = result["land_mask_equal"] and bool((~land).any())
    for name, (want, tolerance) in wanted.items():
        difference = np.abs(got[name][~land] - want[~land])
        largest = float(difference.max()) if difference.size else float("nan")
        result[name] = {"largest_difference": largest, "tolerance": tolerance}
        # "not greater" would let a NaN pass.
        passed = passed and largest <= tolerance
    result["passed"] = bool(passed)
    return result


class _Independent:
    """The source file, read without xarray, and what should come out at one point."""

    def __init__(self, path: Path) -> None:
        import cftime
        import netCDF4

        with netCDF4.Dataset(str(path)) as file:
            self.lat = np.asarray(file["latitude"][:], dtype=np.float64)
            self.lon = np.asarray(file["longitude"][:], dtype=np.float64)
            field = file["surface_temperature"][:]
            time = file["time"]
            dates = cftime.num2date(np.asarray(time[:]), time.units, time.calendar)
            hours = np.asarray(time[:], dtype=np.float64)
        self.field = np.ma.filled(field.astype(np.float64), np.nan)
        self.months = np.array([date.month for date in dates])
        self.years = (hours - hours[0]) / 24 / 365.25

    def neighbours(self, lat: float, lon: float) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Return the four cells around a point and their weights; the globe is round."""
        south = int(np.searchsorted(self.lat, lat)) - 1
        south = min(max(south, 0), self.lat.size - 2)
        up = (lat - self.lat[south]) / (self.lat[south + 1] - self.lat[south])
        east_of = np.append(self.lon, self.lon[0] + 360.0)
        lon = lon % 360.0
        west = min(max(int(np.searchsorted(east_of, lon, side="right")) - 1, 0), self.lon.size - 1)
        along = (lon - east_of[west]) / (east_of[west + 1] - east_of[west])
        east = (west + 1) % self.lon.size
        cells = [(south, west), (south, east), (south + 1, west), (south + 1, east)]
        weights = np.array([(1 - up) * (1 - along), (1 - up) * along, up * (1 - along), up * along])
        return cells, weights

    def ocean_weight(self, lat: float, lon: float) -> float:
        """Return the share of the weight that lies on ocean cells."""
        cells, weights = self.neighbours(lat, lon)
        ocean = np.array([np.isfinite(self.field[0, j, i]) for j, i in cells])
        return float(weights @ ocean)

    def point(self, lat: float, lon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return temperature, anomaly, climatology and trend at a point; NaN on land."""
        cells, weights = self.neighbours(lat, lon)
        series = np.array([self.field[:, j, i] for j, i in cells])
        ocean = np.isfinite(series[:, 0])
        # The same rule for ties as the job's: a half, with a margin for rounding.
        if weights @ ocean < 0.5 - 1e-4:
            nothing = np.full(self.months.size, np.nan)
            return nothing, nothing, np.full(12, np.nan), float("nan")
        kept = weights * ocean
        sst = kept[ocean] @ series[ocean] / kept.sum()
        climatology = np.array([np.mean(sst[self.months == month]) for month in range(1, 13)])
        anomaly = np.array(
            [value - climatology[month - 1] for value, month in zip(sst, self.months, strict=True)]
        )
        return sst, anomaly, climatology, 10 * float(np.polyfit(self.years, anomaly, 1)[0])


def _choose(
    source: _Independent, lat: np.ndarray, lon: np.ndarray, points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose points at random: half anywhere, half where ocean and land meet.

    Longitudes are drawn from a few stretches only, with the antimeridian and Greenwich always
    among them, so that the check reads some chunks of the cube and not all of them.
    """
    stretch = max(1, lon.size // 96)
    starts = [0, lon.size - stretch, lon.size // 2 - stretch // 2]
    starts += rng.integers(0, lon.size - stretch, size=9).tolist()
    rows: list[int] = []
    columns: list[int] = []
    for attempt in range(points * 200):
        if len(rows) == points:
            break
        j = int(rng.integers(lat.size))
        i = int(rng.choice(starts)) + int(rng.integers(stretch))
        coast = 0 < source.ocean_weight(lat[j], lon[i]) < 1
        # Coasts are rare: after enough attempts any point will do.
        if len(rows) % 2 == 0 or coast or attempt > points * 100:
            rows.append(j)
            columns.append(i)
    return np.array(rows), np.array(columns)


def _read(path: Path, name: str, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read all times of the points with zarr alone, as (point, time), chunk by chunk."""
    import zarr

    group = zarr.open_group(str(path), mode="r")
    array: Any = group[name]
    width = array.chunks[2]
    result = np.empty((rows.size, array.shape[0]), dtype=np.float64)
    for chunk in np.unique(columns // width):
        inside = columns // width == chunk
        block = np.asarray(array[:, :, chunk * width : (chunk + 1) * width])
        result[inside] = block[:, rows[inside], columns[inside] - chunk * width].T
    return result
