"""A fleet on five booted hosts beside ``SSHCluster`` and beside ``ansible-playbook``."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Mapping

import psutil
from lab import Lab

from benchmarks import peers
from benchmarks.figures import Figures
from benchmarks.machine import WORKERS, Bench, load_average
from benchmarks.playbook import check_recap, write_playbook
from benchmarks.processes import MeasurementError, begin, end, timed, tree, wait_until

__all__ = ["FLEET", "BootedFleet", "measure_noop", "measure_start"]

SHIP_SECONDS = 400.0
START_SECONDS = 120.0
ENVIRONMENTS = "/var/lib/dask-fleet/environments"

FLEET = """\
name: bench
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

_PEERS = {"SSHCluster": "no", "SSHCluster with dashboards": "yes"}
"""dask-fleet's workers have dashboards; those of SSHCluster have them when it is told so."""

_SSH_CLUSTER = """\
import sys
from distributed import Client, SSHCluster
if __name__ == "__main__":
    python, memory, dashboards, *hosts = sys.argv[1:]
    # Without these its workers have no dashboards, and need not import bokeh for them.
    more = {"dashboard": True, "dashboard_address": ":0"} if dashboards == "yes" else {}
    with SSHCluster(
        hosts,
        connect_options={"known_hosts": None},
        worker_options={"nthreads": 1, "memory_limit": memory, **more},
        remote_python=python,
    ) as cluster, Client(cluster) as client:
        client.wait_for_workers(len(hosts) - 1, timeout=100)
        print("ready", flush=True)
        sys.stdin.read()
"""


class BootedFleet:
    """dask-fleet on the hosts of a lab."""

    name = "dask-fleet"

    def __init__(self, bench: Bench, lab: Lab) -> None:
        self.bench, self.lab = bench, lab
        # The operator's home, with its key and configuration, is what the lab has set.
        operator = {name: lab.environment()[name] for name in ("HOME", "PATH", "DASK_FLEET_LAB")}
        self.environ = {**bench.environ, **operator}
        (bench.work / "fleet.yaml").write_text(FLEET, encoding="utf-8")

    def run(self, *words: str, within: float = START_SECONDS) -> tuple[float, str]:
        """Run a command of the tool; return its seconds and what it said."""
        done = timed([self.bench.tool, *words], self.environ, self.bench.work, within=within)
        return done.seconds, done.out

    def up(self, within: float = START_SECONDS) -> tuple[float, str]:
        """Bring it up, or find that it is up; every worker is registered then."""
        seconds, out = self.run("up", "--yes", within=within)
        if f"{WORKERS} workers registered" not in out:
            raise MeasurementError(f"`up` has ended and not {WORKERS} workers are registered")
        return seconds, out

    def down(self) -> None:
        """Leave nothing but the environment."""
        self.run("down", "--yes", "--break-lease")

    @property
    def interpreter(self) -> str:
        """The environment's Python on the hosts, where an `up` has brought it."""
        out = self.lab.scheduler.run(f"ls -d {ENVIRONMENTS}/*/bin/python").stdout.split()
        if len(out) != 1:
            raise MeasurementError(f"there is not one environment on the hosts: {out}")
        return out[0]


def _ssh_cluster(fleet: BootedFleet, interpreter: str, dashboards: str) -> float:
    """Start ``SSHCluster`` on the same hosts; return the seconds until it has all workers."""
    hosts = [host.address for host in fleet.lab.hosts]
    environ = {**fleet.environ, "PYTHONPATH": str(peers.asyncssh_folder())}
    with (fleet.bench.place / "sshcluster.log").open("w+", encoding="utf-8") as log:
        began = time.perf_counter()
        process = begin(
            [fleet.bench.python, "-c", _SSH_CLUSTER, interpreter, "1GiB", dashboards, *hosts],
            environ,
            fleet.bench.work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.fileno(),
        )
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            if not ready or process.stdout.readline() != "ready\n":
                log.seek(0)
                raise MeasurementError(f"SSHCluster did not start\n{log.read()[-2000:]}")
            seconds = time.perf_counter() - began
            # Its own way out first: it closes the workers.
            process.stdin.close()
            psutil.wait_procs(tree(process.pid), timeout=20)
        finally:
            end([process])
    return seconds


def _wait_for_the_end(fleet: BootedFleet, interpreter: str) -> None:
    """Wait until nothing of a peer runs on the hosts: it must not work beside the next round."""
    # The bracket keeps the search from finding itself.
    pattern = f"[/]{interpreter.removeprefix('/')}"
    for host in fleet.lab.hosts:
        wait_until(
            lambda host=host: host.run(["pgrep", "-f", pattern], check=False).returncode == 1,
            START_SECONDS,
            f"what SSHCluster started on {host.name} has ended",
        )


def measure_start(fleet: BootedFleet, rounds: int, *, warm: bool) -> Figures:
    """Measure from hosts with the environment and nothing else to all workers registered."""
    figures = Figures("vms start", "seconds from bare hosts to all workers registered")
    interpreter = fleet.interpreter
    measure = "all workers registered"
    for number in range(-1 if warm else 0, rounds):
        fleet.down()
        load = load_average()
        found: dict[str, float] = {}
        for name, dashboards in _PEERS.items():
            found[name] = _ssh_cluster(fleet, interpreter, dashboards)
            _wait_for_the_end(fleet, interpreter)
        found[fleet.name], _ = fleet.up()
        if number >= 0:
            figures.loads.append(load)
            for name, seconds in found.items():
                figures.add(measure, name, seconds)
    for name in _PEERS:
        figures.ratio(measure, fleet.name, name, 1.0)
    figures.remarks.append(
        f"a scheduler and {WORKERS} workers on five booted hosts, one interpreter for both;"
        " dask-fleet's time is that of the whole command"
    )
    return figures


def measure_noop(fleet: BootedFleet, rounds: int, *, warm: bool) -> Figures:
    """Measure a second `up` beside a playbook that finds nothing to change either."""
    figures = Figures("vms noop", "seconds of a whole command with nothing to do, five hosts")
    fleet.up()
    playbook = write_playbook(fleet.bench.place / "ansible", fleet.lab)
    argv = [str(peers.ansible_playbook()), "site.yml"]
    environ = _ansible_environ(fleet)
    for number in range(-1 if warm else 0, rounds):
        load = load_average()
        ours, said = fleet.up()
        if "nothing to do" not in said:
            raise MeasurementError(f"a second `up` had something to do:\n{said}")
        done = timed(argv, environ, playbook, within=START_SECONDS)
        check_recap(done.out, len(fleet.lab.hosts))
        if number >= 0:
            figures.loads.append(load)
            figures.add("whole command", fleet.name, ours)
            figures.add("whole command", "ansible-playbook", done.seconds)
    figures.ratio("whole command", fleet.name, "ansible-playbook", 1 / 8)
    figures.remarks.append(
        f"{peers.ANSIBLE}, pipelining, connections kept open from round to round, 10 forks, no"
        " facts; unit files and service files compared by content, units enabled and running"
    )
    return figures


def _ansible_environ(fleet: BootedFleet) -> Mapping[str, str]:
    dropped = ("ANSIBLE_", "PYTHON")
    kept = {name: value for name, value in fleet.environ.items() if not name.startswith(dropped)}
    return {**kept, "ANSIBLE_CONFIG": "ansible.cfg", "LC_ALL": "C.UTF-8"}
