"""What needs a kernel, with Docker: volumes by NFS, and control groups of version 2."""

from __future__ import annotations

import pytest
from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.computing import computed, writes_by_nfs
from tests.guests.conftest import SECONDS, Archive

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def engine() -> str:
    return "docker"


def test_a_volume_is_mounted_by_nfs(lab: Lab, fleet: Contained, archive: Archive):
    writes_by_nfs(lab, fleet, archive, "sst")


def test_dask_sees_the_limits_under_control_groups_of_version_2(lab: Lab, fleet: Contained):
    assert lab.scheduler.run("stat -fc %T /sys/fs/cgroup").stdout == "cgroup2fs\n"
    assert int(lab.scheduler.run("nproc").stdout) == 2
    _, cpus, limit, most = computed(lab, "limits")
    assert cpus == 1
    assert limit == 2**30
    assert int(most) == 2**30 + 512 * 2**20
