"""What needs a kernel, with Docker: volumes by NFS, and control groups of version 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.computing import writes_by_nfs
from tests.guests.conftest import SECONDS, Archive
from tests.guests.rootless import (
    comes_back,
    comes_up,
    goes_away,
    own_fleet,
)
from tests.journeys.steps import step

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def engine() -> str:
    return "docker"


def test_a_volume_is_mounted_by_nfs_and_dask_sees_limits_of_control_groups_of_version_2(
    lab: Lab, fleet: Contained, archive: Archive
):
    assert lab.scheduler.run("stat -fc %T /sys/fs/cgroup").stdout == "cgroup2fs\n"
    assert int(lab.scheduler.run("nproc").stdout) == 2
    with step("compute"):
        cpus, limit, most = writes_by_nfs(lab, fleet, archive, "sst")
    assert cpus == 1
    assert limit == 2**30
    assert int(most) == 2**30 + 512 * 2**20


# As Docker's own documentation has it; Debian has its script beside the path, and calls both by
# the folder of one. It gives the engine three seconds to answer, which one that QEMU emulates may
# not do, and goes on where it was when it is called again.
_SET_UP = """\
mkdir bin
ln -s /usr/share/docker.io/contrib/dockerd-rootless.sh /usr/bin/docker bin
PATH=$HOME/bin:/usr/sbin:$PATH
for try in 1 2 3 4 5 6 7 8; do
  if /usr/share/docker.io/contrib/dockerd-rootless-setuptool.sh install; then exit; fi
done
exit 1
"""


def test_without_root_a_fleet_is_refused_comes_up_comes_back_and_goes(lab: Lab, tmp_path: Path):
    """A whole life in one, for each of its steps takes a minute or more here."""
    own = own_fleet(lab, tmp_path)
    with step("the login gets a Docker of its own"):
        own.host.run("loginctl enable-linger operator")
        own.logged_in(_SET_UP)
    with step("what is missing is named"):
        own.logged_in("docker context use default")
        (fault,) = own.faults()
        missing = "has its socket there (/run/user/1000/docker.sock), and the login's `docker`"
        assert missing in fault
        own.logged_in("docker context use rootless")
        assert own.faults() == []
    comes_up(own)
    comes_back(own)
    goes_away(own)
