"""A simulated fleet: its fleet.yaml, the operator's home, and the process of its servers."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import psutil

from benchmarks.machine import REPOSITORY, Bench
from benchmarks.processes import MeasurementError, begin, end

__all__ = ["Asked", "SimulatedFleet", "fleet_text"]

_START_SECONDS = 90.0
_ANSWER_SECONDS = 30.0
_IN_A_SUBNET = 250


@dataclass(frozen=True)
class Asked:
    """What the servers were asked.

    Attributes
    ----------
    connections, commands : Mapping of str to int
        How many, by the address of the host.
    pages : int
        How often the scheduler's page was read.
    """

    connections: Mapping[str, int]
    commands: Mapping[str, int]
    pages: int


class SimulatedFleet:
    """So many hosts behind SSH that are up as declared.

    Parameters
    ----------
    bench : Bench
        Where it works.
    hosts : int
        How many: the scheduler's, and the others with one worker each.
    port : int
        On which every host's SSH server listens.

    Attributes
    ----------
    directory : Path
        Where fleet.yaml is.
    environ : dict
        The operator's environment: a home that knows the hosts' keys.
    """

    def __init__(self, bench: Bench, hosts: int, port: int) -> None:
        self.hosts = hosts
        self.directory = bench.work / f"simulated-{hosts}"
        home = bench.place / f"home-{hosts}"
        dropped = ("SSH_AUTH_SOCK",)
        kept = {name: value for name, value in bench.environ.items() if name not in dropped}
        self.environ = {**kept, "HOME": str(home)}
        self._process: subprocess.Popen[str] | None = None
        self._write(home / ".ssh", port)

    def _write(self, ssh: Path, port: int) -> None:
        self.directory.mkdir()
        ssh.mkdir(parents=True)
        key = asyncssh.generate_private_key("ssh-ed25519")
        path = self.directory / "key"
        key.write_private_key(path)
        path.chmod(0o600)
        key.write_public_key(path.with_suffix(".pub"))
        text = fleet_text(self.hosts, port, path)
        (self.directory / "fleet.yaml").write_text(text, encoding="utf-8")
        # A line a host, as in the file of somebody who has logged in to each once.
        public = key.export_public_key().decode().strip()
        lines = [f"[{address}]:{port} {public}\n" for address in _addresses(self.hosts)]
        (ssh / "known_hosts").write_text("".join(lines), encoding="utf-8")

    def start(self) -> None:
        """Start the servers; return when all listen."""
        argv = [sys.executable, "-m", "benchmarks.simulation.servers"]
        path = self.directory / "fleet.yaml"
        environ = {**self.environ, "PYTHONPATH": str(REPOSITORY)}
        log = (self.directory / "servers.log").open("w", encoding="utf-8")
        with log:
            process = self._process = begin(
                [*argv, str(path)],
                environ,
                self.directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log.fileno(),
            )
        if self._line(process, _START_SECONDS) != "ready\n":
            said = (self.directory / "servers.log").read_text(encoding="utf-8")[-2000:]
            raise MeasurementError(f"the simulated hosts did not start\n{said}")

    def asked(self) -> Asked:
        """Return what the servers were asked since they started or since the last such call."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write("asked\n")
        process.stdin.flush()
        line = self._line(process, _ANSWER_SECONDS)
        if not line:
            raise MeasurementError("the simulated hosts do not say what they were asked")
        return Asked(**json.loads(line))

    @staticmethod
    def _line(process: subprocess.Popen[str], within: float) -> str:
        """Return the next line of the servers; an empty one if none comes in time."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], within)
        return process.stdout.readline() if ready else ""

    def cpu(self) -> float:
        """Return the seconds of CPU that the servers have used."""
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        """End the servers."""
        if self._process is not None:
            end([self._process])
            self._process = None


def _addresses(hosts: int) -> list[str]:
    """Return the loopback addresses: the scheduler's, then blocks that a range can name."""
    workers = [
        f"127.65.{number // _IN_A_SUBNET}.{number % _IN_A_SUBNET + 1}"
        for number in range(hosts - 1)
    ]
    return ["127.64.0.1", *workers]


def fleet_text(hosts: int, port: int, key: Path) -> str:
    """Return a fleet.yaml of so many hosts, one of them the scheduler's."""
    ssh = f"ssh: {{user: root, port: {port}, identity_file: {key}}}"
    blocks, rest = divmod(hosts - 1, _IN_A_SUBNET)
    whole = blocks * _IN_A_SUBNET
    ranges: list[tuple[str, str]] = []
    if blocks:
        third = f"[0-{blocks - 1}]" if blocks > 1 else "0"
        ranges.append((f"[0001-{whole:04d}]", f"127.65.{third}.[1-{_IN_A_SUBNET}]"))
    if rest:
        ranges.append((f"[{whole + 1:04d}-{hosts - 1:04d}]", f"127.65.{blocks}.[1-{rest}]"))
    workers = "".join(
        f'  "dask-worker-{names}": {{address: "{addresses}", {ssh}}}\n'
        for names, addresses in ranges
    )
    return f"""\
name: simulated
hosts:
  dask-scheduler: {{address: 127.64.0.1, {ssh}}}
{workers}scheduler: {{host: dask-scheduler, port: {port + 1}, dashboard: {port + 2}}}
workers:
  default: {{per_host: 1, nthreads: 2, memory_limit: 4 GiB}}
"""
