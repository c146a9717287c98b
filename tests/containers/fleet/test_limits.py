"""What containers are given beside memory: CPUs, and named volumes with options."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab import Host, Lab

from tests.containers.conftest import CONTAINED
from tests.vms.operator import RIGHT, WORKERS, Operator

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

# As Dask reads them, and where the controllers of CPUs are apart, which it does not know of.
QUOTA = """\
for place in cpu,cpuacct cpuacct,cpu cpu; do
  if [ -d /sys/fs/cgroup/$place ]; then
    cat /sys/fs/cgroup/$place/cpu.cfs_quota_us /sys/fs/cgroup/$place/cpu.cfs_period_us
    exit
  fi
done
cat /sys/fs/cgroup/cpu.max
"""
UNIT = "dask-fleet.sst.dask-workers-default"
GIVEN = """\
containers:
  nofile: 16384
  limit_cpus: true
  volumes: ["scratch:/scratch", "cubes:/cubes", "kept:/kept"]
  mounts:
    scratch: {type: tmpfs, device: tmpfs, options: "size=16m,uid=8786"}
    cubes: {type: none, device: /srv/cubes, options: bind}
"""
LIMITED = CONTAINED.replace("containers: {nofile: 16384}\n", GIVEN)
# Where it is mounted, of which kind, how large, and whether it can be written by its user.
SAYS = """\
import json, os
kinds = {line.split()[1]: line.split()[2] for line in open("/proc/mounts")}
size = os.statvfs("/scratch")
open("/scratch/mine", "w").close()
with open("/cubes/from-a-worker", "w") as file:
    file.write("a cube")
print(json.dumps([kinds["/scratch"], size.f_blocks * size.f_frsize]))
"""


@pytest.fixture(scope="module")
def fleet(lab: Lab, operator: Operator) -> Iterator[Operator]:
    lab.each(lambda host: host.run("mkdir -p /srv/cubes && chown 8786 /srv/cubes"))
    operator.write(LIMITED)
    operator.call("up", "--yes", "--all-at-once")
    yield operator
    operator.call("down", "--yes", status=None)
    operator.write(CONTAINED)
    lab.each(lambda host: host.run("docker volume prune -f"))


def inside(host: Host) -> list:
    return json.loads(host.run(["docker", "exec", UNIT, "python", "-c", SAYS]).stdout)


def volumes(host: Host) -> dict[str, dict]:
    """Return the fleet's volumes, by the name that fleet.yaml has for them."""
    names = host.run("docker volume ls -q --filter name=dask-fleet-sst_").stdout.split()
    found = json.loads(host.run(["docker", "volume", "inspect", *names]).stdout)
    return {one["Name"].split("_")[1]: one for one in found}


def test_a_container_has_no_more_cpus_than_its_workers_have_threads(lab: Lab, fleet: Operator):
    host = lab.workers[0]
    (found,) = json.loads(host.run(["docker", "inspect", UNIT]).stdout)
    assert found["HostConfig"]["NanoCpus"] == 10**9
    quota, period = host.run(["docker", "exec", UNIT, "sh", "-c", QUOTA]).stdout.split()
    assert int(quota) == int(period)
    assert int(host.run("nproc").stdout) > 1
    assert fleet.rows()[WORKERS[0]]["nthreads"] == 1
    (scheduler,) = json.loads(
        lab.scheduler.run(["docker", "inspect", "dask-fleet.sst.dask-scheduler"]).stdout
    )
    assert scheduler["HostConfig"]["NanoCpus"] == 0


def test_named_volumes_are_mounted_as_is_said_of_them_and_change_with_it(lab: Lab, fleet: Operator):
    host = lab.workers[1]
    kind, size = inside(host)
    assert (kind, size) == ("tmpfs", 16 * 2**20)
    assert host.run("cat /srv/cubes/from-a-worker").stdout == "a cube"
    found = volumes(host)
    assert found["scratch"]["Options"] == {
        "type": "tmpfs",
        "device": "tmpfs",
        "o": "size=16m,uid=8786",
    }
    assert found["cubes"]["Options"] == {"type": "none", "device": "/srv/cubes", "o": "bind"}
    assert not found["kept"]["Options"]
    assert fleet.plan()["empty"]
    assert fleet.compute() == RIGHT
    # Other options are another volume, and no hand is needed.
    fleet.write(LIMITED.replace("size=16m", "size=32m"))
    fleet.call("up", "--yes", "--all-at-once")
    assert inside(lab.workers[2])[1] == 32 * 2**20
    assert fleet.plan()["empty"]
