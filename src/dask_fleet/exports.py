"""Files for a Prometheus and a Grafana that are to watch a fleet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_fleet.errors import FleetError
from dask_fleet.monitoring.dashboard import dashboard
from dask_fleet.monitoring.rules import alert_rules
from dask_fleet.monitoring.scraping import Access, access_to, prometheus

if TYPE_CHECKING:
    from dask_fleet.layout import Layout

__all__ = ["Exported", "export_monitoring"]

_MARK = "dask fleet monitoring export"
"""Stands in every file, so that no other file is ever replaced."""

_DASHBOARD, _RULES, _CONFIGURATION = "dashboard.json", "rules.yml", "prometheus.yml"


@dataclass(frozen=True, slots=True)
class Exported:
    """What has been written, and what has to be put beside it.

    Attributes
    ----------
    paths : tuple of Path
        The files.
    wanted : Mapping of Path to str
        Files that Prometheus needs too, and how to come by them.
    """

    paths: tuple[Path, ...]
    wanted: dict[Path, str]


def export_monitoring(layout: Layout, directory: Path, *, interval: int) -> Exported:
    """Write a dashboard, alert rules and a Prometheus configuration.

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
    access = access_to(layout)
    contents = {name: text.encode() for name, text in _texts(layout, access, interval).items()}
    wanted: dict[Path, str] = {}
    if access.authority_file is not None:
        authority = _authority(layout)
        if authority is None:
            wanted[directory / access.authority_file] = (
                "certificate of the fleet's authority: `dask fleet up` makes it; then export again"
            )
        else:
            contents[access.authority_file] = authority
    if access.token_file is not None and not (directory / access.token_file).exists():
        path = directory / access.token_file
        wanted[path] = f"a token: `dask fleet door token add prometheus > {path}`"
    paths = tuple(directory / name for name in contents)
    try:
        _refuse_others(path for path in paths if path.name != access.authority_file)
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            _install(path, contents[path.name])
    except OSError as error:
        raise FleetError(
            f"{error.filename or directory}: {error.strerror}", "name another directory"
        ) from error
    return Exported(paths, wanted)


def _texts(layout: Layout, access: Access, interval: int) -> dict[str, str]:
    fleet = layout.name
    head = f"# Written for fleet {fleet} by `{_MARK}`; the next one replaces it.\n"
    # What an ACME server has given is renewed by certbot, and not known here.
    watched = layout.tls or (layout.door is not None and layout.door.tls in ("fleet", "files"))
    rules = alert_rules(
        fleet,
        _shipped("rules.yaml"),
        interval=interval,
        page=access.console,
        tls=watched,
    )
    links = {f"Console of {fleet}": access.console, "Dask's dashboard": f"{access.url}/status"}
    board = dashboard(fleet, _shipped("dashboard.yaml"), links, interval=interval)
    return {
        _CONFIGURATION: head
        + _yaml(prometheus(fleet, access, interval=interval, rules_file=_RULES)),
        _RULES: head + _yaml(rules),
        _DASHBOARD: json.dumps(board, indent=2) + "\n",
    }


def _shipped(name: str) -> list[dict[str, Any]]:
    import yaml

    text = (Path(__file__).parent / "monitoring" / name).read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _yaml(value: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=4096)


def _authority(layout: Layout) -> bytes | None:
    """Return the certificate of the fleet's authority, if this machine has it."""
    from dask_fleet import this_machine
    from dask_fleet.tls.authority import Authority, authority_directory

    directory = authority_directory(Path(this_machine.data_root()), layout.name)
    return Authority(directory, layout.name).certificate


def _refuse_others(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise FleetError(
                f"{path} is there, and no export has written it",
                "name another directory; its files can be included or copied from there",
            )


def _install(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)
