"""Certificates that the operator brings for the door: what is refused, before anything changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from dask_fleet.door import Door
from dask_fleet.door_certificate import given_credentials
from dask_fleet.environment import Environment
from dask_fleet.errors import FleetError
from dask_fleet.layout import lay_out
from dask_fleet.places import Places
from dask_fleet.proxy.door_files import CERTIFICATE
from dask_fleet.proxy.door_target import door_target
from dask_fleet.refusals import refusals
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.spec import parse
from dask_fleet.target import HostTarget
from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import CERTIFICATE_FILE, KEY_FILE, covers
from tests.unit.simulator import ENVIRONMENT, HOST, SimulatedHost

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)
SPEC = """\
name: sst
hosts:
  localhost: {address: 127.0.0.1}
door:
  server_name: dask.example.org
  tls: {certificate: dask.pem, key: dask.key}
"""


def door_of(text: str = SPEC) -> Door:
    door = lay_out(parse(text, {})).door
    assert door is not None
    return door


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes, bytes]]:
    """Certificates by what is special about them: each with its key and its authority."""
    authority = Authority(tmp_path_factory.mktemp("a") / "a", "corp")
    names = {
        "right": ("other.example.org", "dask.example.org"),
        "star": ("*.example.org",),
        "other": ("hub.example.org", "10.0.0.1"),
    }
    issued = authority.ensure(names, now=NOW)
    return {name: (one.certificate, one.key.reveal(), one.ca) for name, one in issued.items()}


def fault(place: Path, certificate: bytes, key: bytes) -> str:
    (place / "dask.pem").write_bytes(certificate)
    (place / "dask.key").write_bytes(key)
    with pytest.raises(FleetError) as caught:
        given_credentials(door_of(), place)
    assert "PRIVATE KEY" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["right", "star"])
def test_one_that_fits_is_taken(
    tmp_path: Path, made: dict[str, tuple[bytes, bytes, bytes]], kind: str
):
    certificate, key, ca = made[kind]
    (tmp_path / "dask.pem").write_bytes(certificate + ca)
    (tmp_path / "dask.key").write_bytes(key)
    assert given_credentials(door_of(), tmp_path) == {
        CERTIFICATE_FILE: certificate + ca,
        KEY_FILE: key,
    }


def test_a_door_with_another_kind_of_certificate_needs_no_file(tmp_path: Path):
    assert given_credentials(door_of("name: sst\ndoor: {tls: fleet}\n"), tmp_path) == {}


def test_a_key_of_another_certificate_is_refused(
    tmp_path: Path, made: dict[str, tuple[bytes, bytes, bytes]]
):
    said = fault(tmp_path, made["right"][0], made["other"][1])
    assert said == (
        "door.tls.key: dask.key does not belong to the certificate in dask.pem\n"
        "  remedy: name the key with which that certificate was asked for"
    )


def test_a_chain_in_the_wrong_order_is_told_from_it(
    tmp_path: Path, made: dict[str, tuple[bytes, bytes, bytes]]
):
    certificate, key, ca = made["right"]
    said = fault(tmp_path, ca + certificate, key)
    assert "put the door's own certificate before those that vouch for it" in said


def test_one_of_another_name_is_refused(
    tmp_path: Path, made: dict[str, tuple[bytes, bytes, bytes]]
):
    certificate, key, ca = made["other"]
    assert fault(tmp_path, certificate, key) == (
        "door.tls.certificate: dask.pem is not for dask.example.org, by which people reach the "
        "door, but for hub.example.org, 10.0.0.1\n"
        "  remedy: write a name that it is for as `server_name`, or give another certificate"
    )
    assert "but for no name at all" in fault(tmp_path, ca, key)


def test_all_that_is_wrong_with_the_two_is_said_at_once(
    tmp_path: Path, made: dict[str, tuple[bytes, bytes, bytes]]
):
    said = fault(tmp_path, made["other"][0], made["right"][1])
    assert "door.tls.key: dask.key does not belong" in said
    assert "door.tls.certificate: dask.pem is not for dask.example.org" in said
    said = fault(tmp_path, b"nothing", b"nothing")
    assert "door.tls.certificate: dask.pem is not a certificate in PEM" in said
    assert "door.tls.key: dask.key is not a private key in PEM" in said


def test_a_key_with_a_passphrase_is_refused(
    tmp_path: Path, made: dict[str, tuple[bytes, bytes, bytes]]
):
    certificate, pem, _ = made["right"]
    key = serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a passphrase"),
    )
    assert "dask.key has a passphrase" in fault(tmp_path, certificate, key)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FleetError, match=r"door\.tls\.certificate: .*dask\.pem cannot be read"):
        given_credentials(door_of(), tmp_path)


@pytest.mark.parametrize(
    ("names", "name", "good"),
    [
        (("dask.example.org",), "DASK.example.org.", True),
        (("Dask.Example.org",), "dask.example.org", True),
        (("*.example.org",), "dask.example.org", True),
        (("*.example.org",), "a.dask.example.org", False),
        (("*.example.org",), "example.org", False),
        (("example.org",), "dask.example.org", False),
        (("*",), "localhost", False),
        (("10.0.0.1",), "10.0.0.1", True),
        (("*.0.0.1",), "10.0.0.1", False),
        (("fd00:0::1",), "fd00::1", True),
        ((), "dask.example.org", False),
    ],
)
def test_what_a_certificate_is_good_for(names: tuple[str, ...], name: str, good: bool):
    assert covers(names, name) is good


# -- and when the clock of its host is known ------------------------------------------------


@pytest.fixture
def refused(
    tmp_path: Path, made: dict[str, tuple[bytes, bytes, bytes]]
) -> Callable[[timedelta, str], list[str]]:
    """What is refused at a time, on a host that has a certificate with this digest."""
    door, runtime = door_of(), SystemdRuntime("sst")
    certificate, key, _ = made["right"]
    places = Places.below("/var/lib/dask-fleet", "/var/lib/dask-fleet", "sst")
    target = door_target("sst", door, places, {CERTIFICATE_FILE: certificate, KEY_FILE: key})
    fit = SimulatedHost().observe()

    def ask(after: timedelta, there: str = "") -> list[str]:
        seen = replace(
            fit,
            facts={"clock": str((NOW + after).timestamp())},
            runtime=replace(fit.runtime, alive=True, privileged=True),
            door=replace(fit.door, nginx="1.22.1", files={CERTIFICATE: there}),
        )
        environment = Environment("xcube", "3.11", ENVIRONMENT.digest)
        host = HostTarget(HOST, places, environment, (), (), target)
        return [str(one) for one in refusals([host], {HOST: seen}, {HOST: runtime})]

    return ask


def test_one_that_has_ended_is_refused(refused: Callable[[timedelta], list[str]]):
    assert refused(timedelta(days=30)) == []
    assert refused(timedelta(days=368)) == [
        "door.tls.certificate: by the clock of localhost it expired on 2027-11-24, 3 days ago\n"
        "  remedy: put one that holds beside fleet.yaml"
    ]


def test_one_that_does_not_hold_yet_is_refused(refused: Callable[[timedelta], list[str]]):
    (said,) = refused(timedelta(days=-2))
    assert "it holds only from 2026-11-24 08:30 UTC on" in said


def test_one_that_is_in_place_keeps_nobody_from_other_changes(
    refused: Callable[[timedelta, str], list[str]],
    made: dict[str, tuple[bytes, bytes, bytes]],
):
    digest = hashlib.sha256(made["right"][0]).hexdigest()
    assert refused(timedelta(days=368), digest) == []
