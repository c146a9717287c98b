"""What a look has printed of a door, as values."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dask_fleet.observed import DoorObserved

__all__ = ["read_door"]

_DIGEST = re.compile(r"([\w.]+) ([0-9a-f]{64}) +-")
_LOADED = re.compile(r"([0-9a-f]{64}) [ *]([\w.]+)")


def read_door(lines: Iterable[str]) -> DoorObserved:
    """Return what lines of a door's look say; see `dask_fleet.proxy.base.Proxy.look`."""
    files: dict[str, str] = {}
    loaded: dict[str, str] = {}
    facts: dict[str, str] = {}
    certificate: list[str] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "file" and (found := _DIGEST.fullmatch(rest)):
            files[found[1]] = found[2]
        elif word == "loaded" and (found := _LOADED.fullmatch(rest)):
            loaded[found[2]] = found[1]
        elif word == "pem":
            certificate.append(rest)
        else:
            facts[word] = rest
    return DoorObserved(
        files=files,
        loaded=loaded,
        nginx=facts.get("nginx", ""),
        linked="linked" in facts,
        active=facts.get("active", ""),
        at_boot=facts.get("boot", "") == "enabled",
        certificate="\n".join(certificate),
        dangling="dangling" in facts,
    )
