"""Certificates within one command: planned without a trace, written when the fleet is changed."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dask_fleet.clients import ask_fleet, write_client
from dask_fleet.command import Command, Outcome
from dask_fleet.errors import FleetError, UnreachableHostError
from dask_fleet.fleet import Fleet
from dask_fleet.layout import Layout, lay_out
from dask_fleet.observed import DoorObserved, HostObserved
from dask_fleet.observer import HostAccess
from dask_fleet.places import Places
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.spec import parse
from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from dask_fleet.tls.issuing import Issuer
from dask_fleet.transports.base import Transport
from tests.unit.killed import is_killed_at

SPEC = """\
name: sst
hosts:
  head: {address: 10.0.0.1}
  "vm-[1-2]": {address: "10.0.0.[2-3]"}
scheduler: {host: head}
workers:
  default: {hosts: ["vm-[1-2]"], nthreads: 1, memory_limit: 1 GiB}
tls: true
"""
HOSTS = ("head", "vm-1", "vm-2")
PLACES = Places.below("/var/lib/dask-fleet", "/var/lib/dask-fleet", "sst")
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)


@pytest.fixture
def layout() -> Layout:
    return lay_out(parse(SPEC, {}))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "data" / "authorities" / "sst"


def issuer(place: Path, *, anew: bool = False) -> Issuer:
    return Issuer(Authority(place, "sst"), anew=anew)


def contents(place: Path) -> dict[str, bytes]:
    files = (path for path in place.parent.parent.rglob("*") if path.is_file())
    return {str(path.relative_to(place.parent)): path.read_bytes() for path in files}


class Unreachable:
    """A transport to a host that is not to be asked."""

    def __init__(self, host: str) -> None:
        self.host = host

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        raise AssertionError(f"{self.host} was asked for {command}")


class Answering(Unreachable):
    """A transport to a host that has an authority's certificate."""

    def __init__(self, host: str, ca: bytes) -> None:
        super().__init__(host)
        self.digest = hashlib.sha256(ca).hexdigest()

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        return Outcome(0, f"#### files\n{self.digest}  {PLACES.deployed}/tls/{CA_FILE}\n", "")


def access(**transports: Unreachable) -> dict[str, HostAccess]:
    return {
        host: HostAccess(
            cast("Transport", transports.get(host) or Unreachable(host)),
            SystemdRuntime("sst"),
            PLACES,
        )
        for host in HOSTS
    }


def seen(files: Mapping[str, bytes] | None = None) -> HostObserved:
    """Return a look at a host on which these TLS files lie."""
    digests = {
        f"{PLACES.deployed}/tls/{name}": hashlib.sha256(content).hexdigest()
        for name, content in (files or {}).items()
    }
    pem = (files or {}).get(CERTIFICATE_FILE, b"").decode()
    blank = SimpleNamespace(files=digests, certificate=pem, door=DoorObserved())
    return cast("HostObserved", blank)


def check(one: Issuer, there: Mapping[str, HostObserved], **transports: Unreachable) -> None:
    asyncio.run(one.check(there, access(**transports), "head"))


def up(one: Issuer, layout: Layout, there: Mapping[str, HostObserved]) -> dict[str, HostObserved]:
    """Do with certificates what an `up` does; return a look at the hosts afterwards."""
    check(one, there)
    files = one.files(layout)
    one.keep(there, access())
    assert one.files(layout) == files
    return {host: seen(files[host]) for host in HOSTS}


BARE = {host: seen() for host in HOSTS}

# -- what a plan leaves behind: nothing --------------------------------------------------


def test_a_plan_of_a_fleet_without_an_authority_writes_nothing(layout: Layout, place: Path):
    one = issuer(place)
    check(one, BARE)
    files = one.files(layout)
    assert set(files) == set(HOSTS)
    assert set(files["head"]) == {CA_FILE, CERTIFICATE_FILE, KEY_FILE}
    ((host, verb, subject, why),) = [
        (line.host, line.verb, line.subject, line.why) for line in one.changes()
    ]
    assert (host, verb, subject) == ("this machine", "create", "certificate authority")
    assert str(place) in why
    assert not place.parent.parent.exists()


def test_two_plans_of_one_command_are_alike_and_then_written(layout: Layout, place: Path):
    one = issuer(place)
    files = one.files(layout)
    assert one.files(layout) == files
    assert up(one, layout, BARE)["vm-1"] == seen(files["vm-1"])
    assert one.changes() == ()
    assert issuer(place).files(layout) == files
    assert Authority(place, "sst").is_there


def test_a_plan_with_an_authority_writes_nothing_either(layout: Layout, place: Path):
    up(issuer(place), layout, BARE)
    (place / "hosts" / "vm-2.pem").unlink()
    before = contents(place)
    again = issuer(place)
    assert again.files(layout)["vm-2"]
    assert again.changes() == ()
    assert contents(place) == before


def test_somebody_has_written_between_plan_and_up(layout: Layout, place: Path):
    one, two = issuer(place), issuer(place)
    one.files(layout)
    up(two, layout, BARE)
    before = contents(place)
    with pytest.raises(FleetError, match="somebody has written it") as caught:
        one.keep(BARE, access())
    assert caught.value.remedy == "run it again"
    assert contents(place) == before


# -- a second operator -------------------------------------------------------------------


def test_a_second_operator_without_the_authority_is_refused(
    layout: Layout, place: Path, tmp_path: Path
):
    there = up(issuer(place), layout, BARE)
    other = tmp_path / "other" / "authorities" / "sst"
    with pytest.raises(FleetError) as caught:
        check(issuer(other), {**there, "vm-2": seen()})
    assert caught.value.message.startswith("head, vm-1: ")
    assert str(other) in caught.value.message
    for said in ("copy that folder", "dask fleet history", "--new-authority"):
        assert said in caught.value.remedy
    assert not other.parent.parent.exists()
    shutil.copytree(place, other)
    check(issuer(other), there)
    assert issuer(other).files(layout) == issuer(place).files(layout)


def test_the_scheduler_host_is_asked_when_it_was_left_out(
    layout: Layout, place: Path, tmp_path: Path
):
    ca = issuer(place).files(layout)["head"][CA_FILE]
    limited = {"vm-1": seen()}
    other = issuer(tmp_path / "other" / "sst")
    with pytest.raises(FleetError, match="head: they have certificates"):
        check(other, limited, head=Answering("head", ca))
    up(issuer(place), layout, BARE)
    check(issuer(place), limited)  # nobody is asked


def test_an_authority_of_ones_own_is_not_that_of_the_fleet(
    layout: Layout, place: Path, tmp_path: Path
):
    there = up(issuer(place), layout, BARE)
    other = tmp_path / "other" / "authorities" / "sst"
    up(issuer(other), layout, BARE)
    before = contents(other)
    with pytest.raises(FleetError, match="is not the one in") as caught:
        check(issuer(other), there)
    assert "--new-authority" in caught.value.remedy
    assert contents(other) == before


def test_one_host_that_has_drifted_is_mended(layout: Layout, place: Path, tmp_path: Path):
    there = up(issuer(place), layout, BARE)
    stranger = issuer(tmp_path / "other" / "sst").files(layout)
    check(issuer(place), {**there, "vm-2": seen(stranger["vm-2"])})
    edited = {**issuer(place).files(layout)["head"], CA_FILE: b"edited"}
    check(issuer(place), {"head": seen(edited)})  # its certificate still is of ours
    with pytest.raises(FleetError):
        check(issuer(place), {"head": seen(edited | {CERTIFICATE_FILE: b"edited too"})})


def test_a_client_needs_the_authority(
    layout: Layout, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dask_fleet.this_machine.data_root", lambda: str(place.parent.parent))
    with pytest.raises(FleetError, match="no authority on this machine") as caught:
        write_client(layout, tmp_path / "bundle", "client")
    assert "copy that folder" in caught.value.remedy
    assert "dask fleet up" in caught.value.remedy
    assert not place.parent.parent.exists()
    assert not (tmp_path / "bundle").exists()
    up(issuer(place), layout, BARE)
    assert len(write_client(layout, tmp_path / "bundle", "client")) == 4


class Silent(Unreachable):
    """A transport to a host that does not answer."""

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        raise UnreachableHostError(self.host, "no answer")


def ask(layout: Layout, head: Unreachable) -> FleetError | None:
    """Do what `client-config` does before it writes anything."""
    keeper = access(head=head)["head"]
    fleet = cast("Fleet", SimpleNamespace(layout=layout, scheduler_access=keeper))
    return asyncio.run(ask_fleet(fleet))


def test_a_client_is_signed_for_only_by_the_authority_that_the_fleet_has(
    layout: Layout, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dask_fleet.this_machine.data_root", lambda: str(place.parent.parent))
    with pytest.raises(FleetError, match="no authority on this machine"):
        ask(layout, Unreachable("head"))
    up(issuer(place), layout, BARE)
    own = (place / CA_FILE).read_bytes()
    assert ask(layout, Answering("head", own)) is None
    assert ask(layout, Bare("head")) is None
    with pytest.raises(FleetError, match="head: the authority that signed") as caught:
        ask(layout, Answering("head", b"that of another operator"))
    assert "copy that folder" in caught.value.remedy
    unasked = ask(layout, Silent("head"))
    assert unasked is not None
    assert unasked.message == "head: no answer"
    # An `up --new-authority` that was killed before it shipped anything.
    up(issuer(place, anew=True), layout, {host: seen({CA_FILE: own}) for host in HOSTS})
    with pytest.raises(FleetError, match="head: the scheduler does not have") as caught:
        ask(layout, Answering("head", own))
    assert "dask fleet up" in caught.value.remedy


class Bare(Unreachable):
    """A transport to a host on which nothing lies."""

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        return Outcome(0, "#### files\n", "")


# -- a new authority ---------------------------------------------------------------------


def test_a_new_authority_takes_the_place_of_the_old_one(layout: Layout, place: Path):
    there = up(issuer(place), layout, BARE)
    before = contents(place)
    one = issuer(place, anew=True)
    assert [(line.verb, line.subject) for line in one.changes()] == [
        ("change", "certificate authority")
    ]
    check(one, there)
    files = one.files(layout)
    assert contents(place) == before
    after = up(one, layout, there)
    assert one.changes() == ()
    assert issuer(place).files(layout) == files
    for host in HOSTS:
        assert not set(there[host].files.values()) & set(after[host].files.values())
    (aside,) = [path for path in place.parent.iterdir() if path != place]
    assert aside.name.startswith("sst.until-2")
    kept = {path.name: path.read_bytes() for path in aside.rglob("*") if path.is_file()}
    assert kept == {Path(name).name: content for name, content in before.items()}
    assert {path.stat().st_mode & 0o077 for path in (place, aside, place / "ca.key")} == {0}


def test_what_hosts_have_of_the_old_one_does_not_refuse_the_new_one(
    layout: Layout, place: Path, tmp_path: Path
):
    there = up(issuer(place), layout, BARE)
    for number in range(2):
        # The second time, as somebody who never had the first.
        own = place if number == 0 else tmp_path / "other" / "sst"
        one = issuer(own, anew=True)
        check(one, there)
        one.files(layout)
        one.keep(there, access())
        # Killed here: no host has been reached.
        check(issuer(own), there)
        assert issuer(own).changes() == ()
    # Whoever has the old authority is told, instead of putting it back.
    with pytest.raises(FleetError, match="is not the one in"):
        check(issuer(place), up(issuer(tmp_path / "other" / "sst"), layout, there))


@pytest.mark.parametrize("damage", ["ca.key", "ca.pem", "hosts/vm-1.pem"])
def test_a_damaged_authority_can_be_replaced(layout: Layout, place: Path, damage: str):
    there = up(issuer(place), layout, BARE)
    (place / damage).write_bytes(b"")
    with pytest.raises(FleetError) as caught:
        issuer(place).files(layout)
    assert "--new-authority" in caught.value.remedy or "remove" in caught.value.remedy
    assert up(issuer(place, anew=True), layout, there)["head"] != there["head"]


@pytest.mark.parametrize("step", [1, 2, 5, 17, 18])
def test_a_replacement_that_is_killed_can_be_made_again(layout: Layout, place: Path, step: int):
    there = up(issuer(place), layout, BARE)

    def replace() -> None:
        one = issuer(place, anew=True)
        one.files(layout)
        one.keep(there, access())

    # Nine files, each with one fsync for itself and one for its directory.
    assert is_killed_at(step, replace)
    check(issuer(place), there)  # the old one is still there
    assert seen(issuer(place).files(layout)["head"]) == there["head"]
    after = up(issuer(place, anew=True), layout, there)
    assert after["head"] != there["head"]
    assert not (place.parent / "sst.new").exists()
