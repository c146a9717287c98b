"""What the workers compute on each block, and how these functions get there.

Why xcube's own resampling is not used here: measured with xcube-core 1.14.1, its
``affine_transform_dataset`` places a field that it refines by a factor of two half a fine cell
off in longitude and one and a half fine cells off in latitude, because it hands the corner of a
pixel to scipy, which counts from the centre. It also leaves a gap at the antimeridian and moves
the coast. `resample_block` is a plain bilinear interpolation without these faults; `check.py`
holds it against a second, independent one.
"""

from __future__ import annotations

import sys
from typing import Any

import cloudpickle
import numpy as np

__all__ = ["ByValue", "anomaly_block", "climatology_block", "resample_block", "trend_block"]


class ByValue:
    """A function that arrives at the workers as code, not as the name of a module.

    distributed tries plain pickle first, which would succeed here and fail over there.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        # The workers have no module of this name.
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as the threaded scheduler does."""
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        """Become the function itself where it is unpickled."""
        return cloudpickle.loads, (cloudpickle.dumps(self._function),)


def resample_block(field: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate bilinearly; land has no weight.

    A fine cell is ocean where at least half of its weight comes from ocean cells, and its value
    is their weighted mean. So no land value leaks into the ocean, and the ocean neither shrinks
    (as it does when one NaN makes the result NaN) nor grows. The small margin decides
    ties, which occur when the factor is odd, for ocean, whatever the rounding.
    """
    row = np.clip(np.floor(rows).astype(int), 0, field.shape[1] - 2)
    up = (rows - row)[:, None]
    left = np.floor(columns).astype(int)
    along = columns - left
    left %= field.shape[2]
    right = (left + 1) % field.shape[2]

    def interpolate(values: np.ndarray) -> np.ndarray:
        values = values[:, :, left] * (1 - along) + values[:, :, right] * along
        return values[:, row] * (1 - up) + values[:, row + 1] * up

    ocean = np.isfinite(field)
    weight = interpolate(ocean.astype(np.float64))
    total = interpolate(np.where(ocean, field, 0).astype(np.float64))
    keep = weight >= 0.5 - 1e-4
    result = np.full(weight.shape, np.nan, dtype=np.float32)
    np.divide(total, weight, out=total, where=keep)
    result[keep] = total[keep]
    return result


def climatology_block(sst: np.ndarray, months: np.ndarray) -> np.ndarray:
    """Return the mean of each month of the year; the land mask is the same in all months."""
    means = [sst[months == month].mean(axis=0, dtype=np.float64) for month in range(1, 13)]
    return np.stack(means).astype(np.float32)


def anomaly_block(sst: np.ndarray, climatology: np.ndarray, months: np.ndarray) -> np.ndarray:
    """Return the departure from the mean of the same month."""
    return sst - climatology[months - 1]


def trend_block(anomaly: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Return the slope of the least-squares line, in kelvin per decade, as a single time step."""
    centred = years - years.mean()
    weights = centred / (centred**2).sum()
    slope = np.tensordot(weights, anomaly.astype(np.float64), axes=(0, 0))
    return (10 * slope).astype(np.float32)[None]
