"""What a certificate says, how long it holds, and the Dask configuration that uses it."""

from __future__ import annotations

import hashlib
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dask.config
import pytest
from distributed.security import Security

from dask_fleet.errors import FleetError
from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import (
    CertificateSeen,
    dask_configuration,
    read_certificate,
    time_left,
    validity,
)

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)


def test_what_a_certificate_says(tmp_path: Path):
    names = ("vm-1.example.org", "192.168.1.11", "fd00::11")
    made = Authority(tmp_path / "a", "ostia").ensure({"vm-1": names}, now=NOW)["vm-1"]
    seen = read_certificate(made.certificate)
    assert seen == CertificateSeen(
        subject="vm-1",
        names=names,
        issuer="dask-fleet ostia",
        not_before=NOW - timedelta(hours=1),
        not_after=NOW + timedelta(days=365),
        fingerprint=hashlib.sha256(ssl.PEM_cert_to_DER_cert(made.certificate.decode())).hexdigest(),
    )
    authority = read_certificate(made.ca)
    assert authority.subject == authority.issuer == "dask-fleet ostia"
    assert authority.names == ()
    assert authority.not_after.year == 2036


@pytest.mark.parametrize("content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate(content: bytes):
    with pytest.raises(FleetError) as caught:
        read_certificate(content)
    assert caught.value.remedy


SEEN = CertificateSeen("vm-1", (), "ca", NOW, NOW + timedelta(days=365), "")


@pytest.mark.parametrize(
    ("after", "text"),
    [
        ({"hours": -1}, "holds only from 2026-11-24 09:30 UTC on"),
        ({}, "holds until 2027-11-24 (365 days)"),
        ({"days": 334, "hours": 23}, "holds until 2027-11-24 (30 days)"),
        ({"days": 335}, "expires on 2027-11-24, in 30 days"),
        ({"days": 363, "hours": 1}, "expires on 2027-11-24, in 1 day"),
        ({"days": 364, "hours": 1}, "expires on 2027-11-24, in 23 hours"),
        ({"days": 364, "hours": 23}, "expires on 2027-11-24, in 1 hour"),
        ({"days": 364, "hours": 23, "minutes": 1}, "expires on 2027-11-24, in less than an hour"),
        ({"days": 368}, "expired on 2027-11-24, 3 days ago"),
    ],
)
def test_how_long_it_holds(after: dict[str, int], text: str):
    now = NOW + timedelta(**after)
    assert validity(SEEN, now) == text
    assert time_left(SEEN, now) == timedelta(days=365) - timedelta(**after)


def test_dask_takes_the_configuration():
    # Merged into the defaults, as Dask does with a file; `set` would put them away.
    whole = dask.config.merge(dask.config.config, dict(dask_configuration("/etc/tls")))
    with dask.config.set(whole):
        security = Security()
    assert security.require_encryption is True
    assert security.tls_min_version is ssl.TLSVersion.TLSv1_3
    for role in ("scheduler", "worker", "client"):
        assert security.get_tls_config_for_role(role) == {
            "ca_file": "/etc/tls/ca.pem",
            "cert": "/etc/tls/host.pem",
            "key": "/etc/tls/host-key.pem",
            "ciphers": None,
        }
