"""How the page writes numbers; ``assets/words.js`` writes them alike, and a test compares them."""

from __future__ import annotations

import time
from collections.abc import Sequence

__all__ = ["amount", "area", "curve", "duration", "moment", "of", "share", "size"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Return bytes with a binary unit: ``0 B``, ``1.5 GiB``, ``512 MiB``."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    digits = 1 if unit and count < 9.95 else 0
    return f"{count:.{digits}f} {_UNITS[unit]}"


def of(part: float, whole: float) -> str:
    """Return bytes of bytes, the unit once if both have the same: ``1.5 of 4.0 GiB``."""
    if not whole:
        return size(part)
    first, second = size(part), size(whole)
    number, _, unit = first.partition(" ")
    return f"{number if second.endswith(f' {unit}') else first} of {second}"


def amount(count: float) -> str:
    """Return a number with a comma before each three digits."""
    return f"{count:,.0f}"


def share(part: float, whole: float) -> float:
    """Return a part of a whole in percent, between 0 and 100."""
    return round(min(100.0, max(0.0, 100 * part / whole)), 1) if whole else 0.0


def duration(seconds: float) -> str:
    """Return a duration by its largest units: ``12 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(epoch: float) -> str:
    """Return a moment in UTC, for who reads the page without JavaScript."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch))


def curve(values: Sequence[float], most: float, places: int) -> str:
    """Return the path of a line through values in a box of 100 by 30.

    The newest value is on the right; a box has room for ``places`` values. Without a known most
    the largest value reaches the top.
    """
    if len(values) < 2:
        return ""
    step = 100 / (places - 1)
    start = 100 - step * (len(values) - 1)
    top = most or max(*values, 1)
    points = (
        f"{start + step * i:.1f} {29 - 28 * min(1, value / top):.1f}"
        for i, value in enumerate(values)
    )
    return "M" + "L".join(points)


def area(line: str) -> str:
    """Return the path of what is below a line."""
    return f"{line}L100 30L{line[1:].partition(' ')[0]} 30Z" if line else ""
