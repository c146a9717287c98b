"""A fleet that computes, and a Prometheus that watches it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.integration.conftest import Desk, eventually, fleet_text, free_ports, make_desk
from tests.integration.prometheus import PATIENCE, Prometheus, prometheus

__all__ = ["PROCESSES", "WORKERS", "Watched", "computing", "stopped", "watching"]

WORKERS = ["dask-worker-0001", "dask-worker-0002"]
PROCESSES = ["dask-scheduler", *WORKERS]

#: Computes, moves data, spills and fails until its input ends; it keeps what it has made.
COMPUTATION = """\
import os, sys, threading
import dask.array as da
from distributed import Client, wait

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

with Client(timeout=60) as client:
    failed = client.submit(lambda: 1 / 0)
    kept = client.map(lambda number: os.urandom(20 << 20), range(40), pure=False)
    wait([failed, *kept], timeout=120)
    assert [one.status for one in kept] == ["finished"] * len(kept)
    assert failed.status == "error"
    print("kept", flush=True)
    rounds = 0
    while not ended.wait(0.2):
        rounds += 1
        x = da.random.default_rng(rounds).normal(size=(2000, 2000), chunks=250)
        (x + x.T).mean(axis=0).std().compute()
    print("rounds", rounds, flush=True)
"""


@dataclass(frozen=True)
class Watched:
    """A fleet that a Prometheus watches."""

    desk: Desk
    export: Path
    prometheus: Prometheus

    @property
    def rules(self) -> list[dict[str, Any]]:
        (group,) = yaml.safe_load((self.export / "rules.yml").read_text())["groups"]
        return group["rules"]

    def pid(self, name: str) -> int:
        return self.desk.rows()[name]["pid"]


@contextlib.contextmanager
def watching(*, through: bool) -> Iterator[Watched]:
    """Watch a fleet: each process by itself, or all through a door with TLS and login."""
    with make_desk() as desk:
        base = free_ports(60)
        door = f"door: {{listen: {base + 5}, tls: fleet, login: users}}\n" if through else ""
        text = fleet_text("watched", base, workers=len(WORKERS), more=f"tls: true\n{door}")
        desk.declare(text.replace("1 GiB", "600 MiB"))
        desk.call("up", "--yes")
        export = desk.directory / "monitoring"
        said = desk.call("monitoring", "export", str(export), "--interval", "1").out
        if through:
            token = export / "prometheus.token"
            assert f"wanted {token}: a token: `dask fleet door token add prometheus" in said
            token.write_text(desk.call("door", "token", "add", "prometheus").out)
        with prometheus(export) as one:
            yield Watched(desk, export, one)


@contextlib.contextmanager
def computing(watched: Watched) -> Iterator[None]:
    """Compute on the fleet meanwhile."""
    desk = watched.desk
    script, log = desk.directory / "computation.py", desk.directory / "computation.log"
    script.write_text(COMPUTATION, encoding="utf-8")
    desk.call("client-config", str(desk.directory / "client"))
    with log.open("w") as output:
        process = subprocess.Popen(
            [desk.call("env", "--python").out.strip(), str(script)],
            cwd=desk.directory,
            env={**os.environ, "DASK_CONFIG": str(desk.directory / "client")},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(
            lambda: "kept" in log.read_text() or process.poll() is not None,
            within=120,
            what="results are kept",
        )
        assert process.poll() is None, log.read_text()
        yield
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
