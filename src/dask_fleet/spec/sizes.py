"""Sizes of memory (``4 GiB``) and ranges of ports (``9000-9100``)."""

from __future__ import annotations

import re

__all__ = ["SMALLEST", "format_size", "parse_ports", "parse_size"]

SMALLEST = 1 << 20
"""The smallest size that is taken for one, in bytes: below it a unit was forgotten."""

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)
_PORTS = re.compile(r"([0-9]{1,9})\s*-\s*([0-9]{1,9})", re.ASCII)
_UNITS = {"": 1, "b": 1} | {
    prefix + tail: factor
    for power, letter in enumerate("kmgtp", start=1)
    for prefix, tail, factor in (
        (letter, "", 1000**power),
        (letter, "b", 1000**power),
        (letter, "i", 1024**power),
        (letter, "ib", 1024**power),
    )
}


def parse_size(text: str) -> int:
    """Return the bytes that a size stands for.

    The units are those of ``dask.utils.parse_bytes``: ``GB`` and ``G`` are powers of 1000,
    ``GiB`` and ``Gi`` of 1024; capitals do not matter.

    Raises
    ------
    ValueError
        When the text is not a size; the message says what is wrong with it.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(text) > 40:
        raise ValueError("not a size")
    factor = _UNITS.get(match[2].lower())
    if factor is None:
        raise ValueError(f'"{match[2]}" is not a unit of memory')
    number = match[1]
    return int(number) * factor if number.isdigit() else int(float(number) * factor)


def format_size(size: int) -> str:
    """Return a size in the largest binary unit that it fills; at most two decimals, cut."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            number = f"{size * 100 // factor / 100:.2f}".rstrip("0").rstrip(".")
            return f"{number} {unit}"
    return f"{size} bytes"


def parse_ports(text: str) -> tuple[int, int]:
    """Return the first and last port of a range such as ``9000-9100``.

    Raises
    ------
    ValueError
        When the text is not such a range; the message says what is wrong with it.
    """
    match = _PORTS.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a range of ports")
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise ValueError("the range of ports runs backwards")
    if first < 1 or last > 65535:
        raise ValueError("ports are 1 to 65535")
    return first, last
