"""What is said of the certificates on hosts, what they restart, and how a restart rolls."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from dask_fleet.batches import steps
from dask_fleet.checks.certificates import certificate_findings
from dask_fleet.desired import host_target
from dask_fleet.errors import FleetError
from dask_fleet.observed import HostObserved, RuntimeObserved, UnitObserved
from dask_fleet.planner import plan_up
from dask_fleet.restarting import plan_of_restart
from dask_fleet.target import HostTarget
from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import CA_FILE, CERTIFICATE_FILE, KEY_FILE, host_names
from dask_fleet.tls.expiry import certificates_on, in_words
from tests.unit.simulator import (
    ENVIRONMENT,
    HOST,
    LAUNCHER,
    PLACES,
    RUNTIME,
    SPEC,
    SimulatedHost,
    layout_of,
    target_of,
)
from tests.unit.test_checks import record

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)
LAYOUT = layout_of(SPEC + "tls: true\n")
NAMES = host_names(LAYOUT.hosts[HOST])


def seen(pem: bytes, days: float, host: str = HOST) -> HostObserved:
    """Return a host with a certificate, so many days after it was made."""
    clock = (NOW + timedelta(days=days)).timestamp()
    facts = {"clock": f"{clock:.9f}"}
    none = RuntimeObserved()
    return HostObserved(
        host, facts, True, {}, {}, frozenset(), {}, none, (), certificate=pem.decode()
    )


@pytest.fixture
def pem(tmp_path: Path) -> bytes:
    return Authority(tmp_path / "a", "sst").ensure({HOST: NAMES}, now=NOW)[HOST].certificate


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (1, "certificates: hold until 2027-11-24 (364 days)"),
        (
            358,
            "certificates: that of vm-2 expires on 2027-11-24, in 7 days;"
            " `dask fleet up` renews it",
        ),
        (
            368,
            "certificates: that of vm-2 expired on 2027-11-24, 3 days ago;"
            " `dask fleet up` renews it",
        ),
    ],
)
def test_the_line_below_the_table(pem: bytes, days: int, words: str, tmp_path: Path):
    later = NOW + timedelta(days=300)
    authority = Authority(tmp_path / "a", "sst")
    longer = authority.ensure({"vm-1": ("10.0.0.1",)}, now=later)["vm-1"].certificate
    hosts = {"vm-1": seen(longer, days, "vm-1"), "vm-2": seen(pem, days, "vm-2")}
    assert in_words(certificates_on(hosts)) == words


def test_without_a_certificate_and_with_a_damaged_one(pem: bytes):
    bare = replace(seen(pem, 0), certificate="")
    assert certificates_on({HOST: bare}) == ()
    assert in_words(()) == "certificates: none is there yet; `dask fleet up` brings them"
    (damaged,) = certificates_on({HOST: replace(bare, certificate="nothing")})
    assert damaged.value == {"host": HOST, "not_after": None, "days_left": None}
    assert f"that of {HOST} cannot be read" in in_words([damaged])


def test_the_values_for_json(pem: bytes):
    (one,) = certificates_on({HOST: seen(pem, 10)})
    after = "2027-11-24T09:30:00+00:00"
    assert one.value == {"host": HOST, "not_after": after, "days_left": 355}


@pytest.mark.parametrize(
    ("days", "severity", "words"),
    [
        (340, "warning", "expires on 2027-11-24, in 25 days"),
        (365, "error", "expires on 2027-11-24, in less than an hour"),
        (370, "error", "expired on 2027-11-24, 5 days ago"),
        (-1, "error", "holds only from"),
    ],
)
def test_what_the_doctor_says(pem: bytes, days: int, severity: str, words: str):
    (finding,) = certificate_findings(LAYOUT, seen(pem, days))
    assert (finding.check, finding.severity, finding.place) == ("certificates", severity, HOST)
    assert words in finding.fault
    assert finding.remedy


def test_the_doctor_finds_nothing_where_all_is_well(pem: bytes):
    assert list(certificate_findings(LAYOUT, seen(pem, 300))) == []
    assert list(certificate_findings(layout_of(), seen(pem, 400))) == []
    assert list(certificate_findings(LAYOUT, replace(seen(pem, 400), certificate=""))) == []


def test_the_doctor_names_what_is_missing_or_unreadable(tmp_path: Path):
    other = Authority(tmp_path / "b", "sst").ensure({HOST: ("vm-9",)}, now=NOW)[HOST]
    (finding,) = certificate_findings(LAYOUT, seen(other.certificate, 0))
    assert finding.severity == "warning"
    assert "127.0.0.1" in finding.fault
    (finding,) = certificate_findings(LAYOUT, seen(b"nothing", 0))
    assert (finding.severity, finding.fault) == ("error", "its certificate cannot be read")


# -- what another pair and another authority do ------------------------------------------


def with_tls(pair: bytes, ca: bytes) -> HostTarget:
    files = {CA_FILE: ca, CERTIFICATE_FILE: pair, KEY_FILE: pair}
    return host_target(LAYOUT, HOST, ENVIRONMENT, PLACES, RUNTIME, LAUNCHER, files)


def planned(before: HostTarget, after: HostTarget) -> tuple[list[str], list[str]]:
    host = SimulatedHost()
    host.apply(plan_up([before], {HOST: host.observe()}, {HOST: RUNTIME}))
    plan = plan_up([after], {HOST: host.observe()}, {HOST: RUNTIME})
    actions = [type(action).__name__ for phase in plan.phases for action in phase]
    return [f"{change.verb} {change.subject}: {change.reason}" for change in plan.changes], actions


def test_another_pair_is_written_and_restarts_nothing():
    changes, actions = planned(with_tls(b"1", b"ca"), with_tls(b"2", b"ca"))
    assert changes == ["change certificate: processes take the new one over as they run"]
    assert actions == ["WriteFiles"]


def test_another_authority_restarts_all():
    changes, actions = planned(with_tls(b"1", b"ca"), with_tls(b"2", b"other"))
    assert all("the certificate authority changed" in change for change in changes)
    assert len(changes) == 2
    assert actions == ["WriteFiles", "UpdateUnits"]


# -- a restart that rolls ----------------------------------------------------------------

TWO_HOSTS = [replace(target_of(), host="vm-1"), replace(target_of(), host="vm-2")]
UP = {
    target.host: replace(
        seen(b"", 0, target.host),
        runtime=RuntimeObserved(
            units={unit.name: UnitObserved(unit.name, "running") for unit in target.units}
        ),
        records={
            name: replace(record(name), unit=unit.name, role=unit.role)
            for unit in target.units
            for name in (unit.name, *unit.processes)
        },
    )
    for target in TWO_HOSTS
}


def test_a_rolling_restart_has_one_step_for_each_host_and_spares_the_scheduler():
    plan = plan_of_restart(TWO_HOSTS, UP, frozenset(), rolling=True)
    assert {change.subject for change in plan.changes} == {"dask-workers-default"}
    assert not plan.interrupts
    assert [step.hosts for step in steps(plan, 1)] == [{"vm-1"}, {"vm-2"}]
    assert [one.host for one in plan.replaced] == ["vm-1", "vm-2"]


def test_a_restart_that_does_not_roll_is_one_step():
    plan = plan_of_restart(TWO_HOSTS, UP, frozenset(), rolling=False)
    (step,) = steps(plan, None)
    assert step.plan == plan
    assert step.hosts == {"vm-1", "vm-2"}
    assert plan.interrupts
    assert {change.subject for change in plan.changes} == {"dask-scheduler", "dask-workers-default"}


def test_the_scheduler_cannot_restart_rolling():
    with pytest.raises(FleetError, match="one scheduler"):
        plan_of_restart(TWO_HOSTS, UP, frozenset({"dask-scheduler"}), rolling=True)


@pytest.mark.parametrize("rolling", [True, False])
def test_nothing_runs(rolling: bool):
    bare = {target.host: seen(b"", 0, target.host) for target in TWO_HOSTS}
    with pytest.raises(FleetError, match="not up"):
        plan_of_restart(TWO_HOSTS, bare, frozenset(), rolling=rolling)
