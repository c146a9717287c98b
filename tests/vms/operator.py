"""The operator of the tests: runs dask-fleet inside the lab's network, as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import Lab

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

    def begin(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [TOOL, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def call(
        self, *words: str, status: int | None = 0, timeout: float = 150
    ) -> subprocess.CompletedProcess[str]:
        """Run dask-fleet; it must end with this status, any if ``None``."""
        process = self.begin(*words)
        try:
            out, err = process.communicate(timeout=timeout)
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
        """Let a new client compute on every worker; return what it printed."""
        host = self.lab.scheduler
        python = "/var/lib/dask-fleet/environments/*/bin/python"
        code = (
            "import os; from distributed import Client\n"
            "c = Client(os.environ['ADDRESS'], timeout=20)\n"
            "there = c.scheduler_info(n_workers=-1)['workers'].values()\n"
            "names = sorted(worker['name'] for worker in there)\n"
            "total = sum(c.gather(c.map(lambda x: x * x, range(200))))\n"
            "print(total, *names)\n"
        )
        path = host.run(f"ls -d {python} | head -1").stdout.strip()
        return host.run(
            ["env", "ADDRESS=tcp://10.77.0.11:8786", path, "-c", code], timeout=60
        ).stdout.strip()


WORKERS = tuple(f"dask-worker-{number:04d}" for number in range(1, 5))
RIGHT = " ".join((str(sum(x * x for x in range(200))), *WORKERS))
"""What `Operator.compute` says when everything is as it should be."""


def all_run(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    return len(rows) == 5 and all(row["state"] == "running" for row in rows.values())


def eventually(what: str, look: Callable[[], Any], seconds: float) -> Any:
    """Return the first true answer of ``look``; fail with ``what`` when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
