"""What the doctor finds about the door: who may come in, and until when its certificate holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from dask_fleet.checks.findings import Finding
from dask_fleet.errors import FleetError
from dask_fleet.proxy.status import stands_in
from dask_fleet.tls.certificates import RENEW_WITHIN, read_certificate, time_left, validity

if TYPE_CHECKING:
    from dask_fleet.door import Door
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved
    from dask_fleet.tls.certificates import CertificateSeen

__all__ = ["door_findings", "renewal"]

_NEW: Mapping[str, str] = {
    "fleet": "`dask fleet up` renews it",
    "files": "put a newer one beside fleet.yaml, then `dask fleet up`",
    "acme": "let certbot fetch it: `dask fleet door` prints the command",
}


def door_findings(layout: Layout, seen: Mapping[str, HostObserved]) -> Iterator[Finding]:
    """Yield what is wrong with the door, if there is one.

    Parameters
    ----------
    layout : Layout
        What is declared.
    seen : Mapping
        A look at each host that answers.
    """
    door = layout.door
    if door is None:
        return
    if not door.on_loopback and door.login == "none":
        yield Finding(
            "door",
            "warning",
            door.host,
            f"whoever reaches {door.url} sees all dashboards, and what is computed",
            "write `login: users`, or let only some come with `allow`",
        )
    elif not door.on_loopback and door.tls == "none":
        yield Finding(
            "door",
            "warning",
            door.host,
            f"passwords travel to {door.url} as anybody on the way can read them",
            "write `tls: fleet`, or give it a certificate",
        )
    if door.host in seen:
        yield from _certificate(layout, door, seen[door.host])


def _certificate(layout: Layout, door: Door, seen: HostObserved) -> Iterator[Finding]:
    if not seen.door.certificate:
        return
    try:
        certificate = read_certificate(seen.door.certificate.encode())
    except FleetError:
        yield Finding("door", "error", door.host, "its certificate cannot be read", _NEW[door.tls])
        return
    if stands_in(layout, certificate):
        said = "browsers do not trust the door's certificate: it is the fleet's own until certbot"
        yield Finding("door", "warning", door.host, f"{said} has fetched one", _NEW["acme"])
        return
    now = datetime.fromtimestamp(float(seen.facts.get("clock", 0)), timezone.utc)
    left = time_left(certificate, now)
    if left <= renewal(door, certificate):
        severity = "error" if left <= timedelta() else "warning"
        said = f"the door's certificate {validity(certificate, now)}"
        yield Finding("door", severity, door.host, said, _NEW.get(door.tls, _NEW["fleet"]))


def renewal(door: Door, certificate: CertificateSeen) -> timedelta:
    """Return how long before its end a certificate should have been replaced."""
    if door.tls != "acme":
        return RENEW_WITHIN
    # certbot replaces it a third of its time before, and ACME servers give it weeks or days.
    return min(RENEW_WITHIN, (certificate.not_after - certificate.not_before) / 4)
