"""The door in plans and in the inventory: what was seen of it to what is done and shown."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from dask_fleet.actions import RemoveDoor, UpdateDoor
from dask_fleet.checks.door import door_findings, renewal
from dask_fleet.checks.findings import CHECKS
from dask_fleet.door import DOOR_NAME
from dask_fleet.errors import UnreachableHostError
from dask_fleet.firewall import contract, rows
from dask_fleet.layout import Layout, lay_out
from dask_fleet.observed import (
    DoorObserved,
    HostObserved,
    Listener,
    RuntimeObserved,
    UnitObserved,
)
from dask_fleet.places import Places
from dask_fleet.ports import Holder, foreign, ports_in_the_way
from dask_fleet.proxy.door_files import certbot
from dask_fleet.proxy.door_look import read_door
from dask_fleet.proxy.door_target import door_subject, door_target
from dask_fleet.proxy.planning import door_changes
from dask_fleet.proxy.status import door_in_words, door_rows
from dask_fleet.spec import parse
from dask_fleet.target import DoorTarget
from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import CertificateSeen

VMS = """\
name: sst
hosts:
  gate: {address: 192.168.1.2, external: 80.158.2.67}
  dask-scheduler: {address: 192.168.1.166}
  dask-worker-[1-2]: {address: "192.168.1.[11-12]"}
workers: {sprint: {}}
door: {host: gate, tls: fleet}
"""
LOCAL = "name: sst\ndoor: true\n"
PLACES = Places.below("/var/lib/dask-fleet", "/var/lib/dask-fleet", "sst")


def layout_of(text: str) -> Layout:
    return lay_out(parse(text, {}))


def target_of(text: str = VMS) -> DoorTarget:
    layout = layout_of(text)
    assert layout.door is not None
    files = {"host.pem": b"certificate", "host-key.pem": b"key"} if layout.door.signed else {}
    return door_target(layout.name, layout.door, PLACES, files)


def seen_of(door: DoorTarget, **changes: object) -> HostObserved:
    """Return the look at a host on which all of a door is as it should be, but for changes."""
    there = DoorObserved(door.digests, door.digests, "1.22.1", True, "active", True)
    return HostObserved(
        host="gate",
        facts={"clock": "0"},
        exists=True,
        files={},
        unit_files={},
        environments=frozenset(),
        records={},
        runtime=RuntimeObserved(alive=True),
        listeners=(Listener("0.0.0.0", door.port, 1),),
        door=replace(there, **changes),  # type: ignore[arg-type]
    )


def test_what_is_as_it_should_be_needs_nothing():
    for text in (VMS, LOCAL):
        assert door_changes("gate", target_of(text), seen_of(target_of(text))) is None
    assert door_changes("gate", None, seen_of(target_of(), files={}, loaded={})) is None


DIGESTS = target_of().digests
DRIFT = [
    ({"files": {}, "loaded": {}}, "create", "it is not there"),
    ({"loaded": {}}, "change", "nginx has not taken it over yet"),
    ({"files": {**DIGESTS, "site.conf": "x"}}, "change", "its files were edited by hand"),
    (
        {"files": {**DIGESTS, "site.conf": "x"}, "loaded": {**DIGESTS, "site.conf": "x"}},
        "change",
        "its routes or its settings changed",
    ),
    (
        {"files": {**DIGESTS, "key.pem": "x"}, "loaded": {**DIGESTS, "key.pem": "x"}},
        "change",
        "its certificate changed",
    ),
    ({"active": "inactive"}, "start", "nginx is inactive"),
    ({"active": "failed"}, "start", "nginx is failed"),
    ({"at_boot": False}, "change", "nginx would not start at boot"),
    ({"linked": False}, "change", "the link by which nginx reads it is gone"),
]


@pytest.mark.parametrize(("changes", "verb", "reason"), DRIFT)
def test_drift_is_seen_and_mended(changes: dict[str, object], verb: str, reason: str):
    found = door_changes("gate", target_of(), seen_of(target_of(), **changes))
    assert found is not None
    change, action = found
    assert (change.verb, change.reason) == (verb, reason)
    assert action == UpdateDoor("gate", target_of())


def test_a_port_that_nobody_listens_on_is_seen():
    found = door_changes("gate", target_of(), replace(seen_of(target_of()), listeners=()))
    assert found is not None
    assert found[0].reason == "nginx does not listen on port 443"


def test_one_that_is_no_longer_declared_goes():
    found = door_changes("gate", None, seen_of(target_of()))
    assert found is not None
    assert (found[0].verb, found[1]) == ("remove", RemoveDoor("gate"))


def test_a_look_is_read():
    text = f"""\
file site.conf {"a" * 64}  -
file key.pem {"b" * 64}  -
loaded {"a" * 64}  site.conf
loaded {"c" * 64}  key.pem
linked 1
nginx 1.22.1
active active
boot enabled
pem -----BEGIN CERTIFICATE-----
pem MIIB
pem -----END CERTIFICATE-----"""
    assert read_door(text.splitlines()) == DoorObserved(
        {"site.conf": "a" * 64, "key.pem": "b" * 64},
        {"site.conf": "a" * 64, "key.pem": "c" * 64},
        "1.22.1",
        linked=True,
        active="active",
        at_boot=True,
        certificate="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    )
    assert read_door([]) == DoorObserved()


STATES = [
    ({}, "running", ""),
    ({"files": {}}, "down", ""),
    ({"active": "inactive"}, "stopped", ""),
    ({"active": "failed"}, "crashing", ""),
    ({"loaded": {}}, "wrong", "nginx has not taken over what its files say now"),
]


@pytest.mark.parametrize(("changes", "state", "fault"), STATES)
def test_the_inventory_shows_how_it_does(changes: dict[str, object], state: str, fault: str):
    (row,) = door_rows(layout_of(VMS), {"gate": seen_of(target_of(), **changes)}, {})
    assert (row.name, row.role, row.state, row.fault) == (DOOR_NAME, "door", state, fault)
    assert (row.host, row.unit, row.ports) == ("gate", "nginx", {"door": 443})


@pytest.mark.parametrize(
    ("unit", "state"), [("running", "running"), ("crashing", "crashing"), ("stopped", "stopped")]
)
def test_one_of_our_own_is_a_unit(unit: str, state: str):
    units = {DOOR_NAME: UnitObserved(DOOR_NAME, unit, pid=7)}  # type: ignore[arg-type]
    seen = replace(seen_of(target_of(LOCAL)), runtime=RuntimeObserved(alive=True, units=units))
    (row,) = door_rows(layout_of(LOCAL), {"localhost": seen}, {})
    assert (row.state, row.unit, row.unit_state, row.pid) == (state, DOOR_NAME, unit, 7)


def test_a_host_that_does_not_answer_has_a_row_and_one_that_was_not_asked_has_none():
    failure = UnreachableHostError("gate", "no answer")
    (row,) = door_rows(layout_of(VMS), {}, {"gate": failure})
    assert (row.state, row.fault) == ("unreachable", "gate: no answer")
    assert door_rows(layout_of(VMS), {}, {}) == ()


def test_a_line_says_where_it_is():
    layout = layout_of(VMS)
    assert door_in_words(layout, {}) == "door: https://80.158.2.67 on gate"
    seen = seen_of(target_of(), certificate="-----BEGIN CERTIFICATE-----")
    assert "cannot be read" in door_in_words(layout, {"gate": seen})
    assert door_in_words(layout_of("name: x\n"), {}) == ""


def test_the_firewall_lets_people_to_it_and_it_to_the_dashboards():
    table = [row[:4] for row in rows(contract(layout_of(VMS)))]
    assert ("clients", "gate", "80.158.2.67", "443") in table
    assert ("gate", "dask-scheduler", "192.168.1.166", "8787") in table
    assert ("gate", "dask-worker-[1-2]", "192.168.1.[11-12]", "9012") in table
    optional = [row for row in rows(contract(layout_of(VMS))) if row[4].endswith("(optional)")]
    assert [row[1] for row in optional] == ["dask-scheduler", "dask-worker-[1-2]"]
    here = VMS.replace("host: gate, ", "")
    assert not any("the door shows" in row[4] for row in rows(contract(layout_of(here))))


def test_no_host_has_the_name_of_its_certificate():
    door = layout_of(VMS).door
    assert door is not None
    assert door_subject(door) == "door@gate"


def test_its_own_nginx_is_a_unit_and_that_of_a_host_is_none():
    assert [unit.name for unit in layout_of(LOCAL).units][-1] == DOOR_NAME
    assert DOOR_NAME not in [unit.name for unit in layout_of(VMS).units]


def test_another_program_on_its_port_is_in_the_way_and_the_hosts_nginx_is_not():
    from dask_fleet.actions import Plan
    from dask_fleet.environment import Environment
    from dask_fleet.target import HostTarget

    door = target_of()
    target = HostTarget("gate", PLACES, Environment("x", "3.11", "0", ""), (), (), door)
    seen = seen_of(door)
    plan = Plan(phases=((UpdateDoor("gate", door),),))
    (held,) = ports_in_the_way(plan, [target], {"gate": seen})
    assert (held.unit, held.port) == (DOOR_NAME, 443)
    apache = Holder(5, 5, "/", "/usr/sbin/apache2 -k start")
    nginx = Holder(5, 5, "/", "nginx: master process /usr/sbin/nginx")
    assert foreign([held], {1: apache}, seen) == (held,)
    assert foreign([held], {1: nginx}, seen) == ()


WARNED = [
    (VMS, []),
    (LOCAL, []),
    (VMS.replace("tls: fleet", "tls: fleet, login: none"), ["sees all dashboards"]),
    (VMS.replace("tls: fleet", "login: users"), ["passwords travel"]),
]


@pytest.mark.parametrize(("text", "faults"), WARNED)
def test_the_doctor_warns_of_one_that_is_open_or_plain(text: str, faults: list[str]):
    found = list(door_findings(layout_of(text), {}))
    assert all(one.severity == "warning" and one.check in CHECKS for one in found)
    assert [fault in one.fault for one, fault in zip(found, faults, strict=True)] == [True] * len(
        faults
    )


# -- a certificate by ACME ------------------------------------------------------------------

ACME = VMS.replace(
    "tls: fleet", "server_name: dask.example.org, tls: {acme: {email: ops@example.org}}"
)
BEGAN = datetime(2026, 11, 24, tzinfo=timezone.utc)


def fetched(tmp_path: Path, by: str, *, after: timedelta) -> HostObserved:
    """Return the look at a door whose certificate an authority has given, so much later."""
    made = Authority(tmp_path / by, by).ensure({"door": ("dask.example.org",)}, now=BEGAN)["door"]
    seen = seen_of(target_of(ACME), certificate=made.certificate.decode())
    return replace(seen, facts={"clock": str((BEGAN + after).timestamp())})


def test_before_certbot_has_fetched_one_everybody_is_told_what_is_missing(tmp_path: Path):
    layout, seen = layout_of(ACME), fetched(tmp_path, "sst", after=timedelta(days=1))
    assert door_in_words(layout, {"gate": seen}) == (
        "door: https://dask.example.org on gate; its certificate is the fleet's own until certbot "
        "has fetched one there: `dask fleet door` prints the command"
    )
    (one,) = door_findings(layout, {"gate": seen})
    assert (one.severity, one.remedy) == (
        "warning",
        "let certbot fetch it: `dask fleet door` prints the command",
    )
    assert "it is the fleet's own until certbot has fetched one" in one.fault
    # The same one is what a door with `tls: fleet` is to have.
    assert list(door_findings(layout_of(VMS), {"gate": seen})) == []


@pytest.mark.parametrize(("days", "warned"), [(1, False), (334, False), (336, True), (366, True)])
def test_one_that_certbot_has_fetched_is_as_any_other(tmp_path: Path, days: int, warned: bool):
    layout, seen = layout_of(ACME), fetched(tmp_path, "some CA", after=timedelta(days=days))
    assert "; its certificate " in door_in_words(layout, {"gate": seen})
    assert bool(list(door_findings(layout, {"gate": seen}))) is warned


def test_one_of_few_days_is_not_about_to_end_from_the_beginning():
    door = layout_of(ACME).door
    assert door is not None
    short = CertificateSeen("", (), "", BEGAN, BEGAN + timedelta(days=20), "")
    assert renewal(door, short) == timedelta(days=5)


def test_one_that_was_taken_from_certbot_is_replaced():
    found = door_changes("gate", target_of(ACME), seen_of(target_of(ACME), dangling=True))
    assert found is not None
    assert found[0].reason == "the certificate that certbot kept is gone"


def test_certbot_is_told_all_that_it_would_ask():
    door = layout_of(ACME).door
    assert door is not None
    own = "/var/lib/dask-fleet/fleets/sst.door"
    line = (
        f"certbot certonly --webroot --webroot-path {own}/challenges "
        "--cert-name dask.example.org --domain dask.example.org "
        f"--email ops@example.org --agree-tos --non-interactive --deploy-hook {own}/certified"
    )
    assert shlex.join(certbot(PLACES, door)) == line
    ours = layout_of(ACME.replace("ops@example.org", "a@b.c, server: 'https://ca.lan/dir'")).door
    assert ours is not None
    assert "--server https://ca.lan/dir --email a@b.c" in shlex.join(certbot(PLACES, ours))


def test_the_doctor_names_a_certificate_that_cannot_be_read():
    seen = seen_of(target_of(), certificate="-----BEGIN CERTIFICATE-----")
    (one,) = door_findings(layout_of(VMS), {"gate": seen})
    assert (one.severity, one.fault) == ("error", "its certificate cannot be read")
