"""Fleets behind a door, and a scheduler with jupyter-server-proxy; what asks them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clusters import incarnations
from benchmarks.machine import Bench, free_ports
from benchmarks.processes import MeasurementError, begin, end, timed, wait_until

__all__ = ["PLAIN", "SECURE", "Behind", "Peer", "Rate", "requests", "steady"]

WORKER = "dask-worker-0001"
CONNECTIONS = 8
"""Of wrk, as many as a person's browser and a Prometheus have together."""

PLAIN = "login: none"
SECURE = "tls: fleet, login: users"

_FLEET = """\
name: {name}
tls: {tls}
hosts:
  localhost: {{address: 127.0.0.1}}
scheduler: {{host: localhost, port: {base}, dashboard: {dashboard}}}
workers:
  default:
    hosts: [localhost]
    per_host: 2
    nthreads: 1
    memory_limit: 1 GiB
    ports: {{worker: {worker}, nanny: {nanny}, dashboard: {page}, step: 10}}
door: {{listen: "127.0.0.1:{door}", {more}}}
"""


class Behind:
    """A fleet with a door, as ``dask fleet up`` brings it."""

    def __init__(self, bench: Bench, name: str, door: str) -> None:
        self.bench = bench
        self.name = name
        self.door = door
        self.url = ""
        self.direct = ""
        self.token = ""
        self._file = bench.work / f"{name}.yaml"

    def start(self) -> None:
        """Bring it up; a door with a login gets a token."""
        base = free_ports()
        text = _FLEET.format(
            name=self.name,
            tls="true" if "tls: fleet" in self.door else "false",
            base=base,
            dashboard=base + 1,
            door=base + 2,
            worker=base + 10,
            nanny=base + 11,
            page=base + 12,
            more=self.door,
        )
        self._file.write_text(text, encoding="utf-8")
        self._call("up", "--yes")
        self.url = json.loads(self._call("door", "--json"))["url"]
        self.direct = f"http://127.0.0.1:{base + 12}"
        self.dashboard = base + 1
        self.scheduler = self._call("env", "--address").strip()
        if "login: users" in self.door:
            self.token = self._call("door", "token", "add", "wrk").strip()

    def stop(self) -> None:
        """Take it down."""
        if self._file.exists():
            self._call("down", "--yes", "--break-lease")

    def _call(self, *words: str) -> str:
        argv = [self.bench.tool, *words, "--file", str(self._file)]
        return timed(argv, self.bench.environ, self.bench.work, within=120).out


class Peer:
    """A scheduler and two workers that are started by hand, with jupyter-server-proxy.

    That of the tests' own environment: it brings jupyter-server-proxy, which turns on the proxy
    route of Dask's scheduler.
    """

    name = "jupyter-server-proxy"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.url = self.direct = self.scheduler = ""
        self._started: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Start it, and wait until both workers are registered."""
        base = free_ports()
        self.scheduler, dashboard, page = f"tcp://127.0.0.1:{base}", base + 1, base + 12
        self._begin(
            "scheduler",
            *("--host", "127.0.0.1", "--port", str(base)),
            *("--dashboard-address", f"127.0.0.1:{dashboard}"),
        )
        for number in (0, 1):
            port = base + 10 + 10 * number
            self._begin(
                *("worker", self.scheduler, "--name", f"peer-{number}", "--host", "127.0.0.1"),
                *("--worker-port", str(port), "--nanny-port", str(port + 1)),
                *("--dashboard-address", f"127.0.0.1:{port + 2}", "--nthreads", "1"),
                *("--memory-limit", "1GiB", "--local-directory", str(self.bench.place / "peer")),
            )
        wait_until(lambda: len(incarnations(dashboard)) == 2, 60, "the peer's workers register")
        self.direct = f"http://127.0.0.1:{page}"
        self.url = f"http://127.0.0.1:{dashboard}/proxy/{page}/127.0.0.1"

    def _begin(self, *words: str) -> None:
        argv = [str(Path(sys.executable).with_name("dask")), *words]
        self._started.append(begin(argv, self.bench.environ, self.bench.work))

    def stop(self) -> None:
        """End it."""
        end(reversed(self._started))
        self._started.clear()


@dataclass(frozen=True)
class Rate:
    """What wrk has found: requests a second, and milliseconds that half, and nearly all, took."""

    per_second: float
    median: float
    slowest: float


_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def requests(bench: Bench, url: str, seconds: int, token: str = "") -> Rate:
    """Ask for an address as fast as it answers.

    Raises
    ------
    MeasurementError
        An answer was no 200, or a connection broke.
    """
    argv = [*_wrk(bench, token), "--latency", "-d", f"{seconds}s", url]
    out = timed(argv, bench.environ, bench.work, within=seconds + 30).out
    if "Non-2xx" in out or "Socket errors" in out:
        raise MeasurementError(f"{url}: {out}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    latency = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s))", out))
    if found is None or len(latency) != 2:
        raise MeasurementError(f"wrk says something else: {out}")
    return Rate(float(found[1]), _duration(latency["50"]), _duration(latency["99"]))


def steady(bench: Bench, url: str, rate: int) -> subprocess.Popen[str]:
    """Begin to ask for an address so many times a second; `end` it."""
    script = bench.work / f"every-{rate}.lua"
    # Each connection waits between its requests; what an answer takes comes on top of that.
    script.write_text(f"function delay() return {1000 * CONNECTIONS // rate} end\n")
    argv = [*_wrk(bench, ""), "-s", str(script), "-d", "600s", url]
    return begin(argv, bench.environ, bench.work)


def _wrk(bench: Bench, token: str) -> Sequence[str]:
    argv = ["wrk", "-t", "1", "-c", str(CONNECTIONS)]
    if not token:
        return argv
    # Not in the argv, which everybody on this machine can read.
    script = bench.work / "token.lua"
    script.touch(mode=0o600)
    script.write_text(f'wrk.headers["Authorization"] = "Bearer {token}"\n', encoding="utf-8")
    return [*argv, "-s", str(script)]


def _duration(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * _MILLISECONDS[unit]
