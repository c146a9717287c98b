"""What the console costs the scheduler: ``python -m benchmarks.console``.

For 10, 100 and 1,000 simulated workers (`benchmarks.simulation.consoles` says what is real of it)
the scheduler's CPU is measured twice for the same time: with nobody looking, and with ten pages
open. A page is a program here that asks as ``live.js`` does: with the ETag that it has, and again
when the scheduler says so. The pages run in a process of their own, so that only the scheduler
counts. Rounds of both alternate; what is told are medians, and all rounds.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import load_average

__all__ = ["main"]

PAGES = 10
ROUNDS = 3
SECONDS = 15.0
SIZES = (10, 100, 1000)
RESULTS = Path(__file__).parent / "results" / "console.json"


@dataclass
class Page:
    """A page that is open: asks for the state until it is closed."""

    port: int
    late: float
    asked: int = 0
    unchanged: int = 0
    bytes: int = 0
    seconds: list[float] = field(default_factory=list)

    def run(self, closed: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        known, wait = "", self.late
        while not closed.wait(wait):
            began = time.perf_counter()
            headers = {"If-None-Match": known} if known else {}
            connection.request("GET", "/fleet/api/status", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            self.seconds.append(time.perf_counter() - began)
            self.asked += 1
            self.unchanged += answer.status == 304
            self.bytes += len(body)
            known, wait = answer.headers["ETag"], float(answer.headers["Poll-After"])
        connection.close()


class Scheduler:
    """A scheduler with simulated workers, in a process of its own."""

    def __init__(self, workers: int, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.simulation.consoles", str(workers), str(port)]
        self.port = port
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) and line != "ready\n":
            pass

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline())["cpu"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def share(scheduler: Scheduler, pages: list[Page]) -> float:
    """Return the percent of a CPU that the scheduler uses while these pages are open."""
    closed = threading.Event()
    threads = [threading.Thread(target=page.run, args=(closed,)) for page in pages]
    for thread in threads:
        thread.start()
    time.sleep(1.5 if pages else 0.0)
    before, began = scheduler.cpu(), time.perf_counter()
    time.sleep(SECONDS)
    used = scheduler.cpu() - before
    took = time.perf_counter() - began
    closed.set()
    for thread in threads:
        thread.join()
    return 100 * used / took


def measure(workers: int, port: int) -> dict[str, Any]:
    """Return what ten pages cost a scheduler with so many workers."""
    scheduler = Scheduler(workers, port)
    alone: list[float] = []
    watched: list[float] = []
    pages: list[Page] = []
    try:
        time.sleep(5)
        for _ in range(ROUNDS):
            alone.append(share(scheduler, []))
            fresh = [Page(port, i * 0.2) for i in range(PAGES)]
            watched.append(share(scheduler, fresh))
            pages.extend(fresh)
    finally:
        scheduler.close()
    asked = [second for page in pages for second in page.seconds]
    return {
        "workers": workers,
        "pages": PAGES,
        "cpu_alone_percent": alone,
        "cpu_watched_percent": watched,
        "cost_percent": statistics.median(
            with_pages - without for with_pages, without in zip(watched, alone, strict=True)
        ),
        "refresh_ms": {
            "median": 1000 * statistics.median(asked),
            "p99": 1000 * statistics.quantiles(asked, n=100)[98],
        },
        "asked_per_second": sum(page.asked for page in pages) / (ROUNDS * (SECONDS + 1.5)),
        "unchanged": sum(page.unchanged for page in pages),
        "bytes_per_answer": sum(page.bytes for page in pages)
        // max(1, sum(page.asked - page.unchanged for page in pages)),
    }


def main() -> None:
    """Measure, print and write the results."""
    found = [measure(workers, 21900 + 4 * i) for i, workers in enumerate(SIZES)]
    told = {"load_average_after": load_average(), "console": found}
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")
    for one in found:
        print(
            f"{one['workers']:>5} workers, {PAGES} pages: {one['cost_percent']:.2f} % of a CPU"
            f" (alone {statistics.median(one['cpu_alone_percent']):.1f} %), a refresh"
            f" {one['refresh_ms']['median']:.1f} ms, {one['bytes_per_answer'] / 1024:.0f} KiB"
        )


if __name__ == "__main__":
    main()
