"""Certificates as values: what one says, how long it holds, and how Dask is told to use it.

Nothing here looks at a clock or at a file; `dask_fleet.tls.authority` makes what is read here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from dask_fleet.layout import Host

__all__ = [
    "CA_FILE",
    "CERTIFICATE_FILE",
    "KEY_FILE",
    "LONGEST_COMMON_NAME",
    "MIN_TLS_VERSION",
    "RENEW_WITHIN",
    "CertificateSeen",
    "authority_title",
    "covers",
    "dask_configuration",
    "host_names",
    "names_of",
    "normal",
    "number",
    "read_certificate",
    "time_left",
    "validity",
]

CA_FILE = "ca.pem"
CERTIFICATE_FILE = "host.pem"
KEY_FILE = "host-key.pem"
"""Files of a host's TLS directory, as `dask_configuration` names them."""

RENEW_WITHIN = timedelta(days=30)
"""A certificate that holds no longer than this is replaced by the next ``up``."""

LONGEST_COMMON_NAME = 64
"""``ub-common-name`` of RFC 5280; the names stand in the SAN in full."""

MIN_TLS_VERSION = 1.3
"""Dask's own least version is 1.2. Every end of a fleet speaks 1.3: distributed itself refuses
an OpenSSL older than 1.1.1, which has it. Its cipher suites are all good, so none is chosen;
``distributed.comm.tls.ciphers`` has no effect on 1.3."""


@dataclass(frozen=True, slots=True)
class CertificateSeen:
    """What a certificate says.

    Attributes
    ----------
    subject, issuer : str
        Common names of the one that it is for and of the one that signed it.
    names : tuple of str
        DNS names and IP addresses that it is good for, in its order.
    not_before, not_after : datetime
        When it begins and ends to hold, in UTC.
    fingerprint : str
        SHA-256 over the whole certificate in hexadecimal.
    """

    subject: str
    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    fingerprint: str


def read_certificate(pem: bytes) -> CertificateSeen:
    """Return what a certificate in PEM says.

    Raises
    ------
    FleetError
        It cannot be read.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return CertificateSeen(
            subject=_common_name(certificate.subject),
            names=names_of(certificate),
            issuer=_common_name(certificate.issuer),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        )
    except ValueError as error:
        raise FleetError(
            f"this is not a certificate in PEM: {error}",
            "bring the right file back, or remove it and run `dask fleet up`",
        ) from error


def authority_title(fleet: str) -> str:
    """Return the common name of the authority of a fleet."""
    return f"dask-fleet {fleet}"[:LONGEST_COMMON_NAME]


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names and IP addresses that a certificate is good for."""
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in extension.value)


def covers(names: tuple[str, ...], name: str) -> bool:
    """Return whether a certificate for these names is good for a name or an address.

    A star stands for one label, the first (RFC 6125, 6.4.3).
    """
    (wanted,) = normal((name,)) or ("",)
    if number(wanted) is not None:
        return wanted in normal(names)
    known = {one.rstrip(".").lower() for one in names}
    _, dot, parent = wanted.partition(".")
    return wanted in known or (bool(dot) and f"*.{parent}" in known)


def normal(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names as a certificate spells them, each once.

    Addresses that mean "every interface" name nobody and are left out; an IPv6 zone is known to
    one machine only.
    """
    found: dict[str, None] = {}
    for name in names:
        address = number(name.partition("%")[0])
        if address is None:
            found[name.rstrip(".").lower()] = None
        elif not address.is_unspecified:
            found[str(address)] = None
    return tuple(found)


def number(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address that is a number, ``None`` for a name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def host_names(host: Host) -> tuple[str, ...]:
    """Return what the certificate of a host is to be good for."""
    return normal((host.name, host.address, host.external, host.listen))


def time_left(certificate: CertificateSeen, now: datetime) -> timedelta:
    """Return how long a certificate still holds; negative when it has expired."""
    return certificate.not_after - now


def validity(certificate: CertificateSeen, now: datetime) -> str:
    """Return how long a certificate still holds, for people.

    Such as ``holds until 2027-11-24 (364 days)``, ``expires on 2026-12-01, in 7 days`` within
    `RENEW_WITHIN`, ``expired on 2026-11-20, 3 days ago``, ``holds only from 2026-11-25 09:00 UTC
    on``.
    """
    day = f"{certificate.not_after:%Y-%m-%d}"
    left = time_left(certificate, now)
    if now < certificate.not_before:
        return f"holds only from {certificate.not_before:%Y-%m-%d %H:%M} UTC on"
    if left < timedelta():
        return f"expired on {day}, {_days(-left)} ago"
    if left <= RENEW_WITHIN:
        return f"expires on {day}, in {_days(left)}"
    return f"holds until {day} ({_days(left)})"


def _days(span: timedelta) -> str:
    if span >= timedelta(days=1):
        return "1 day" if span.days == 1 else f"{span.days} days"
    hours = int(span.total_seconds() // 3600)
    return "less than an hour" if hours == 0 else "1 hour" if hours == 1 else f"{hours} hours"


def _common_name(name: x509.Name) -> str:
    from cryptography.x509.oid import NameOID

    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def dask_configuration(tls_directory: str) -> Mapping[str, object]:
    """Return the Dask configuration, nested, of scheduler and workers on a host.

    Parameters
    ----------
    tls_directory : str
        Absolute directory on the host with `CA_FILE`, `CERTIFICATE_FILE` and `KEY_FILE`.

    Notes
    -----
    Scheduler and workers need their own roles only; the client that a worker opens for a task
    (``distributed.get_client``) has the worker's. That of ``client`` is for programs on a host
    that open a ``distributed.Client`` by themselves, tasks among them.
    ``require-encryption`` is what makes Dask refuse to listen and to dial in plain ``tcp``. It does
    not make it choose ``tls``: ``Scheduler.__init__`` looks for its scheme in the ``security`` that
    it was given, not in the one that it reads from this configuration, hence ``default-scheme``.
    """
    pair = {
        "cert": f"{tls_directory}/{CERTIFICATE_FILE}",
        "key": f"{tls_directory}/{KEY_FILE}",
    }
    return {
        "distributed": {
            "comm": {
                "require-encryption": True,
                "default-scheme": "tls",
                "tls": {
                    "ca-file": f"{tls_directory}/{CA_FILE}",
                    "min-version": MIN_TLS_VERSION,
                    "scheduler": dict(pair),
                    "worker": dict(pair),
                    "client": dict(pair),
                },
            }
        }
    }
