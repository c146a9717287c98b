"""How long the certificates hold that lie on the hosts, by the hosts' own clocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError
from dask_fleet.tls.certificates import (
    RENEW_WITHIN,
    CertificateSeen,
    read_certificate,
    time_left,
    validity,
)

if TYPE_CHECKING:
    from dask_fleet.observed import HostObserved

__all__ = ["HostCertificate", "certificates_on", "in_words", "on_host"]


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """The certificate of a host.

    Attributes
    ----------
    host : str
        Name of the host.
    seen : CertificateSeen or None
        What it says; ``None`` when it cannot be read.
    now : datetime
        The time on that host when it was looked at.
    """

    host: str
    seen: CertificateSeen | None
    now: datetime

    @property
    def value(self) -> dict[str, object]:
        """For JSON: host, end and whole days left; negative when it has expired."""
        seen = self.seen
        return {
            "host": self.host,
            "not_after": None if seen is None else seen.not_after.isoformat(),
            "days_left": None if seen is None else time_left(seen, self.now).days,
        }


def on_host(seen: HostObserved) -> HostCertificate | None:
    """Return the certificate of a host; ``None`` if there is none."""
    if not seen.certificate:
        return None
    now = datetime.fromtimestamp(float(seen.facts.get("clock", 0)), timezone.utc)
    try:
        return HostCertificate(seen.host, read_certificate(seen.certificate.encode()), now)
    except FleetError:
        # What is wrong with it is a finding of whoever asks, and one host's alone.
        return HostCertificate(seen.host, None, now)


def certificates_on(hosts: Mapping[str, HostObserved]) -> tuple[HostCertificate, ...]:
    """Return the certificates of all hosts that have one."""
    found = (on_host(seen) for seen in hosts.values())
    return tuple(one for one in found if one is not None)


def in_words(certificates: Iterable[HostCertificate]) -> str:
    """Return which certificate ends first and when, in one line for people.

    Such as ``certificates: hold until 2027-11-24 (364 days)``, or within `RENEW_WITHIN`
    ``certificates: that of vm-2 expires on 2026-12-01, in 7 days; `dask fleet up` renews it``.
    """
    every = list(certificates)
    if not every:
        return "certificates: none is there yet; `dask fleet up` brings them"
    for one in every:
        if one.seen is None:
            return f"certificates: that of {one.host} cannot be read; `dask fleet up` replaces it"
    host, seen, now = min(
        ((one.host, one.seen, one.now) for one in every if one.seen is not None),
        key=lambda found: found[1].not_after,
    )
    said = validity(seen, now)
    if now >= seen.not_before and time_left(seen, now) > RENEW_WITHIN:
        return f"certificates: {said.replace('holds', 'hold', 1)}"
    return f"certificates: that of {host} {said}; `dask fleet up` renews it"
