"""A fleet of containers on three hosts, as the journeys with Docker and with Podman have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import Host, Lab, default_hosts

from tests.containers.conftest import THREE, Contained
from tests.journeys.steps import step
from tests.vms.conftest import lab_folder
from tests.vms.layers import new_operator, stored_images
from tests.vms.operator import WORKERS, eventually, right

__all__ = ["SECONDS", "UNIT", "Journey", "journey"]

UNIT = "dask-fleet.sst.dask-workers-default"
_LEFT = """\
docker ps --all --format '{{.Names}}'
docker network ls --filter name=sst --format '{{.Name}}'
ls /var/lib/dask-fleet/fleets 2>/dev/null || :
"""
SECONDS = 180
"""Within which everything is back, on a machine that has more to do."""


class Journey(Contained):
    """The operator, and what the fleet is to be at each of its stations."""

    def comes_up(self) -> None:
        """Bring the fleet up on hosts that have an engine with the image and nothing else."""
        self.write(THREE)
        assert "2 workers registered" in self.call("up", "--yes").stdout
        assert self.states() == dict.fromkeys(("dask-scheduler", *WORKERS[:2]), "running")
        assert self.plan()["empty"]

    def computes(self) -> None:
        """Let a new client compute on both workers."""
        assert self.compute() == right(WORKERS[:2])

    def is_back(self) -> None:
        """Wait until all run without a hand, compute, and have nothing to do for an `up`."""
        everything = {"dask-scheduler", *WORKERS[:2]}
        eventually(
            "every process runs",
            lambda: (
                {name for name, state in self.states().items() if state == "running"} >= everything
            ),
            SECONDS,
        )
        eventually("a client computes", lambda: self.compute() == right(WORKERS[:2]), SECONDS)
        assert self.plan()["empty"]

    def leaves_nothing(self) -> None:
        """Take the fleet down, and find nothing of it but its history and its door's accounts."""
        self.call("down", "--yes")
        for host in self.lab.hosts:
            left = host.run(_LEFT).stdout.split()
            assert set(left) <= {"sst.history.jsonl", "sst.door"}, f"{host.name}: {left}"

    def container(self, host: Host, what: str) -> str:
        """Return something of a worker host's container; empty while there is none."""
        inspect = ["docker", "inspect", "-f", what, UNIT]
        return host.run(inspect, check=False).stdout.strip()


@contextmanager
def journey(engine: str, folder: Path) -> Iterator[Journey]:
    """Boot three hosts with an engine that has the image, for one who has no fleet yet."""
    with step("images"):
        images = stored_images(lab_folder(), engine)
    lab = Lab(lab_folder(), default_hosts(3, engine=engine), images=images)
    try:
        with step("boot of three hosts"):
            lab.up(SECONDS)
        operator = new_operator(lab, folder)
        yield Journey(lab, operator.folder, operator.variables)
    finally:
        lab.down()
