"""Label selectors that the shipped expressions leave open."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["of_dashboard", "of_rules", "selected"]


def of_dashboard() -> dict[str, str]:
    """Return the selectors of a dashboard, by its variables."""
    fleet = 'fleet="$fleet"'
    return {
        "<fleet>": fleet,
        "<workers>": f'{fleet},host=~"$host",worker=~"$worker"',
        "<declared>": f'{fleet},worker_host=~"$host",worker=~"$worker"',
        "<hosts>": f'{fleet},worker_host=~"$host"',
    }


def of_rules(fleet: str) -> dict[str, str]:
    """Return the selectors of rules, which are about one fleet."""
    return {"<fleet>": f'fleet="{fleet}"'}


def selected(expression: str, selectors: Mapping[str, str]) -> str:
    """Return an expression with its selectors in their places, on one line."""
    for mark, labels in selectors.items():
        expression = expression.replace(mark, labels)
    return " ".join(expression.split())
