"""What needs a kernel, with Docker: volumes by NFS, and control groups of version 2."""

from __future__ import annotations

import pytest
from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.computing import computed, writes_by_nfs
from tests.guests.conftest import SECONDS, Archive
from tests.guests.rootless import (
    Own,
    comes_back,
    comes_up,
    goes_away,
    own_fleet,
)

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


@pytest.fixture(scope="module")
def own(lab: Lab, fleet: Contained, tmp_path_factory: pytest.TempPathFactory) -> Own:
    """A login with a Docker of its own, after root's fleet has gone from there."""
    fleet.call("down", "--yes", timeout=SECONDS)
    own = own_fleet(lab, tmp_path_factory.mktemp("own"))
    own.host.run("loginctl enable-linger operator")
    own.logged_in(_SET_UP)
    return own


def test_without_root_what_is_missing_is_named(own: Own):
    own.logged_in("docker context use default")
    (fault,) = own.faults()
    assert "has its socket there (/run/user/1000/docker.sock), and the login's `docker`" in fault
    own.logged_in("docker context use rootless")
    assert own.faults() == []


def test_without_root_a_fleet_comes_up(own: Own):
    comes_up(own)


def test_without_root_everything_is_back_after_a_reboot(own: Own):
    comes_back(own)


def test_without_root_nothing_is_left(own: Own):
    goes_away(own)
