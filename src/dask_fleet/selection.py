"""Hosts by name, range or pattern, as ``--limit`` and ``--hosts`` take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from dask_fleet.errors import FleetError
from dask_fleet.spec.ranges import RangeError, expand

__all__ = ["select"]


def select(hosts: Sequence[str], patterns: Iterable[str]) -> list[str]:
    """Return the hosts that are meant, each once, in the order of ``hosts``.

    Parameters
    ----------
    hosts : sequence of str
        Names of all hosts.
    patterns : iterable of str
        Names, ranges such as ``vm-[01-04]`` and patterns such as ``vm-*``; several may stand in
        one, with commas between them.

    Raises
    ------
    FleetError
        A pattern means no host.
    """
    meant: set[str] = set()
    unknown: list[str] = []
    for text in (part for pattern in patterns for part in _parts(pattern)):
        found = {host for host in hosts if host == text or fnmatchcase(host, text)}
        if not found:
            try:
                found = set(expand(text)) & set(hosts)
            except RangeError:
                found = set[str]()
        meant |= found
        if not found:
            # `--limit "$HOSTS"` with a variable that is not set must not mean all hosts.
            unknown.append(text or "an empty name")
    if unknown:
        raise FleetError(
            f"no host of the fleet is meant by {', '.join(unknown)}",
            f"its hosts are {', '.join(hosts[:12])}{' ...' if len(hosts) > 12 else ''}",
        )
    return [host for host in hosts if host in meant]


def _parts(pattern: str) -> Iterable[str]:
    """Split at commas that do not stand in brackets."""
    depth, part = 0, ""
    for character in pattern:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += character
    if part.strip() or not pattern.strip():
        yield part.strip()
