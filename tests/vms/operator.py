"""The operator of the tests: runs dask-fleet inside the lab's network, as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import Lab

from tests.waiting import first_true

TOOL = str(Path(sys.executable).with_name("dask-fleet"))

FLEET = """\
name: sst
hosts:
  dask-scheduler: {address: 10.77.0.11, ssh: {sudo: true}}
  "dask-worker-[0001-0004]":
    address: 10.77.0.[12-15]
    ssh: {sudo: true}
    memory: 4 GiB
scheduler: {host: dask-scheduler}
workers:
  default:
    hosts: ["dask-worker-[0001-0004]"]
    nthreads: 1
    memory_limit: 1 GiB
    ports: {per: group}
port_range: 9000-9100
"""
"""The set-up by hand, declared: one scheduler VM and four worker VMs, ports 9010 to 9042."""


@dataclass
class Operator:
    """Somebody with a fleet.yaml, a home, and SSH access to the lab's hosts."""

    lab: Lab
    folder: Path
    variables: Mapping[str, str]

    def write(self, text: str = FLEET) -> Path:
        path = self.folder / "fleet.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.lab.environment(), **self.variables}

    def begin(self, *words: str, typing: bool = False, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [TOOL, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE if typing else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def call(
        self,
        *words: str,
        status: int | None = 0,
        timeout: float = 300,
        given: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run dask-fleet; it must end with this status, any if ``None``.

        ``given`` is what it gets on standard input.
        """
        process = self.begin(*words, typing=given is not None)
        try:
            out, err = process.communicate(given, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{words} did not end in {timeout} s\n{out}\n{err}") from None
        if status is not None:
            assert process.returncode == status, f"{words}: {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the inventory by process."""
        value = json.loads(self.call("status", "--json").stdout)
        return {row["name"]: row for row in value["processes"]}

    def states(self) -> dict[str, str]:
        return {name: row["state"] for name, row in self.rows().items()}

    def until_all_run(self, seconds: float) -> dict[str, dict[str, Any]]:
        """Wait until the inventory says that every process runs; no hand but this look."""
        return eventually(
            f"every process runs within {seconds:g} s",
            lambda: rows if all_run(rows := self.rows()) else None,
            seconds,
        )

    def plan(self) -> dict[str, Any]:
        return json.loads(self.call("plan", "--json", status=None).stdout)

    def compute(self) -> str:
        """Let a new client compute on every worker; return what it printed, see `RIGHT`."""
        host = self.lab.scheduler
        path = host.run("ls -d /var/lib/dask-fleet/environments/*/bin/python | head -1").stdout
        address = "ADDRESS=tcp://10.77.0.11:8786"
        argv = ["env", address, path.strip(), "-c", COMPUTE]
        return host.run(argv, timeout=60).stdout.strip()


COMPUTE = """\
import os, socket
from distributed import Client
client = Client(os.environ.get("ADDRESS"), timeout=20)
print(sum(client.gather(client.map(lambda x: x * x, range(200)))))
hosts = client.run(socket.gethostname)
there = client.scheduler_info(n_workers=-1)["workers"]
for address, worker in sorted(there.items(), key=lambda item: item[1]["name"]):
    ports = [end.rpartition(":")[2] for end in (address, worker["nanny"])]
    ports.append(worker["services"]["dashboard"])
    print(worker["name"], "on", hosts[address], *ports, "threads", worker["nthreads"])
"""
"""A client: it computes, lets each worker say its host, and prints what ports each has."""

WORKERS = tuple(f"dask-worker-{number:04d}" for number in range(1, 5))


def right(workers: Sequence[str] = WORKERS, *, nthreads: int = 1) -> str:
    """Return what `COMPUTE` says when these workers are there as declared, and no others."""
    lines = [str(sum(x * x for x in range(200)))]
    for name in workers:
        first = 9000 + 10 * int(name[-4:])
        ports = f"{first} {first + 1} {first + 2}"
        lines.append(f"{name} on {name} {ports} threads {nthreads}")
    return "\n".join(lines)


RIGHT = right()
"""What `COMPUTE` says when everything is as it should be."""


def all_run(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    return len(rows) == 5 and all(row["state"] == "running" for row in rows.values())


def eventually(what: str, look: Callable[[], Any], seconds: float) -> Any:
    """Return the first true answer of ``look``; fail with ``what`` when none comes in time."""
    answer = first_true(look, seconds)
    assert answer, what
    return answer
