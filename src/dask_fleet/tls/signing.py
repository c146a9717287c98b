"""Keys and certificates in memory: made, signed, parsed and compared. Files are `authority`'s."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError
from dask_fleet.tls.certificates import LONGEST_COMMON_NAME, authority_title, names_of, number

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = [
    "Signer",
    "certificate_pem",
    "is_signed",
    "key_pem",
    "new_key",
    "parse_certificate",
    "parse_key",
    "self_signed",
    "sign",
]

_AUTHORITY_HOLDS = timedelta(days=3652)
_CERTIFICATE_HOLDS = timedelta(days=365)
_SKEW = timedelta(hours=1)
"""Certificates begin to hold this long ago: the clock of a host may be slow."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The authority as it lies there; without a key it can vouch for nothing new."""

    pem: bytes
    certificate: x509.Certificate
    key: EllipticCurvePrivateKey | None


def new_key() -> EllipticCurvePrivateKey:
    """Return a new key on the curve P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """Return a key in PEM, without a passphrase."""
    from cryptography.hazmat.primitives import serialization as s

    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def parse_key(path: Path, content: bytes, remedy: str) -> EllipticCurvePrivateKey:
    """Return the key that a file holds; a `FleetError` names the file and the remedy."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey):
        # Not chained: what a parser says of a key may quote it.
        raise FleetError(f"{path}: this is not an EC key in PEM without a passphrase", remedy)
    return key


def parse_certificate(path: Path, content: bytes, remedy: str) -> x509.Certificate:
    """Return the certificate that a file holds; a `FleetError` names the file and the remedy."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(content)
        # Extensions and keys are parsed only when they are asked for.
        names_of(certificate)
        certificate.public_key()
    except ValueError as error:
        raise FleetError(f"{path}: this is not a certificate in PEM", remedy) from error
    return certificate


def is_signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Return whether a certificate was signed by this authority."""
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def self_signed(fleet: str, key: EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return the certificate of a new authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _subject(authority_title(fleet))
    return (
        _builder(now, now + _AUTHORITY_HOLDS, key)
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def sign(
    name: str,
    names: tuple[str, ...],
    key: EllipticCurvePrivateKey,
    signer: Signer,
    now: datetime,
    *,
    serves: bool,
) -> x509.Certificate:
    """Return a certificate; one that does not serve is good for dialling only."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

    if signer.key is None:
        raise TypeError("an authority without a key cannot sign")
    end = min(now + _CERTIFICATE_HOLDS, signer.certificate.not_valid_after_utc)
    uses = [Usage.SERVER_AUTH, Usage.CLIENT_AUTH] if serves else [Usage.CLIENT_AUTH]
    builder = (
        _builder(now, end, key)
        .subject_name(_subject(name))
        .issuer_name(signer.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(one) for one in names]), critical=False
        )
    return builder.sign(signer.key, hashes.SHA256())


def _builder(now: datetime, end: datetime, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    from cryptography import x509

    begin = (now - _SKEW).astimezone(timezone.utc)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end.astimezone(timezone.utc))
        .public_key(key.public_key())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:LONGEST_COMMON_NAME])])


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    address = number(name)
    return x509.DNSName(name) if address is None else x509.IPAddress(address)
