"""Paths as nginx reads them."""

from __future__ import annotations

import re

from dask_fleet.errors import FleetError

__all__ = ["if_there", "quoted"]

_UNSPEAKABLE = re.compile(r"[$*?\[\]\\\x00-\x1f\x7f]")
"""``$`` begins a variable, and nothing takes that from it; the others make a pattern of what is
included."""


def quoted(path: str) -> str:
    """Return a path between quotes, within which spaces, ``;``, ``{`` and ``#`` are letters.

    Raises
    ------
    FleetError
        It holds something that nginx would read as more than a letter.

    Examples
    --------
    >>> print(quoted('/home/ann/my "state"'))
    "/home/ann/my \\"state\\""
    """
    if found := _UNSPEAKABLE.search(path):
        raise FleetError(
            f"{path!r}: nginx cannot be told of a path with {found[0]!r} in it",
            "keep the fleet's files in another directory: XDG_STATE_HOME names it",
        )
    escaped = path.replace('"', '\\"')
    return f'"{escaped}"'


def if_there(path: str) -> str:
    """Return what includes a file, and nothing if it is not there: a pattern that fits it alone.

    Raises
    ------
    FleetError
        As `quoted`.
    """
    return f'{quoted(path[:-1])[:-1]}[{path[-1]}]"'
