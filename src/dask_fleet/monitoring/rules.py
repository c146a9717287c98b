"""Alert rules of a fleet, for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dask_fleet.monitoring.selectors import of_rules, selected

__all__ = ["alert_rules"]

_SELECTOR = re.compile(r"\w+\{[^{}]*\}")


def alert_rules(
    fleet: str, declared: Sequence[dict[str, Any]], *, interval: int, page: str, tls: bool
) -> dict[str, Any]:
    """Return the content of a file of rules.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    declared : sequence of dict
        The content of ``rules.yaml``.
    interval : int
        Seconds between two scrapes. An alert fires when something has been so for a number of
        scrapes: who looks seldom has to wait longer to be sure.
    page : str
        Address of a page about the fleet, for whoever is alarmed.
    tls : bool
        Whether the fleet has certificates.
    """
    rules = [
        _rule(one, fleet, interval, page) for one in declared if tls or one.get("only") != "tls"
    ]
    return {"groups": [{"name": f"dask-fleet-{fleet}", "rules": rules}]}


def _rule(one: dict[str, Any], fleet: str, interval: int, page: str) -> dict[str, Any]:
    value = selected(one["value"], of_rules(fleet))
    if not _SELECTOR.fullmatch(value):
        value = f"({value})"
    lasting = {"for": f"{one['scrapes'] * interval}s"} if one["scrapes"] else {}
    return {
        "alert": one["alert"],
        "expr": f"{value} {one['when']}",
        **lasting,
        "labels": {"severity": one["severity"], "fleet": fleet},
        "annotations": {
            "summary": f"fleet {fleet}: {one['summary']}",
            "description": one["advice"],
            "page": page,
        },
    }
