"""What needs a kernel, with Podman: volumes by NFS, and a reboot."""

from __future__ import annotations

import pytest
from lab import Lab

from tests.containers.conftest import Contained
from tests.guests.computing import writes_by_nfs
from tests.guests.conftest import SECONDS, Archive
from tests.guests.rootless import (
    Own,
    both_come_back,
    comes_up,
    goes_away,
    is_refused_until_it_starts_at_boot,
    own_fleet,
)

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def engine() -> str:
    return "podman"


def test_a_volume_is_mounted_by_nfs(lab: Lab, fleet: Contained, archive: Archive):
    writes_by_nfs(lab, fleet, archive, "sst")


@pytest.fixture(scope="module")
def own(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Own:
    """A login with a Podman of its own, beside root's."""
    own = own_fleet(lab, tmp_path_factory.mktemp("own"))
    own.host.run("loginctl enable-linger operator")
    own.logged_in("systemctl --user enable --now podman.socket podman-restart.service")
    return own


def test_without_root_what_is_missing_is_named(own: Own):
    is_refused_until_it_starts_at_boot(own, "podman-restart.service")


def test_without_root_a_fleet_comes_up(own: Own):
    comes_up(own)


def test_after_a_reboot_the_fleets_of_both_are_back(
    lab: Lab, fleet: Contained, archive: Archive, own: Own
):
    both_come_back(own, fleet)
    writes_by_nfs(lab, fleet, archive, "after-a-reboot")


def test_without_root_nothing_is_left(own: Own):
    goes_away(own)
