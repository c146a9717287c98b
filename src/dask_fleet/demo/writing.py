"""Who writes the cubes: the workers, into a folder that they see, or the client's process.

Both begin with xarray's own files of metadata and coordinates, so that a cube is the same
whoever writes its values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zarr
from cube import encoding

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from engine import Engine, Progress

__all__ = ["begin", "write_here"]


def begin(cubes: dict[str, xr.Dataset], paths: dict[str, Path]) -> list[Any]:
    """Write metadata and coordinates; return what is left for workers to write, not computed."""
    return [
        # Version 2 of zarr is what xcube writes and what every reader reads.
        cube.to_zarr(
            paths[name],
            mode="w",
            compute=False,
            encoding=encoding(cube),
            zarr_format=2,
            consolidated=True,
        )
        for name, cube in cubes.items()
    ]


def write_here(
    engine: Engine, cubes: dict[str, xr.Dataset], paths: dict[str, Path], progress: Progress
) -> None:
    """Write the values of cubes that were begun as they come back from the workers.

    A block is a stretch of longitudes with all times; the engine keeps only a few of them on
    their way, whatever the size of the cubes.
    """
    arrays: list[Any] = []
    targets: list[Any] = []
    for name, cube in cubes.items():
        group: Any = zarr.open_group(str(paths[name]), mode="r+")
        for variable in cube.data_vars:
            arrays.append(cube[variable].data)
            targets.append(group[str(variable)])
    widths = arrays[0].chunks[2]
    done, total, west = 0, len(widths) * len(arrays), 0
    progress(done, total)
    for width, block in zip(widths, engine.blocks(arrays), strict=True):
        for target, values in zip(targets, block, strict=True):
            # Values are stored as they are: `encoding` neither scales nor packs.
            target[:, :, west : west + width] = values
            done += 1
            progress(done, total)
        west += width
