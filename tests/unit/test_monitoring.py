"""What is exported for Prometheus and Grafana, from fleet.yaml alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from dask_fleet import this_machine
from dask_fleet.errors import FleetError
from dask_fleet.exports import export_monitoring
from dask_fleet.layout import lay_out
from dask_fleet.spec import default_spec, parse
from dask_fleet.tls.authority import Authority, authority_directory
from tests.conftest import REPOSITORY

#: Recorded from a fleet that computes, spills and has a failed task.
METRICS = Path(__file__).parent / "data" / "metrics"

SPEC = """\
name: sst
hosts:
  head: {address: "fd00::1"}
  node: {address: "fd00::2"}
scheduler: {host: head}
workers:
  default: {hosts: [node]}
"""


def export(place: Path, text: str | None = None, interval: int = 15) -> dict[str, Any]:
    spec = default_spec() if text is None else parse(text, {})
    paths = export_monitoring(lay_out(spec), place, interval=interval).paths
    assert [path.name for path in paths] == ["prometheus.yml", "rules.yml", "dashboard.json"]
    # The parser in C: the dashboard is large.
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    return {name: yaml.load(text, Loader=yaml.CSafeLoader) for name, text in texts.items()}


def rules_of(files: dict[str, Any]) -> list[dict[str, Any]]:
    (group,) = files["rules.yml"]["groups"]
    return group["rules"]


def expressions(files: dict[str, Any]) -> Iterator[str]:
    for rule in rules_of(files):
        yield rule["expr"]
    for panel in files["dashboard.json"]["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def test_prometheus_asks_the_scheduler_what_there_is(tmp_path: Path) -> None:
    (job,) = export(tmp_path, SPEC)["prometheus.yml"]["scrape_configs"]
    assert job == {
        "job_name": "dask-fleet-sst",
        "scrape_timeout": "10s",
        "http_sd_configs": [
            {"url": "http://[fd00::1]:8787/fleet/api/prometheus-sd", "refresh_interval": "15s"}
        ],
    }


DOORS = [
    ("door: {listen: 8080, login: none}", "http://dask.example:8080", {}),
    (
        "door: {tls: {acme: {email: ann@dask.example}}}",
        "https://dask.example",
        {"authorization": {"type": "Bearer", "credentials_file": "prometheus.token"}},
    ),
    (
        "door: {tls: fleet}\ntls: true",
        "https://dask.example",
        {
            "authorization": {"type": "Bearer", "credentials_file": "prometheus.token"},
            "tls_config": {"ca_file": "ca.pem"},
        },
    ),
]


@pytest.mark.parametrize(("door", "url", "client"), DOORS)
def test_through_a_door_with_what_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, url: str, client: dict[str, Any]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    layout = lay_out(parse(f"{SPEC}{door}\n".replace('"fd00::1"', "dask.example"), {}))
    done = export_monitoring(layout, tmp_path / "files", interval=15)
    (job,) = yaml.safe_load((tmp_path / "files" / "prometheus.yml").read_text())["scrape_configs"]
    (discovery,) = job["http_sd_configs"]
    assert discovery["url"] == f"{url}/fleet/api/prometheus-sd"
    for part in (job, discovery):
        assert {key: part[key] for key in ("authorization", "tls_config") if key in part} == client
    assert "&id" not in (tmp_path / "files" / "prometheus.yml").read_text()
    named = {name for one in client.values() for key, name in one.items() if key != "type"}
    assert {path.name for path in done.wanted} == named
    assert {path.parent for path in done.wanted} <= {tmp_path / "files"}


def test_the_certificate_of_the_authority_is_put_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    directory = authority_directory(Path(this_machine.data_root()), "sst")
    Authority(directory, "sst").ensure({"head": ("fd00::1",)}, now=datetime.now(timezone.utc))
    layout = lay_out(parse(f"{SPEC}door: {{tls: fleet}}\ntls: true\n", {}))
    done = export_monitoring(layout, tmp_path / "files", interval=15)
    assert (tmp_path / "files" / "ca.pem").read_bytes() == (directory / "ca.pem").read_bytes()
    assert {path.name for path in done.wanted} == {"prometheus.token"}
    (tmp_path / "files" / "prometheus.token").write_text("secret\n")
    again = export_monitoring(layout, tmp_path / "files", interval=15)
    assert again.wanted == {}
    assert (tmp_path / "files" / "prometheus.token").read_text() == "secret\n"


def test_alerts_wait_for_scrapes(tmp_path: Path) -> None:
    slow, fast = (rules_of(export(tmp_path, interval=seconds)) for seconds in (60, 1))
    name = "DaskFleetWorkerMissing"
    assert next(rule["for"] for rule in slow if rule["alert"] == name) == "240s"
    assert next(rule["for"] for rule in fast if rule["alert"] == name) == "4s"


def test_every_alert_says_what_where_and_what_to_do(tmp_path: Path) -> None:
    rules = rules_of(export(tmp_path, SPEC))
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names) > 10
    for rule in rules:
        assert rule["labels"]["fleet"] == "sst"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"].startswith("fleet sst: ")
        assert len(rule["annotations"]["description"]) > 20
        assert rule["annotations"]["page"] == "http://[fd00::1]:8787/fleet/"


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ("", False),
        ("tls: true", True),
        ("door: {login: none}", False),
        ("door: {tls: {certificate: c.pem, key: k.pem}}", True),
        ("door: {tls: {acme: {email: ann@dask.example}}}", False),
    ],
)
def test_only_fleets_with_certificates_of_theirs_are_warned_of_their_end(
    tmp_path: Path, more: str, warned: bool
) -> None:
    text = f"{SPEC}{more}\n".replace('"fd00::1"', "dask.example")
    rules = {rule["alert"] for rule in rules_of(export(tmp_path, text))}
    assert ("DaskFleetCertificateExpires" in rules) is warned


def test_expressions_are_about_the_fleet_and_of_series_that_dask_has(tmp_path: Path) -> None:
    known = {
        sample.name
        for file in METRICS.iterdir()
        for family in text_string_to_metric_families(file.read_text(encoding="utf-8"))
        for sample in family.samples
    } | {"up", "ALERTS"}
    used: set[str] = set()
    for expression in expressions(export(tmp_path)):
        assert not re.search(r"<(?!\s)", expression), expression
        for name, labels in re.findall(r"\b([a-zA-Z_:]+)\{([^}]*)\}", expression):
            assert labels.startswith("fleet="), expression
            used.add(name)
        bare = set(re.findall(r"\b(?:dask|process)_\w+(?![\w{])", expression))
        assert bare <= {"dask_fleet_worker_registered"}, expression
    ours = {name for name in used if name.startswith("dask_fleet_")}
    assert used - ours <= known
    assert len(used - ours) > 20


def test_grafana_s_own_models_read_the_dashboard_and_lose_nothing(tmp_path: Path) -> None:
    written = export(tmp_path)["dashboard.json"]
    register_default_plugins()
    read = Dashboard.from_json(written)
    again = json.loads(JSONEncoder(sort_keys=True).encode(read))
    # Grafana writes `definition` of a variable itself, and its models do not have it.
    assert {re.sub(r"\[\d+\]", "", path) for path in lost(written, again)} == {
        ".templating.list.definition"
    }
    options = [panel.options for panel in read.panels or () if hasattr(panel, "options")]
    kinds = {type(one).__module__.rpartition(".")[2] for one in options}
    assert kinds == {"stat", "statetimeline", "timeseries"}


def lost(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield where the second value lacks something of the first, or has it otherwise."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key, value in one.items():
            yield from lost(value, other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (value, its) in enumerate(zip(one, other, strict=True)):
            yield from lost(value, its, f"{path}[{number}]")
    elif one != other:
        yield path


def test_panels_fill_rows_and_cover_nothing(tmp_path: Path) -> None:
    board = export(tmp_path)["dashboard.json"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert all(x < 24 for x, _ in cells)
        assert not cells & taken, panel["title"]
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height, "there are holes"


def test_variables_choose_fleet_host_and_worker(tmp_path: Path) -> None:
    board = export(tmp_path, SPEC)["dashboard.json"]
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert list(variables) == ["datasource", "fleet", "host", "worker"]
    assert variables["datasource"]["type"] == "datasource"
    assert variables["fleet"]["current"] == {"text": "sst", "value": "sst"}
    assert variables["worker"]["multi"]
    titles = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert titles == ["The fleet at a glance", "Scheduler", "Workers", "Hosts", "Lost workers"]
    assert [link["url"] for link in board["links"]] == [
        "http://[fd00::1]:8787/fleet/",
        "http://[fd00::1]:8787/status",
    ]


def test_an_export_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    first = export(tmp_path / "new" / "folder", interval=15)
    assert export(tmp_path / "new" / "folder", interval=15) == first
    theirs = tmp_path / "prometheus.yml"
    theirs.write_text("global: {}\n")
    with pytest.raises(FleetError, match="no export has written it") as refused:
        export(tmp_path)
    assert "another directory" in refused.value.remedy
    assert theirs.read_text() == "global: {}\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["prometheus.yml"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetError, match="file"):
        export(tmp_path / "file" / "below")


def test_the_page_on_monitoring_has_every_alert_and_every_metric_of_ours(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "monitoring.md").read_text(encoding="utf-8")
    files = export(tmp_path, SPEC + "tls: true\n")
    alerts = [rule["alert"] for rule in rules_of(files)]
    assert re.findall(r"^\| `(DaskFleet\w+)` \|", page, re.M) == alerts
    ours = {name for text in expressions(files) for name in re.findall(r"dask_fleet_\w+", text)}
    listed = set(re.findall(r"`(dask_fleet_\w+)`", page))
    assert ours <= listed
