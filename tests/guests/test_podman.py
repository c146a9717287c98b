"""What needs a kernel, with Podman: volumes by NFS, and a reboot."""

from __future__ import annotations

import pytest
from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.computing import writes_by_nfs
from tests.guests.conftest import SECONDS, Archive
from tests.guests.rootless import (
    Own,
    comes_up,
    goes_away,
    is_refused_until_it_starts_at_boot,
    own_fleet,
)
from tests.podman.test_podman import back
from tests.vms.operator import eventually

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def engine() -> str:
    return "podman"


def test_a_volume_is_mounted_by_nfs(lab: Lab, fleet: Contained, archive: Archive):
    writes_by_nfs(lab, fleet, archive, "sst")


def test_after_a_reboot_everything_is_back(lab: Lab, fleet: Contained, archive: Archive):
    host = lab.scheduler
    before = host.boot_id
    host.run(["systemctl", "reboot"], check=False)
    eventually("the host is back", lambda: back(host, before), SECONDS)

    def running() -> bool:
        states = fleet.states()
        return len(states) == 2 and set(states.values()) == {"running"}

    eventually("scheduler and worker run", running, SECONDS)
    writes_by_nfs(lab, fleet, archive, "after-a-reboot")


@pytest.fixture(scope="module")
def own(lab: Lab, fleet: Contained, tmp_path_factory: pytest.TempPathFactory) -> Own:
    """A login with a Podman of its own, after root's fleet has gone from there."""
    fleet.call("down", "--yes", timeout=SECONDS)
    own = own_fleet(lab, tmp_path_factory.mktemp("own"))
    own.host.run("loginctl enable-linger operator")
    own.logged_in("systemctl --user enable --now podman.socket podman-restart.service")
    return own


def test_without_root_what_is_missing_is_named(own: Own):
    is_refused_until_it_starts_at_boot(own, "podman-restart.service")


def test_without_root_a_fleet_comes_up(own: Own):
    comes_up(own)


def test_without_root_nothing_is_left(own: Own):
    goes_away(own)
