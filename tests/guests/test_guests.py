"""What needs a kernel: file systems of the network, control groups of version 2, a reboot."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from lab import Host, Lab, LabError

from tests.containers.conftest import Contained
from tests.guests.conftest import SECONDS, Archive
from tests.vms.operator import eventually

pytestmark = pytest.mark.timeout(3 * SECONDS)

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


def computed(lab: Lab, name: str) -> list[Any]:
    """Let a client have a worker write a cube; return what the worker saw."""
    argv = ["docker", "exec", SCHEDULER, "python", "-c", COMPUTE, name]
    return json.loads(lab.scheduler.run(argv, timeout=SECONDS).stdout.splitlines()[-1])


def all_is_back(lab: Lab, fleet: Contained, archive: Archive, name: str) -> None:
    """Wait until the whole fleet runs, and let it compute."""

    def running() -> bool:
        states = fleet.states()
        return len(states) == 2 and set(states.values()) == {"running"}

    eventually("scheduler and worker run", running, SECONDS)
    assert fleet.plan()["empty"]
    assert computed(lab, name)[0] == ["nfs4"]
    assert archive.holds(name) == "8786:8786\na cube"


def booted_since(host: Host, before: str) -> bool:
    with suppress(LabError):
        return host.is_on and host.answers and host.boot_id != before
    return False


def test_a_volume_is_mounted_by_nfs(lab: Lab, fleet: Contained, archive: Archive):
    kinds, *_ = computed(lab, "sst")
    assert kinds == ["nfs4"]
    assert archive.holds("sst") == "8786:8786\na cube"
    assert fleet.plan()["empty"]


def test_dask_sees_the_limits_under_control_groups_of_version_2(lab: Lab, fleet: Contained):
    assert lab.scheduler.run("stat -fc %T /sys/fs/cgroup").stdout == "cgroup2fs\n"
    assert int(lab.scheduler.run("nproc").stdout) == 2
    _, cpus, limit, most = computed(lab, "limits")
    assert cpus == 1
    assert limit == 2**30
    assert int(most) == 2**30 + 512 * 2**20


def reboot(host: Host) -> None:
    host.run(["systemctl", "reboot"], check=False)


def cut_power(host: Host) -> None:
    host.power_cut()
    host.start()


# The other one of each is shown on hosts without a kernel of their own.
DOWN = {"docker": cut_power, "podman": reboot}


def test_everything_is_back_after_the_host_was_down(
    lab: Lab, fleet: Contained, archive: Archive, engine: str
):
    before = lab.scheduler.boot_id
    DOWN[engine](lab.scheduler)
    eventually("the host is back", lambda: booted_since(lab.scheduler, before), SECONDS)
    all_is_back(lab, fleet, archive, "after-it-was-down")
