"""A fleet that is up, and a computation on it that works or rests as a test tells it to."""

from __future__ import annotations

import http.client
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.browser import PATIENCE
from tests.integration.conftest import Desk, eventually

LONGEST = 900
"""Seconds after which the computation ends by itself."""

#: Runs in the fleet's own Python. Orders come line by line: `work`, `work WORKER`, `rest`.
COMPUTATION = """\
import queue, sys, threading, time
import dask.array as da
from distributed import Client

orders = queue.Queue()

def listen():
    for line in sys.stdin:
        orders.put(line.split())
    orders.put(["end"])

threading.Thread(target=listen, daemon=True).start()
deadline = time.monotonic() + float(sys.argv[1])
order, rounds = ["work"], 0
with Client(timeout=60) as client:
    while order != ["end"] and time.monotonic() < deadline:
        if order == ["rest"]:
            print("rests", flush=True)
            order = orders.get(timeout=max(0, deadline - time.monotonic()))
            continue
        rounds += 1
        x = da.random.default_rng(rounds).normal(size=(4000, 4000), chunks=500)
        spread = client.compute((x + x.T).mean(axis=0).std(), workers=order[1:] or None)
        print("found", spread.result(timeout=120), flush=True)
        if not orders.empty():
            order = orders.get()
"""


@dataclass(frozen=True)
class Fleet:
    """The fleet that all tests of this module look at."""

    desk: Desk
    rows: dict[str, dict[str, Any]]

    def url(self, name: str) -> str:
        port = self.rows[name]["ports"]["dashboard"]
        return f"http://127.0.0.1:{port}"

    def get(self, name: str, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        """Ask a dashboard for a path, exactly as it is written; no redirect is followed."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.rows[name]["ports"]["dashboard"], timeout=PATIENCE
        )
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()


@dataclass
class Computation:
    """A computation on the fleet that works or rests as it is told."""

    process: subprocess.Popen[str]
    log: Path

    def work(self, worker: str = "") -> None:
        """Compute on all workers, or on one alone, until the next order."""
        self._order(f"work {worker}\n")

    def rest(self) -> None:
        """Compute nothing, until the next order; what runs is finished first."""
        rests = self._said("rests")
        self._order("rest\n")
        eventually(lambda: len(self._said("rests")) > len(rests), within=PATIENCE, what="a rest")

    def results(self) -> list[float]:
        return [float(line.split()[1]) for line in self._said("found")]

    def _order(self, line: str) -> None:
        assert self.process.poll() is None, f"the computation has ended: {self.log.read_text()}"
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def _said(self, word: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(word)]


@contextmanager
def computing(fleet: Fleet) -> Iterator[Computation]:
    """Start the computation at the desk of a fleet; it must have been right when it ends."""
    desk = fleet.desk
    script = desk.directory / "computation.py"
    script.write_text(COMPUTATION, encoding="utf-8")
    python = desk.call("env", "--python").out.strip()
    address = desk.call("env", "--address").out.strip()
    environment = {**os.environ, "DASK_SCHEDULER_ADDRESS": address}
    argv = [python, str(script)]
    with computed(argv, desk.directory / "computation.log", environment) as one:
        yield one


@contextmanager
def computed(
    argv: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    longest: float = LONGEST,
) -> Iterator[Computation]:
    """Start the computation by an argv, to which its longest time in seconds is added.

    It must have been right when it ends.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            [*argv, str(longest)],
            cwd=log.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    one = Computation(process, log)
    try:
        # The first round is slow: each worker imports what the tasks need.
        eventually(lambda: one.results() or process.poll() is not None, within=240, what="a round")
        yield one
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, log.read_text()
        # The sum of two normal variables of variance 1 has the variance 2; a mean of 4,000, 2/4000.
        assert one.results() == pytest.approx([(2 / 4000) ** 0.5] * len(one.results()), rel=0.15)
    finally:
        process.kill()
        process.wait()
