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
    lines += ["", f"A second `up` with nothing to do takes {noop:.2f} s."]
    return "\n".join(lines) + "\n"


def written(text: str) -> str:
    """Return README's text with the figures in their place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + render() + END + after


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    print("wrote the figures into README.md")
