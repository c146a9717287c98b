"""Write the figures of the last whole benchmark run into README.md.

``python scripts/figures.py`` after ``make bench``. A test holds README to what this prints, so that
every number there is one that a benchmark printed, beside its peer, in one run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
RESULTS = REPOSITORY / "benchmarks" / "results" / "latest.json"
VMS, DOOR = RESULTS.with_name("vms.json"), RESULTS.with_name("door.json")
CONTAINERS = RESULTS.with_name("containers.json")
BEGIN, END = "<!-- figures: scripts/figures.py -->\n", "<!-- end of figures -->\n"

ROWS = (
    # what, suite, measure, ours, peers as (heading, subject)
    (
        "from nothing to four workers registered, s",
        "start",
        "all workers registered",
        (("LocalCluster", "LocalCluster"), ("by hand", "by hand")),
    ),
    (
        "killed worker registered again, s",
        "recovery",
        "worker killed, registered again",
        (("by hand", "by hand"),),
    ),
    (
        "memory of all processes, MB",
        "memory",
        "total",
        (("LocalCluster", "LocalCluster"), ("by hand", "by hand")),
    ),
    (
        "demo job, its whole process, s",
        "job",
        "whole process",
        (("LocalCluster", "LocalCluster"), ("one process", "one process")),
    ),
    (
        "demo job, computing, s",
        "job",
        "compute",
        (("LocalCluster", "LocalCluster"), ("one process", "one process")),
    ),
)
HEADINGS = ("LocalCluster", "by hand", "one process")


def render() -> str:
    """Return the figures as a table in Markdown."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    lines = [
        f"Medians of {results['rounds']} rounds side by side, {results['cpus']} CPUs, in brackets",
        "dask-fleet's ratio to it; *by hand* is one `dask scheduler` and four `dask worker`.",
        "",
        f"| | dask-fleet | {' | '.join(HEADINGS)} |",
        f"| --- | --- |{' --- |' * len(HEADINGS)}",
    ]
    for what, suite, measure, peers in ROWS:
        medians = {
            one["subject"]: one["median"]
            for one in results["suites"][suite]["measures"]
            if one["measure"] == measure
        }
        ratios = {
            one["to"]: one["median"]
            for one in results["suites"][suite]["ratios"]
            if one["measure"] == measure and one["of"] == "dask-fleet"
        }
        cells = {
            heading: f"{medians[subject]:.3g} ({ratios[subject]:.2f})" for heading, subject in peers
        }
        row = [what, f"{medians['dask-fleet']:.3g}", *(cells.get(one, "") for one in HEADINGS)]
        lines.append(f"| {' | '.join(row)} |")
    noop = next(
        one["median"]
        for one in results["suites"]["noop"]["measures"]
        if one["subject"] == "dask-fleet up --yes"
    )
    lines += ["", f"A second `up` with nothing to do takes {noop:.2f} s.", *_vms(), *_door()]
    lines += _containers()
    return "\n".join(lines) + "\n"


def _vms() -> list[str]:
    """Return what was measured on booted and on simulated hosts."""
    results: dict[str, Any] = json.loads(VMS.read_text(encoding="utf-8"))

    def of(suite: str, measure: str, subject: str) -> float:
        return _median(results, suite, measure, subject)

    start = {
        name: of("vms start", "all workers registered", name)
        for name in ("dask-fleet", "SSHCluster", "SSHCluster with dashboards")
    }
    ours, ansible = (
        of("vms noop", "whole command", name) for name in ("dask-fleet", "ansible-playbook")
    )
    largest = "1,000 hosts"
    up, status = (of("scale", f"{name}, whole command", largest) for name in ("up", "status"))
    memory = of("scale", "up, peak memory", largest)
    return [
        "",
        f"On five booted hosts that share {results['cpus']} CPUs, from bare hosts with the"
        " environment to all workers registered:",
        f"{start['dask-fleet']:.1f} s; `SSHCluster` {start['SSHCluster']:.1f} s, with dashboards on"
        f" its workers as ours have {start['SSHCluster with dashboards']:.1f} s.",
        f"A second `up` takes {ours:.2f} s, `ansible-playbook` with the same checks"
        f" {ansible:.1f} s.",
        f"On {largest}, simulated on the same CPUs, it takes {up:.1f} s and {memory:.0f} MB, and"
        f" `status` {status:.1f} s.",
    ]


def _door() -> list[str]:
    """Return what was measured of the door; nothing until it has been."""
    if not DOOR.exists():
        return []
    results: dict[str, Any] = json.loads(DOOR.read_text(encoding="utf-8"))

    def rate(path: str, way: str) -> str:
        seconds = _median(results, "door requests", f"{path}, 1,000 requests", way)
        return f"{1000 / seconds:,.0f}"

    routes = _median(results, "door routes", "all of it", "1,000 workers")
    ways = ("direct", "door", "door, TLS and token", "jupyter-server-proxy")
    health, metrics = ([rate(path, way) for way in ways] for path in ("/health", "/metrics"))
    return [
        "",
        "Requests a second to one worker: straight, through the door, through the door with TLS",
        "and a token, and through jupyter-server-proxy:",
        f"its health {', '.join(health[:-1])} and {health[-1]}; its metrics"
        f" {', '.join(metrics[:-1])} and {metrics[-1]},",
        "for the door keeps them for a second.",
        f"The routes to 1,000 workers are written, checked and loaded by nginx in {routes:.2f} s.",
    ]


def _containers() -> list[str]:
    """Return what was measured of images on their way to hosts; nothing until it has been."""
    if not CONTAINERS.exists():
        return []
    results: dict[str, Any] = json.loads(CONTAINERS.read_text(encoding="utf-8"))
    ways = ("dask-fleet", "docker save | ssh docker load", "a build on each host")

    def row(what: str) -> str:
        cells = [
            f"{_median(results, suite, f'{what}, whole command', way):.1f} s,"
            f" {_median(results, suite, f'{what}, received by all', way):,.1f} MB"
            for way in ways
        ]
        return " | ".join(cells)

    suite = "containers delivery"
    return [
        "",
        "An image to four booted hosts, seconds of the command and bytes that all receive:",
        "",
        "| | dask-fleet | `docker save` to each | a build on each |",
        "| --- | --- | --- | --- |",
        f"| the first time | {row('first')} |",
        f"| one layer changed | {row('one layer')} |",
    ]


def _median(results: dict[str, Any], suite: str, measure: str, subject: str) -> float:
    (found,) = (
        one["median"]
        for one in results["suites"][suite]["measures"]
        if (one["measure"], one["subject"]) == (measure, subject)
    )
    return found


def written(text: str) -> str:
    """Return README's text with the figures in their place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + render() + END + after


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    print("wrote the figures into README.md")
