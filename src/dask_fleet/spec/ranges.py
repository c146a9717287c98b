"""Ranges in names and addresses: ``dask-worker-[0001-0004]``, ``vm-[1-3,7]``.

A bracket holds numbers and spans of numbers, separated by commas. The width that they are
written with is kept. Several brackets give every combination, the last one running fastest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product

__all__ = ["LARGEST", "RangeError", "count", "expand", "fold", "is_range"]

LARGEST = 100_000
"""The most that one pattern may stand for."""

_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)
_SPAN = re.compile(r"([0-9]+)(?:-([0-9]+))?", re.ASCII)


class RangeError(ValueError):
    """A range that cannot be read; carries the fault and its remedy."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.fault = fault
        self.remedy = remedy


def is_range(pattern: str) -> bool:
    """Return whether the pattern stands for more than itself."""
    return "[" in pattern or "]" in pattern


def count(pattern: str) -> int:
    """Return how many names a pattern stands for, without making them.

    Raises
    ------
    RangeError
        When the pattern cannot be read or stands for more than `LARGEST` names.
    """
    total = 1
    for _, spans in _pieces(pattern):
        total *= sum(last - first + 1 for first, last, _ in spans) if spans else 1
        if total > LARGEST:
            raise RangeError(
                f"the range stands for more than {LARGEST:,} names",
                "write a smaller range",
            )
    return total


def expand(pattern: str) -> tuple[str, ...]:
    """Return every name that a pattern stands for, in order.

    Examples
    --------
    >>> expand("vm-[08-10,12]")
    ('vm-08', 'vm-09', 'vm-10', 'vm-12')

    Raises
    ------
    RangeError
        When the pattern cannot be read, names something twice or stands for more than
        `LARGEST` names.
    """
    if not is_range(pattern):
        return (pattern,)
    count(pattern)
    choices: list[list[str]] = []
    for text, spans in _pieces(pattern):
        if spans is None:
            choices.append([text])
            continue
        numbers = [
            str(number).zfill(width)
            for first, last, width in spans
            for number in range(first, last + 1)
        ]
        if len(set(numbers)) < len(numbers):
            raise RangeError(f'the range "[{text}]" has a number twice', "write each number once")
        choices.append(numbers)
    return tuple("".join(parts) for parts in product(*choices))


def _pieces(pattern: str) -> list[tuple[str, list[tuple[int, int, int]] | None]]:
    """Split a pattern into plain text and brackets; a bracket comes with its spans."""
    pieces: list[tuple[str, list[tuple[int, int, int]] | None]] = []
    end = 0
    for match in _BRACKET.finditer(pattern):
        pieces.append((pattern[end : match.start()], None))
        pieces.append((match[1], [_span(part, match[1]) for part in match[1].split(",")]))
        end = match.end()
    pieces.append((pattern[end:], None))
    if any(spans is None and is_range(text) for text, spans in pieces):
        raise RangeError(f'"{pattern}" has an unmatched bracket', "write a range as [1-4]")
    return pieces


def _span(part: str, bracket: str) -> tuple[int, int, int]:
    """Return first and last number of a span and the width to keep (0: as it comes)."""
    match = _SPAN.fullmatch(part.strip())
    if match is None:
        raise RangeError(
            f'"[{bracket}]" is not a range', "write numbers and spans of numbers, as in [1-4,7]"
        )
    low, high = match[1], match[2] or match[1]
    if len(high) > 18 or len(low) > 18:
        raise RangeError(f'"[{bracket}]" has a number too long to count', "write a smaller range")
    padded = (low.startswith("0") and len(low) > 1) or (high.startswith("0") and len(high) > 1)
    if padded and len(low) != len(high):
        width = max(len(low), len(high))
        raise RangeError(
            f'the ends of the range "{part.strip()}" differ in width',
            f"write {low.zfill(width)}-{high.zfill(width)}",
        )
    if int(low) > int(high):
        raise RangeError(f'the range "{part.strip()}" runs backwards', f"write {high}-{low}")
    return int(low), int(high), len(low) if padded else 0


def fold(names: Iterable[str]) -> list[str]:
    """Return names or addresses with runs of numbers as fleet.yaml has them: ``vm-[01-12]``."""
    runs: list[tuple[str, str, str, str]] = []
    for name in dict.fromkeys(names):
        found = _LAST_NUMBER.fullmatch(name)
        if found is None or ":" in name:
            runs.append((name, "", "", ""))
            continue
        head, digits, tail = found.groups()
        if runs:
            before, first, last, end = runs[-1]
            following = str(int(last) + 1).zfill(len(last)) if last else ""
            if (before, end, following) == (head, tail, digits):
                runs[-1] = (head, first, digits, tail)
                continue
        runs.append((head, digits, digits, tail))
    return [
        f"{head}{first}{tail}" if first == last else f"{head}[{first}-{last}]{tail}"
        for head, first, last, tail in runs
    ]
