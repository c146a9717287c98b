"""A fleet on an engine that is a login's own, without root: what is the same, whichever it is."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from lab import Host, Lab
from lab.network import GATEWAY

from tests.containers.conftest import Contained
from tests.guests.conftest import SECONDS
from tests.integration.door import Knocker
from tests.journeys.steps import step
from tests.podman.test_podman import back
from tests.vms.layers import IMAGE, new_operator
from tests.vms.operator import eventually

HOME = "/home/operator"
FOLDER = f"{HOME}/fleet"
PROCESSES = {"dask-scheduler", "dask-worker-0001"}
DOOR = "http://10.77.0.20"
FLEET = f"""\
name: own
hosts:
  dask-scheduler: {{address: 10.77.0.11}}
  archive: {{address: 10.77.0.20, ssh: {{sudo: true}}}}
scheduler: {{host: dask-scheduler, port: 8796, dashboard: 8797}}
workers:
  default:
    hosts: [dask-scheduler]
    per_host: 1
    nthreads: 1
    memory_limit: 1 GiB
    ports: {{worker: 9110, nanny: 9111, dashboard: 9112}}
runtime: compose
environment: {{build: image, build_on: archive}}
containers: {{rootless: {FOLDER}, limit_cpus: true, volumes: ["{HOME}/cubes:/cubes"]}}
door: {{host: archive, login: none}}
"""

_SPARED = """
*perl* *icu* *systemd* gconv libLLVM* xtables security engines* test tests lib2to3 idlelib
pydoc_data zoneinfo ensurepip pandas* numpy* bokeh* narwhals contourpy* PIL pillow* dataframe array
"""
"""What is not needed here, and takes time where each instruction is translated."""
_KEPT = """
bin sbin lib lib64 etc/passwd etc/group etc/ld.so.cache usr/bin/python3 usr/bin/python3.11
usr/bin/dash usr/bin/sh usr/bin/env usr/lib/x86_64-linux-gnu usr/lib/python3.11 usr/lib64 var
"""
_WITHOUT = " ".join(f"--exclude=*/{one}" for one in _SPARED.split())
_IMAGE = f"""\
FROM {IMAGE} AS whole
RUN mkdir /small && tar -C / -c {_WITHOUT} {" ".join(_KEPT.split())} | \\
  tar -x -C /small && ln -s /var/lib/dask-fleet/environments/* /small/env
FROM scratch
COPY --from=whole /small /
ENV PATH=/env/bin:/usr/bin
"""

_COMPUTE = """\
import json
from distributed import Client

def work():
    import os, dask.system
    from distributed import get_worker
    with open("/cubes/sst", "w") as file:
        file.write("a cube")
    limit = get_worker().memory_manager.memory_limit
    return dask.system.CPU_COUNT, limit, int(open("/sys/fs/cgroup/memory.max").read())

with Client("tcp://10.77.0.11:8796", timeout=100) as client:
    print(json.dumps(client.submit(work, pure=False).result(timeout=100)))
"""


class Own(Contained):
    """The operator of a fleet on the engine of the login itself."""

    @property
    def host(self) -> Host:
        return self.lab.scheduler

    def logged_in(self, script: str, *, timeout: float = SECONDS) -> str:
        """Return what a script says that the login runs on the host, by SSH."""
        ssh = [str(self.lab.home.path / "bin" / "ssh"), "-o", "ConnectTimeout=60"]
        argv = [*ssh, self.host.name, shlex.join(["sh", "-euc", script])]
        return self.lab.network.call(argv, timeout=timeout).stdout

    def computed(self) -> list[Any]:
        """Let a client have the worker write a cube; return what the worker saw."""
        self.host.run(["tee", "/tmp/compute.py"], text=_COMPUTE)
        inside = "docker exec -i dask-fleet.own.dask-scheduler python - </tmp/compute.py"
        return json.loads(self.logged_in(inside).splitlines()[-1])

    def faults(self) -> list[str]:
        """Return what the plan refuses the host for."""
        said = self.call("plan", status=None, timeout=SECONDS)
        return [line for line in said.stderr.splitlines() if line.startswith("error:")]


def own_fleet(lab: Lab, folder: Path) -> Own:
    """Return the operator of a fleet that is declared, and of which nothing is there."""
    one = new_operator(lab, folder)
    own = Own(lab, one.folder, one.variables)
    own.write(FLEET)
    (folder / "image").mkdir()
    (folder / "image" / "Dockerfile").write_text(_IMAGE, encoding="utf-8")
    return own


def is_refused_until_it_starts_at_boot(own: Own, unit: str) -> None:
    """Have the login's systemd not start its engine, see that the fleet is refused, mend it."""
    own.logged_in(f"systemctl --user disable {unit}")
    own.host.run("loginctl disable-linger operator")
    first, second = own.faults()
    assert "the engine there ends when operator logs out" in first
    assert "containers would not start there when the host boots" in second
    own.logged_in(f"systemctl --user enable {unit}")
    own.host.run("loginctl enable-linger operator")
    assert own.faults() == []


def comes_up(own: Own) -> None:
    """Bring the fleet up, and look at it in every way."""
    with step("up"):
        said = own.call("up", "--yes", timeout=2 * SECONDS).stdout
    assert "1 worker registered" in said
    assert "dask-scheduler: sending" in said
    assert own.plan()["empty"]
    with step("compute"):
        cpus, limit, most = own.computed()
    assert (cpus, limit, most) == (1, 2**30, 2**30 + 512 * 2**20)
    rows = {name: row for name, row in own.rows().items() if name in PROCESSES}
    assert set(rows) == PROCESSES
    assert {row["state"] for row in rows.values()} == {"running"}
    # Nothing of it is anybody else's, on the host as in its containers.
    pids = " ".join(str(row["pid"]) for row in rows.values())
    status = own.host.run(f"for pid in {pids}; do grep -E '^(Uid|CapEff)' /proc/$pid/status; done")
    assert set(status.stdout.split("\n")) == {
        "Uid:\t1000\t1000\t1000\t1000",
        "CapEff:\t0000000000000000",
        "",
    }
    assert own.host.run(f"find {FOLDER} {HOME}/cubes ! -user operator").stdout == ""
    assert own.host.run(f"cat {HOME}/cubes/sst").stdout == "a cube"
    assert own.host.run(f"stat -c %a {FOLDER}/fleets").stdout == "700\n"
    for path in ("/health", "/w/dask-worker-0001/health", "/w/dask-worker-0001/metrics"):
        assert (path, Knocker(DOOR, source=GATEWAY).ask(path).status) == (path, 200)
    assert "Starting established connection" in own.call("logs", "dask-worker-0001").stdout
    with step("doctor"):
        report = json.loads(own.call("doctor", "--json", timeout=SECONDS).stdout)
    errors = [one["fault"] for one in report["findings"] if one["severity"] == "error"]
    assert errors == [], errors


def comes_back(own: Own) -> None:
    """Boot the host, and see that all of the fleet is back without a hand."""
    before = own.host.boot_id
    own.host.run(["systemctl", "reboot"], check=False)
    with step("the host is back"):
        eventually("the host is back", lambda: back(own.host, before), SECONDS)

    def running() -> bool:
        states = own.states()
        return set(states) >= PROCESSES and set(states.values()) == {"running"}

    with step("scheduler and worker run"):
        eventually("scheduler and worker run", running, SECONDS)
    assert own.computed()[0] == 1
    assert own.plan()["empty"]


def goes_away(own: Own) -> None:
    """Take the fleet down, and find nothing of it."""
    with step("down"):
        own.call("down", "--yes", timeout=SECONDS)
    assert own.logged_in("docker ps --all --quiet") == ""
    left = own.host.run(f"find {FOLDER} -mindepth 2 ! -name own.history.jsonl ! -name own.lease*")
    assert left.stdout == "", left.stdout
