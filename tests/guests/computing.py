"""What a fleet on a host with a kernel of its own says, whichever engine it has."""

from __future__ import annotations

import json
from typing import Any

from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.conftest import SECONDS, Archive

SCHEDULER = "dask-fleet.sst.dask-scheduler"
COMPUTE = """\
import json, sys
from distributed import Client

def work(name):
    import dask.system
    from distributed import get_worker
    with open(f"/cubes/{name}", "w") as file:
        file.write("a cube")
    with open("/proc/self/mounts") as mounts:
        kinds = [line.split()[2] for line in mounts if line.split()[1] == "/cubes"]
    limit = open("/sys/fs/cgroup/memory.max").read().strip()
    return kinds, dask.system.CPU_COUNT, get_worker().memory_manager.memory_limit, limit

with Client("tcp://10.77.0.11:8786", timeout=100) as client:
    print(json.dumps(client.submit(work, sys.argv[1], pure=False).result(timeout=100)))
"""


def writes_by_nfs(lab: Lab, fleet: Contained, archive: Archive, name: str) -> list[Any]:
    """Let a worker write a cube, find it where the archive keeps it; return what else it saw."""
    argv = ["docker", "exec", SCHEDULER, "python", "-c", COMPUTE, name]
    said = lab.scheduler.run(argv, timeout=SECONDS).stdout.splitlines()[-1]
    kinds, *limits = json.loads(said)
    assert kinds == ["nfs4"]
    assert archive.holds(name) == "8786:8786\na cube"
    assert fleet.plan()["empty"]
    return limits
