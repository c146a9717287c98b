"""The picture: the trend as a map, the anomaly over time and longitude, and its index.

The band of the data is 36 times as wide as high, so the map is cut into strips of 120 degrees,
each drawn with the same length for a degree of latitude and of longitude, as the equator has it.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["draw"]

WEST = 20.0
"""Where the globe is cut: in Africa, so that no ocean is."""

STRIPS = (
    (20.0, 140.0, "Indian Ocean", (("Africa", 27), ("Borneo", 114))),
    (140.0, 260.0, "Western and central Pacific", ()),
    (260.0, 380.0, "Eastern Pacific and Atlantic", (("South America", 296), ("Africa", 376))),
)

# The usual box of the Nino 3.4 index is 5 S to 5 N; the data cover nearly all of that.
NINO = (190.0, 240.0)

TOP = 0.775
"""Where the first strip ends below, as a part of the height of the figure."""

LAND, COAST, INK, FAINT = "#d9d4c8", "#5b5648", "#1f2933", "#6b7785"


def draw(cubes: dict[str, Path], target: Path) -> None:
    """Draw the cubes into a PNG file.

    The band's mean of the anomaly is computed where Dask computes, which is the cluster when a
    client is connected.
    """
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    with xr.open_zarr(cubes["trend"]) as cube:
        trend = _from_west(cube["sst_trend"].isel(time=0).compute())
        south, north = (float(f(cube["lat_bnds"])) for f in (np.min, np.max))
        bounds = cube["time_bnds"].to_numpy()[0]
    with xr.open_zarr(cubes["sst"]) as cube:
        anomaly = _from_west(cube["sst_anomaly"].mean("lat").compute())
    period = f"{_month(bounds[0])} to {_month(bounds[1] - np.timedelta64(1, 'D'))}"

    style = {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(style):
        figure = plt.figure(figsize=(14, 10.4), dpi=140, facecolor="white")
        figure.text(
            0.06, 0.957, "Sea-surface temperature along the equator", size=21, weight="bold"
        )
        figure.text(
            0.06,
            0.934,
            f"OSTIA monthly means, {period}, interpolated to "
            f"{360 / trend.sizes['lon']:.3f}° x {(north - south) / trend.sizes['lat']:.3f}°",
            size=11.5,
            color=FAINT,
        )
        limit = _limit(trend.to_numpy(), step=1.0)
        image = None
        # 0.82 of 14 inches is the length of 120 degrees; the height follows from the aspect.
        height = 0.82 * 14 * (north - south) / 120.0 / 10.4
        for number, strip in enumerate(STRIPS):
            axes = figure.add_axes((0.06, TOP - number * 0.132, 0.82, height))
            image = _strip(axes, trend, strip, (south, north), limit)
        figure.text(
            0.06,
            TOP + height + 0.029,
            "Linear trend of the anomaly",
            size=13,
            weight="bold",
        )
        figure.text(
            0.285,
            TOP + height + 0.029,
            "over four and a half years: mostly El Niño and La Niña, not climate",
            size=10.5,
            color=FAINT,
        )
        _bar(figure, image, (0.905, TOP - 0.264, 0.012, 0.264 + height), "K per decade")

        axes = figure.add_axes((0.06, 0.06, 0.60, 0.36))
        image = _hovmoeller(axes, anomaly)
        axes.set_title(
            "Anomaly, mean of the band", loc="left", size=13, weight="bold", color=INK, pad=10
        )
        _index(figure.add_axes((0.685, 0.06, 0.195, 0.36), sharey=axes), anomaly)
        _bar(figure, image, (0.905, 0.06, 0.012, 0.36), "K")
        figure.text(
            0.06,
            0.012,
            "Anomaly from the mean of the same month of the year. "
            "Grey: land. Data: Met Office OSTIA, from iris-sample-data.",
            size=8.5,
            color=FAINT,
        )
        figure.savefig(target, metadata={"Software": "dask-fleet demo"})
        plt.close(figure)


def _strip(
    axes: Any,
    trend: xr.DataArray,
    strip: tuple[float, float, str, tuple[tuple[str, int], ...]],
    band: tuple[float, float],
    limit: float,
) -> Any:
    """Draw one strip of the map, with land, coast and the equator."""
    west, east, label, lands = strip
    part = trend.sel(lon=slice(west, east))
    axes.set_facecolor(LAND)
    half = 360 / trend.sizes["lon"] / 2
    image = axes.imshow(
        part.to_numpy(),
        extent=(float(part.lon[0]) - half, float(part.lon[-1]) + half, *band),
        origin="upper",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        aspect="equal",
    )
    axes.contour(part.lon, part.lat, part.isnull(), levels=[0.5], colors=COAST, linewidths=0.7)
    axes.axhline(0, color=INK, linewidth=0.5, alpha=0.45, dashes=(6, 4))
    for name, at in lands:
        axes.text(at, -2.2, name, ha="center", va="center", size=9, style="italic", color=COAST)
    axes.set_xlim(west, east)
    axes.set_ylim(*band)
    _longitudes(axes, np.arange(west, east + 1, 20))
    axes.set_yticks([-4, 0, 4], ["4°S", "0°", "4°N"])
    axes.set_title(label, loc="right", size=10, color=FAINT, pad=3)
    axes.tick_params(length=3, labelsize=9)
    return image


def _hovmoeller(axes: Any, anomaly: xr.DataArray) -> Any:
    """Draw the anomaly over longitude and time, time downwards as it is read."""
    axes.set_facecolor(LAND)
    limit = _limit(anomaly.to_numpy(), step=0.5)
    image = axes.pcolormesh(
        anomaly.lon,
        anomaly.time,
        anomaly.to_numpy(),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        shading="nearest",
        rasterized=True,
    )
    axes.invert_yaxis()
    _longitudes(axes, np.arange(40, 361, 40))
    for edge in NINO:
        axes.axvline(edge, color=INK, linewidth=0.8, alpha=0.6, dashes=(4, 3))
    import matplotlib.dates as dates

    axes.yaxis.set_major_locator(dates.YearLocator())
    axes.yaxis.set_major_formatter(dates.DateFormatter("%Y"))
    axes.yaxis.set_minor_locator(dates.MonthLocator((4, 7, 10)))
    axes.tick_params(length=5, labelsize=9)
    return image


def _index(axes: Any, anomaly: xr.DataArray) -> None:
    """Draw the mean between the dashed lines, beside the diagram and on its time axis."""
    index = anomaly.sel(lon=slice(*NINO)).mean("lon")
    values = index.to_numpy()
    axes.fill_betweenx(index.time, 0, values, where=values >= 0, color="#c0392b", alpha=0.75,
                       interpolate=True, linewidth=0)  # fmt: skip
    axes.fill_betweenx(index.time, 0, values, where=values <= 0, color="#2c6fab", alpha=0.75,
                       interpolate=True, linewidth=0)  # fmt: skip
    axes.plot(values, index.time, color=INK, linewidth=1)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    widest = float(np.ceil(np.abs(values).max() * 2) / 2)
    axes.set_xlim(-widest, widest)
    axes.set_title("170°W to 120°W  (K)", loc="left", size=10.5, color=INK, pad=10)
    axes.tick_params(labelleft=False, length=3, labelsize=9)
    axes.grid(axis="x", color="#e3e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for word, at, align in (("El Niño", np.argmax(values), "left"),
                            ("La Niña", np.argmin(values), "right")):  # fmt: skip
        axes.annotate(
            word,
            (0, index.time.to_numpy()[at]),
            xytext=(-8 if align == "left" else 8, 0),
            textcoords="offset points",
            ha="right" if align == "left" else "left",
            va="center",
            size=10,
            style="italic",
        )


def _bar(figure: Any, image: Any, place: tuple[float, float, float, float], label: str) -> None:
    bar = figure.colorbar(image, cax=figure.add_axes(place), extend="both")
    bar.set_label(label, size=10)
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(labelsize=9, length=3)


def _longitudes(axes: Any, ticks: np.ndarray) -> None:
    axes.set_xticks(ticks, [_longitude(float(tick)) for tick in ticks])


def _longitude(degrees: float) -> str:
    degrees = (degrees + 180) % 360 - 180
    if degrees in (0.0, -180.0):
        return f"{abs(degrees):.0f}°"
    return f"{abs(degrees):.0f}°{'E' if degrees > 0 else 'W'}"


def _from_west(field: xr.DataArray) -> xr.DataArray:
    """Let longitude run from `WEST` once round the globe."""
    lon = (field["lon"] - WEST) % 360 + WEST
    return field.assign_coords(lon=lon).sortby("lon")


def _limit(values: np.ndarray, step: float) -> float:
    """Return a symmetric colour limit: nearly all values lie inside, and it is a round number."""
    return float(np.ceil(np.nanpercentile(np.abs(values), 99) / step) * step)


def _month(date: np.datetime64) -> str:
    day: datetime.date = date.astype("datetime64[D]").item()
    return day.strftime("%B %Y")
