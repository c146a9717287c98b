"""Measure how an image comes to four hosts, beside `docker save` and a build on each; write JSON.

Run it in the lab's network, ``python -m lab --engine run -- .venv/bin/python -m
benchmarks.containers``. The operator's engine is that of the scheduler's host. Exit status: as that
of ``python -m benchmarks``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.__main__ import Run, main
from benchmarks.booted import FLEET
from benchmarks.figures import Figures
from benchmarks.machine import REPOSITORY, Bench, load_average
from benchmarks.processes import MeasurementError, timed

if TYPE_CHECKING:
    from lab import Host, Lab

BASE = "example.org/base:1"
SECONDS = 300.0
PACKAGES = ("dask", "distributed", "numpy", "pandas", "bokeh", "tornado", "msgpack")
DOCKERFILE = f"""\
FROM {BASE}
COPY packages /opt/packages
COPY own /opt/own
"""
# An image that another was made of goes after that one.
_FORGET = """\
for _ in 1 2 3 4 5 6 7 8; do
  images=$(docker image ls -aq | sort -u)
  if [ -z "$images" ]; then exit 0; fi
  docker image rm -f $images >/dev/null 2>&1 || true
done
docker image ls -a
exit 1
"""
OURS, SAVED, BUILT = "dask-fleet", "docker save | ssh docker load", "a build on each host"

# What Debian's Python needs; there is no registry whose base image could be had.
_IMPORT = """\
tar -C / --exclude=usr/share --exclude='usr/bin/*docker*' \\
  --exclude='usr/bin/containerd*' --exclude=usr/sbin/dockerd -c bin sbin lib lib64 usr etc/passwd |
docker import - "$1"
"""


class Delivery:
    """The hosts, the operator's engine, and the folder that images are built of.

    Parameters
    ----------
    bench : Bench
        Where it works.
    lab : Lab
        Hosts with engines.
    """

    def __init__(self, bench: Bench, lab: Lab) -> None:
        self.lab = lab
        self.folder = bench.work
        self.context = bench.work / "image"
        self.cache = bench.place / "cache"
        client = bench.place / "bin" / "docker"
        client.parent.mkdir()
        client.symlink_to(lab.base / "usr/bin/docker")
        operator = {name: lab.environment()[name] for name in ("HOME", "PATH", "DASK_FLEET_LAB")}
        self.environ = {
            **bench.environ,
            **operator,
            "PATH": f"{client.parent}:{operator['PATH']}",
            "DOCKER_HOST": f"unix:///proc/{lab.scheduler.pid}/root/run/docker.sock",
            "XDG_CACHE_HOME": str(self.cache),
            "PYTHONPATH": str(REPOSITORY),
        }
        fleet = FLEET + "runtime: compose\nenvironment: {build: image/}\n"
        (bench.work / "fleet.yaml").write_text(fleet, encoding="utf-8")
        self._fill(Path(bench.python).parents[1])

    def _fill(self, environment: Path) -> None:
        self.context.mkdir()
        (self.context / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
        (site,) = environment.glob("lib/python3.*/site-packages")
        for name in PACKAGES:
            shutil.copytree(site / name, self.context / "packages" / name, symlinks=True)
        shutil.copytree(REPOSITORY / "src" / "dask_fleet", self.context / "own" / "dask_fleet")
        self.lab.scheduler.run(["sh", "-euc", _IMPORT, "import", BASE], timeout=SECONDS)

    def change(self, mark: str) -> None:
        """Change one layer: one file of the code that users write themselves."""
        (self.context / "own" / "mark").write_text(mark, encoding="utf-8")

    def run(self, *argv: str) -> float:
        """Run a command of the operator; return its seconds."""
        return timed(argv, self.environ, self.folder, within=SECONDS).seconds

    def build(self) -> str:
        """Build the image on the operator's engine; return its name. Nobody counts that time."""
        tool = str(Path(sys.executable).with_name("dask-fleet"))
        done = timed((tool, "image", "build", "--json"), self.environ, self.folder, within=SECONDS)
        return str(json.loads(done.out)["image"])

    def forget(self, host: Host) -> None:
        """Leave no image and no layer on a host."""
        host.run(_FORGET, timeout=SECONDS)

    def received(self) -> int:
        """Return how many bytes all worker hosts have received so far."""
        total = 0
        for host in self.lab.workers:
            path = "/sys/class/net/host0/statistics/rx_bytes"
            total += int(host.run(["cat", path]).stdout)
        return total

    # -- three ways --------------------------------------------------------------------------

    def ours(self, image: str) -> float:
        """Bring it as an `up` does."""
        del image
        names = [host.name for host in self.lab.workers]
        return self.run(sys.executable, "-m", "benchmarks.deliver", *names)

    def saved(self, image: str) -> float:
        """Send it whole to each host, to all at once."""
        return self._each(f"docker save {image} | ssh %s sudo docker load -q")

    def built(self, image: str) -> float:
        """Build it on each host, all at once; the base is sent where it is missing."""
        has = "sudo docker image inspect " + BASE + " >/dev/null 2>&1"
        base = f"ssh %s '{has}' || docker save {BASE} | ssh %s sudo docker load -q; "
        build = f"tar -C image -c . | ssh %s sudo docker build -q -t {image} -"
        return self._each(base + build)

    def _each(self, line: str) -> float:
        lines = [f"({line.replace('%s', host.name)}) &" for host in self.lab.workers]
        waits = [f"wait $pid{number} || exit 1" for number in range(len(lines))]
        begin = [f"{line} pid{number}=$!" for number, line in enumerate(lines)]
        return self.run("bash", "-o", "pipefail", "-c", "\n".join((*begin, *waits)))

    def check(self, image: str) -> None:
        """Make sure that all hosts have it."""
        for host in self.lab.workers:
            if host.run(["docker", "image", "inspect", image], check=False).returncode:
                raise MeasurementError(f"{host.name} has not got {image}")


def measure(delivery: Delivery, rounds: int, *, warm: bool) -> Figures:
    """Measure the first delivery and that of one changed layer, by each of the three ways."""
    figures = Figures("containers delivery", "an image to four hosts that share the CPUs")
    ways: dict[str, Callable[[str], float]] = {
        OURS: delivery.ours,
        SAVED: delivery.saved,
        BUILT: delivery.built,
    }
    for number in range(-1 if warm else 0, rounds):
        load = load_average()
        for way, bring in ways.items():
            for host in delivery.lab.workers:
                delivery.forget(host)
            shutil.rmtree(delivery.cache, ignore_errors=True)
            for what in ("first", "one layer"):
                delivery.change(f"{number} {way} {what}")
                image = delivery.build()
                before = delivery.received()
                seconds = bring(image)
                size = (delivery.received() - before) / 1e6
                delivery.check(image)
                if number >= 0:
                    figures.add(f"{what}, whole command", way, seconds)
                    figures.add(f"{what}, received by all", way, size, "MB")
        if number >= 0:
            figures.loads.append(load)
    for what in ("first", "one layer"):
        for measure_ in ("whole command", "received by all"):
            for peer in (SAVED, BUILT):
                figures.ratio(f"{what}, {measure_}", OURS, peer)
    figures.remarks.append(
        "a base of Debian, a layer of packages and one of code; the image is on the operator's"
        " engine before; peers send to all hosts at once; a build on each host gets the base by"
        " docker save where it is missing"
    )
    return figures


class ContainersRun(Run):
    """One run of the suite on booted hosts with engines."""

    suites = ("containers delivery",)
    file = "containers.json"
    program = "python -m benchmarks.containers"
    quickly = "one round, no warm-up"

    def everything(self, bench: Bench) -> None:
        """Measure; nothing is left on the hosts, for they go."""
        self.attempt(self.suites[0], lambda: [self._booted(bench)])

    def _booted(self, bench: Bench) -> Figures:
        from lab import Lab, LabError, default_hosts

        folder = os.environ.get("DASK_FLEET_LAB")
        if not folder or not Lab(Path(folder), 1).network.inside:
            raise MeasurementError("not in the lab's network: python -m lab --engine run -- ...")
        try:
            with Lab(Path(folder), default_hosts(5, engine="docker")) as lab:
                return measure(Delivery(bench, lab), self.rounds, warm=not self.quick)
        except (LabError, subprocess.SubprocessError) as error:
            raise MeasurementError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main(ContainersRun))
