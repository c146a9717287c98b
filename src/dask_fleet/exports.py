"""Files for a Prometheus and a Grafana that are to watch a fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_fleet.errors import FleetError
from dask_fleet.monitoring.dashboard import dashboard
from dask_fleet.monitoring.rules import alert_rules
from dask_fleet.monitoring.scraping import Access, prometheus

if TYPE_CHECKING:
    from dask_fleet.layout import Layout

__all__ = ["export_monitoring"]

_MARK = "dask fleet monitoring export"
"""Stands in every file, so that no other file is ever replaced."""

_DASHBOARD, _RULES, _CONFIGURATION = "dashboard.json", "rules.yml", "prometheus.yml"


def export_monitoring(layout: Layout, directory: Path, *, interval: int) -> list[Path]:
    """Write a dashboard, alert rules and a Prometheus configuration, and return the files.

    Parameters
    ----------
    layout : Layout
        The fleet as declared.
    directory : Path
        Where they go; made if it is not there.
    interval : int
        Seconds between two scrapes.

    Raises
    ------
    FleetError
        A file of that name is there that no export has written, or they cannot be written.
    """
    access = Access(layout.dashboard_url.removesuffix("/status"))
    links = {"Dask's dashboard": layout.dashboard_url}
    page = layout.dashboard_url
    head = f"# Written for fleet {layout.name} by `{_MARK}`; the next one replaces it.\n"
    contents = {
        _CONFIGURATION: head
        + _yaml(prometheus(layout.name, access, interval=interval, rules_file=_RULES)),
        _RULES: head
        + _yaml(
            alert_rules(
                layout.name, _shipped("rules.yaml"), interval=interval, page=page, tls=layout.tls
            )
        ),
        _DASHBOARD: json.dumps(
            dashboard(layout.name, _shipped("dashboard.yaml"), links, interval=interval), indent=2
        )
        + "\n",
    }
    paths = [directory / name for name in contents]
    try:
        _refuse_others(paths)
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            _install(path, contents[path.name])
    except OSError as error:
        raise FleetError(
            f"{error.filename or directory}: {error.strerror}", "name another directory"
        ) from error
    return paths


def _shipped(name: str) -> list[dict[str, Any]]:
    import yaml

    text = (Path(__file__).parent / "monitoring" / name).read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _yaml(value: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=4096)


def _refuse_others(paths: list[Path]) -> None:
    for path in paths:
        if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise FleetError(
                f"{path} is there, and no export has written it",
                "name another directory; its files can be included or copied from there",
            )


def _install(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
