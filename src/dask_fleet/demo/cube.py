"""The cube: what is read, on which grid it is put, and how it is described and stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask.array as da
import numpy as np
import xarray as xr
from blocks import ByValue, anomaly_block, climatology_block, resample_block, trend_block

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BLOCKS", "Grid", "Source", "build", "encoding", "fine_grid", "read_source"]

BLOCKS = 48
"""Number of blocks along longitude. Enough for four workers to end at about the same time."""

MONTHS_PER_CHUNK = 18
"""Time steps in one stored chunk: a map or a time series of a point reads few bytes."""


@dataclass(frozen=True)
class Source:
    """The monthly fields as they stand in the file.

    Attributes
    ----------
    sst
        Temperature in kelvin, dimensions time, latitude and longitude; NaN on land.
    time_bounds
        Begin and end of each month.
    """

    path: Path
    sst: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    time: np.ndarray
    time_bounds: np.ndarray


@dataclass(frozen=True)
class Grid:
    """The finer grid, as coordinates and as positions in the source's rows and columns."""

    lat: np.ndarray
    lon: np.ndarray
    lat_bounds: np.ndarray
    lon_bounds: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def read_source(path: Path) -> Source:
    """Read the OSTIA monthly fields.

    They are small (1.7 MB), so the client reads them and the workers get them with the graph:
    the file need not exist on every host.
    """
    with xr.open_dataset(path, decode_timedelta=False) as dataset:
        sst = dataset["surface_temperature"].transpose("time", "latitude", "longitude")
        source = Source(
            path=path,
            sst=sst.to_numpy().astype(np.float32),
            lat=dataset["latitude"].to_numpy().astype(np.float64),
            lon=dataset["longitude"].to_numpy().astype(np.float64),
            time=dataset["time"].to_numpy().astype("datetime64[ns]"),
            time_bounds=dataset["time_bnds"].to_numpy().astype("datetime64[ns]"),
        )
    land = np.isnan(source.sst)
    if not (land == land[0]).all():
        raise ValueError("the land mask changes from month to month")
    if len(set(_month_of(source.time).tolist())) != 12:
        raise ValueError("not every month of the year is there")
    return source


def fine_grid(source: Source, factor: int) -> Grid:
    """Divide every cell between the centres of four source cells into ``factor`` squared.

    The grid ends at the outermost centres in latitude, so that nothing is extrapolated, and
    goes round the globe from -180 to 180 degrees, which is what xcube asks for.
    """
    height, width = (source.lat.size - 1) * factor, source.lon.size * factor
    south, north = source.lat[0], source.lat[-1]
    lat_edges = np.linspace(north, south, height + 1)
    lon_edges = np.linspace(-180.0, 180.0, width + 1)
    lat = (lat_edges[:-1] + lat_edges[1:]) / 2
    lon = (lon_edges[:-1] + lon_edges[1:]) / 2
    return Grid(
        lat=lat,
        lon=lon,
        lat_bounds=np.stack([lat_edges[:-1], lat_edges[1:]], axis=1),
        lon_bounds=np.stack([lon_edges[:-1], lon_edges[1:]], axis=1),
        rows=(lat - south) / (north - south) * (source.lat.size - 1),
        columns=((lon - source.lon[0]) % 360.0) / 360.0 * source.lon.size,
    )


def build(source: Source, grid: Grid) -> dict[str, xr.Dataset]:
    """Describe the three cubes, lazily; nothing is computed yet.

    xcube wants the same dimensions and chunks for all variables of one cube, so the twelve
    months of the climatology and the single map of the trend are cubes of their own.
    """
    width = -(-grid.lon.size // BLOCKS)
    months = _month_of(source.time)
    years = _years_of(source.time)
    shape = (source.time.size, grid.lat.size)
    # Keys are shared by all clients of a scheduler: two runs at once must not meet in one.
    run = uuid4().hex
    # `from_array` is declared to take text for chunks; it takes all that `normalize_chunks` does.
    from_array: Any = da.from_array
    field = from_array(source.sst, chunks=-1, name=f"source-{run}", asarray=False)
    rows = from_array(grid.rows, chunks=-1)
    columns = from_array(grid.columns, chunks=width)
    meta = np.empty((0, 0, 0), dtype=np.float32)
    sst = da.blockwise(
        ByValue(resample_block),
        "tyx",
        field,
        "tab",
        rows,
        "y",
        columns,
        "x",
        concatenate=True,
        dtype=np.float32,
        meta=meta,
        name=f"resample-{run}",
    )
    common = {"dtype": np.float32, "meta": meta}
    climatology = da.map_blocks(
        ByValue(climatology_block),
        sst,
        months=months,
        chunks=((12,), (shape[1],), sst.chunks[2]),
        name=f"climatology-{run}",
        **common,
    )
    anomaly = da.map_blocks(
        ByValue(anomaly_block),
        sst,
        climatology,
        months=months,
        chunks=sst.chunks,
        name=f"anomaly-{run}",
        **common,
    )
    trend = da.map_blocks(
        ByValue(trend_block),
        anomaly,
        years=years,
        chunks=((1,), (shape[1],), sst.chunks[2]),
        name=f"trend-{run}",
        **common,
    )
    first, last = source.time_bounds[0, 0], source.time_bounds[-1, 1]
    nominal = np.array(
        [f"{int(str(first)[:4]) + 1}-{month:02d}-16" for month in range(1, 13)],
        dtype="datetime64[ns]",
    )
    middle = first + (last - first) // 2
    return {
        "sst": _dataset(
            grid,
            "Sea-surface temperature and its anomaly, monthly, resampled",
            source.time,
            source.time_bounds,
            sst=(sst, "sea surface temperature", "sea_surface_temperature", 296.0, 304.0),
            sst_anomaly=(
                anomaly,
                "anomaly of the sea surface temperature from its monthly climatology",
                "sea_surface_temperature_anomaly",
                -2.5,
                2.5,
            ),
        ),
        "climatology": _dataset(
            grid,
            "Monthly climatology of sea-surface temperature, in a nominal year",
            nominal,
            None,
            sst_climatology=(
                climatology,
                f"mean for each month of the year, {str(first)[:7]} to {str(last)[:7]}",
                "sea_surface_temperature",
                296.0,
                304.0,
            ),
        ),
        "trend": _dataset(
            grid,
            "Linear trend of the anomaly of sea-surface temperature",
            np.array([middle]),
            np.array([[first, last]]),
            sst_trend=(trend, "slope of the least-squares line", "", -6.0, 6.0, "K/decade"),
        ),
    }


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Say how the variables are stored: at most `MONTHS_PER_CHUNK` time steps in a chunk."""
    from numcodecs import Blosc

    result: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.data_vars.items():
        steps, height, width = (sizes[0] for sizes in variable.chunks)
        result[str(name)] = {
            "chunks": (min(steps, MONTHS_PER_CHUNK), height, width),
            "compressors": (Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE),),
        }
    for name in ("time", "time_bnds"):
        if name in dataset.coords:
            result[name] = {"units": "hours since 1970-01-01", "dtype": "int64"}
    return result


def _dataset(
    grid: Grid, title: str, time: np.ndarray, bounds: np.ndarray | None, **variables: Any
) -> xr.Dataset:
    """Put arrays on the grid with the attributes that CF and xcube look for."""
    coords: dict[str, Any] = {
        "time": ("time", time, {"standard_name": "time", "axis": "T"}),
        "lat": ("lat", grid.lat, _axis("latitude", "degrees_north", "Y", "lat_bnds")),
        "lon": ("lon", grid.lon, _axis("longitude", "degrees_east", "X", "lon_bnds")),
        "lat_bnds": (("lat", "bnds"), grid.lat_bounds),
        "lon_bnds": (("lon", "bnds"), grid.lon_bounds),
    }
    if bounds is not None:
        coords["time"][2]["bounds"] = "time_bnds"
        coords["time_bnds"] = (("time", "bnds"), bounds)
    data: dict[str, Any] = {}
    for name, (array, long_name, standard_name, low, high, *unit) in variables.items():
        attrs = {"long_name": long_name, "units": unit[0] if unit else "K"}
        if standard_name:
            attrs["standard_name"] = standard_name
        # xcube's server and viewer take their colour range from these two.
        attrs |= {"color_value_min": low, "color_value_max": high}
        data[name] = (("time", "lat", "lon"), array, attrs)
    attrs = {
        "Conventions": "CF-1.10",
        "title": title,
        "source": "Met Office OSTIA, monthly means, as shipped with iris-sample-data",
        "geospatial_lat_min": float(grid.lat_bounds.min()),
        "geospatial_lat_max": float(grid.lat_bounds.max()),
        "geospatial_lon_min": float(grid.lon_bounds.min()),
        "geospatial_lon_max": float(grid.lon_bounds.max()),
        "time_coverage_start": str(time[0])[:10],
        "time_coverage_end": str(time[-1])[:10],
    }
    return xr.Dataset(data, coords=coords, attrs=attrs)


def _axis(standard_name: str, units: str, axis: str, bounds: str) -> dict[str, str]:
    return {"standard_name": standard_name, "units": units, "axis": axis, "bounds": bounds}


def _month_of(time: np.ndarray) -> np.ndarray:
    return time.astype("datetime64[M]").astype(int) % 12 + 1


def _years_of(time: np.ndarray) -> np.ndarray:
    """Return times in years of 365.25 days; only differences matter."""
    return (time - time[0]) / np.timedelta64(1, "s") / (365.25 * 86400)
