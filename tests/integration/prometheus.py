"""A real Prometheus, Debian's, that watches a fleet as it was told to by an export."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.conftest import eventually, free_ports

__all__ = ["Board", "Prometheus", "missing_data", "prometheus", "values_of_rules"]

PATIENCE = 120.0


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs."""

    url: str
    log: Path

    def ask(self, path: str, **parameters: str | list[str]) -> Any:
        """Return what its API answers."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=60) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression now."""
        return self.ask("query", query=expression)["result"]

    def targets(self) -> dict[str, dict[str, Any]]:
        """Return what is scraped, by name of process."""
        found = self.ask("targets", state="active")["activeTargets"]
        by_name = {target["labels"]["instance"]: target for target in found}
        assert len(by_name) == len(found), found
        return by_name

    def health(self) -> dict[str, str]:
        """Return whether each process is reached."""
        return {name: target["health"] for name, target in self.targets().items()}

    def firing(self, alert: str) -> list[dict[str, str]]:
        """Return the labels of each alert of that name that fires."""
        return [
            one["labels"]
            for one in self.ask("alerts")["alerts"]
            if one["labels"]["alertname"] == alert and one["state"] == "firing"
        ]

    def values(self, label: str, metric: str) -> list[str]:
        """Return the values of a label, as Grafana asks for them."""
        series = self.ask("series", **{"match[]": metric})
        return sorted({one[label] for one in series if label in one})


@contextlib.contextmanager
def prometheus(export: Path) -> Iterator[Prometheus]:
    """Run a Prometheus with what ``dask fleet monitoring export`` has written."""
    port = free_ports(1)
    log = export / "prometheus.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={export / 'prometheus.yml'}",
                f"--storage.tsdb.path={export / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    one = Prometheus(f"http://127.0.0.1:{port}", log)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{one.url}/-/ready", timeout=60) as response:
                return response.status == 200
        except OSError:
            return False

    try:
        eventually(ready, within=PATIENCE, what="Prometheus is ready")
        yield one
        assert process.poll() is None, log.read_text()
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Board:
    """An exported dashboard, asked as Grafana would ask for its panels."""

    content: dict[str, Any]
    window: str

    @classmethod
    def of(cls, export: Path, window: str) -> Board:
        return cls(json.loads((export / "dashboard.json").read_text(encoding="utf-8")), window)

    def variables(self, prometheus: Prometheus) -> dict[str, list[str]]:
        """Return the values of each variable that Prometheus gives, each in turn."""
        found: dict[str, list[str]] = {}
        chosen: dict[str, str] = {}
        for one in self.content["templating"]["list"]:
            if one["type"] != "query":
                continue
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", one["definition"])
            assert match is not None, one["definition"]
            metric = self._filled(match[1], chosen)
            found[one["name"]] = prometheus.values(match[2], metric)
            chosen[one["name"]] = one.get("allValue") or one["current"]["value"]
        return found

    def queries(self) -> dict[str, str]:
        """Return the query of each panel by title and letter, for all workers of the fleet."""
        chosen = {
            one["name"]: one.get("allValue") or one["current"]["value"]
            for one in self.content["templating"]["list"]
            if one["type"] == "query"
        }
        return {
            f"{row}: {panel['title']} {target['refId']}": self._filled(target["expr"], chosen)
            for row, panel in self._panels()
            for target in panel["targets"]
        }

    def _panels(self) -> Iterator[tuple[str, dict[str, Any]]]:
        row = ""
        for panel in self.content["panels"]:
            if panel["type"] == "row":
                row = panel["title"]
            else:
                yield row, panel

    def _filled(self, text: str, chosen: dict[str, str]) -> str:
        text = text.replace("$__rate_interval", self.window)
        for name, value in chosen.items():
            text = text.replace(f"${name}", value)
        assert "$" not in text, text
        return text


def values_of_rules(rules: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return what each alert looks at, by its name: its expression without the limit."""
    found: dict[str, str] = {}
    for rule in rules:
        match = re.fullmatch(r"(.+) (?:==|<|>) [\d.]+(?: \* [\d.]+)*", rule["expr"])
        assert match is not None, rule["expr"]
        found[rule["alert"]] = match[1]
    return found


def missing_data(prometheus: Prometheus, queries: dict[str, str], within: float) -> None:
    """Wait until each query has had data at least once; fail with those that never had."""
    without = dict(queries)

    def all_answered() -> bool:
        for title, expression in list(without.items()):
            samples = prometheus.query(expression)
            # A rate over nothing is not a number, which draws nothing.
            if any(sample["value"][1] != "NaN" for sample in samples):
                del without[title]
        return not without

    try:
        eventually(all_answered, within=within, what="every query has data")
    finally:
        assert not without, without
