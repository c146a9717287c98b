"""The Grafana dashboard of a fleet, in the JSON that Grafana imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dask_fleet.monitoring.selectors import of_dashboard, selected

__all__ = ["dashboard"]

_SCHEMA = 39
"""Version of the schema: that of Grafana 10.4. Later ones migrate it by themselves."""

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_LONGEST_UID = 40


def dashboard(
    fleet: str, rows: Sequence[dict[str, Any]], links: Mapping[str, str], *, interval: int
) -> dict[str, Any]:
    """Return a dashboard.

    It shows every fleet that a Prometheus knows, one at a time; it begins with this one.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    rows : sequence of dict
        The content of ``dashboard.yaml``.
    links : Mapping of str to str
        Addresses by title, for the top of the dashboard.
    interval : int
        Seconds between two scrapes.
    """
    return {
        "uid": f"dask-fleet-{fleet}"[:_LONGEST_UID],
        "title": f"Dask fleet {fleet}",
        "description": "Made by `dask fleet monitoring export`; the next export has the same uid.",
        "tags": ["dask", "dask-fleet"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": f"{max(interval, 5)}s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [_link(title, url) for title, url in links.items()],
        "templating": {"list": _variables(fleet)},
        "annotations": {"list": []},
        "panels": list(_panels(rows, interval)),
    }


def _link(title: str, url: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "link",
        "url": url,
        "icon": "external link",
        "targetBlank": True,
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "tooltip": "",
    }


def _variables(fleet: str) -> list[dict[str, Any]]:
    registered = "dask_fleet_worker_registered"
    source = {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "current": {},
        "options": [],
        "refresh": 1,
        "multi": False,
        "includeAll": False,
        "skipUrlSync": False,
    }
    return [
        source,
        _variable("fleet", f"label_values({registered}, fleet)", {"text": fleet, "value": fleet}),
        _variable("host", f'label_values({registered}{{fleet="$fleet"}}, worker_host)'),
        _variable(
            "worker",
            f'label_values({registered}{{fleet="$fleet",worker_host=~"$host"}}, worker)',
        ),
    ]


def _variable(name: str, query: str, current: dict[str, str] | None = None) -> dict[str, Any]:
    several = current is None
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": several,
        "includeAll": several,
        # Not `.*`: what has no such label is none of them.
        **({"allValue": ".+"} if several else {}),
        "current": current or {"text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def _panels(rows: Sequence[dict[str, Any]], interval: int) -> Iterator[dict[str, Any]]:
    """Yield rows and panels, put from left to right and from top to bottom."""
    number = y = 0
    for row in rows:
        number += 1
        place = {"h": 1, "w": _COLUMNS, "x": 0, "y": y}
        yield {
            "id": number,
            "type": "row",
            "title": row["row"],
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        y += 1
        x = height = 0
        for panel in row["panels"]:
            kind = panel.get("kind", "timeseries")
            width, tall = panel.get("width", 3 if kind == "stat" else 6), 4 if kind == "stat" else 8
            if x + width > _COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield {
                "id": number,
                "title": panel["title"],
                "description": panel.get("about", ""),
                "datasource": _SOURCE,
                "gridPos": {"h": tall, "w": width, "x": x, "y": y},
                "interval": f"{interval}s",
                "targets": [
                    _target(letter, query, instant=kind == "stat")
                    for letter, query in zip("ABCDEFGH", panel["queries"], strict=False)
                ],
                **_KINDS[kind](panel),
            }
            x, height = x + width, max(height, tall)
        y += height


def _target(letter: str, query: dict[str, Any], *, instant: bool) -> dict[str, Any]:
    return {
        "refId": letter,
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": selected(query["expr"], of_dashboard()),
        "legendFormat": query.get("legend", "__auto"),
        "instant": instant,
        "range": not instant,
    }


def _defaults(panel: dict[str, Any], colour: str, **more: object) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if (bad := panel.get("bad")) is not None:
        steps.append({"color": "red", "value": bad})
    return {
        "unit": panel.get("unit", "short"),
        **({"decimals": panel["decimals"]} if "decimals" in panel else {}),
        "color": {"mode": colour},
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": steps},
        **more,
    }


def _stat(panel: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "stat",
        "fieldConfig": {"defaults": _defaults(panel, "thresholds"), "overrides": []},
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": panel.get("text", "auto"),
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
        },
    }


def _timeseries(panel: dict[str, Any]) -> dict[str, Any]:
    stacked = panel.get("stack", False)
    drawn = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if "bad" in panel else "off"},
    }
    lines = [
        _line(letter)
        for letter, query in zip("ABCDEFGH", panel["queries"], strict=False)
        if query.get("line")
    ]
    return {
        "type": "timeseries",
        "fieldConfig": {
            "defaults": _defaults(panel, "palette-classic", min=0, custom=drawn),
            "overrides": lines,
        },
        "options": {
            "legend": {
                "showLegend": True,
                "displayMode": "list",
                "placement": "bottom",
                "calcs": [],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _line(letter: str) -> dict[str, Any]:
    """Return what draws a query as a plain line above a stack."""
    return {
        "matcher": {"id": "byFrameRefID", "options": letter},
        "properties": [
            {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": "text"}},
        ],
    }


def _timeline(panel: dict[str, Any]) -> dict[str, Any]:
    # The last value is the good one.
    named = list(panel["values"].items())
    colours = ["red"] * (len(named) - 1) + ["green"]
    mapping = {
        str(value): {"text": text, "color": colour, "index": index}
        for index, ((value, text), colour) in enumerate(zip(named, colours, strict=True))
    }
    drawn = {"fillOpacity": 70, "lineWidth": 0}
    defaults = _defaults(panel, "thresholds", custom=drawn)
    return {
        "type": "state-timeline",
        "fieldConfig": {
            "defaults": {**defaults, "mappings": [{"type": "value", "options": mapping}]},
            "overrides": [],
        },
        "options": {
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.9,
            "legend": {
                "showLegend": True,
                "displayMode": "list",
                "placement": "bottom",
                "calcs": [],
            },
            "tooltip": {"mode": "single", "sort": "none"},
        },
    }


_KINDS = {"stat": _stat, "timeseries": _timeseries, "timeline": _timeline}
