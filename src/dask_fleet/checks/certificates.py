"""What the doctor finds about the certificates that lie on hosts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from dask_fleet.checks.findings import Finding
from dask_fleet.tls.certificates import RENEW_WITHIN, host_names, time_left, validity
from dask_fleet.tls.expiry import on_host

if TYPE_CHECKING:
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved

__all__ = ["certificate_findings"]

_RENEW = "`dask fleet up` renews it; nothing is restarted"


def certificate_findings(layout: Layout, seen: HostObserved) -> Iterator[Finding]:
    """Yield what is wrong with the certificate of a host; nothing before the first ``up``.

    Parameters
    ----------
    layout : Layout
        What is declared.
    seen : HostObserved
        A look at the host.
    """
    there = on_host(seen)
    if not layout.tls or there is None:
        return
    certificate, now = there.seen, there.now
    if certificate is None:
        yield Finding("certificates", "error", seen.host, "its certificate cannot be read", _RENEW)
        return
    left = time_left(certificate, now)
    said = f"its certificate {validity(certificate, now)}"
    if left <= timedelta():
        yield Finding("certificates", "error", seen.host, said, _RENEW)
    elif now < certificate.not_before:
        remedy = "set its clock right: `timedatectl set-ntp true`, or install chrony"
        yield Finding("certificates", "error", seen.host, said, remedy)
    elif left <= RENEW_WITHIN:
        yield Finding("certificates", "warning", seen.host, said, _RENEW)
    missing = set(host_names(layout.hosts[seen.host])) - set(certificate.names)
    if missing:
        fault = f"its certificate does not name {', '.join(sorted(missing))}"
        yield Finding("certificates", "warning", seen.host, fault, _RENEW)
