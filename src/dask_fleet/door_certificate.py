"""The certificate of the door where the operator has brought it, in files beside fleet.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError, together
from dask_fleet.tls.certificates import CERTIFICATE_FILE, KEY_FILE, covers, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from dask_fleet.door import Door

__all__ = ["given_credentials"]


def given_credentials(door: Door, base: Path) -> Mapping[str, bytes]:
    """Return certificate and key that the operator has given; nothing if there are none.

    Parameters
    ----------
    door : Door
        What is declared.
    base : Path
        Directory of fleet.yaml.

    Raises
    ------
    FleetError
        A file cannot be read or is not what it should be, the two do not belong together, or the
        certificate is for other names. Whether it holds is asked when the clock of its host is
        known.
    """
    if door.certificate is None or door.key is None:
        return {}
    certificate = _read(base, door.certificate, "certificate")
    key = _read(base, door.key, "key")
    if faults := list(_faults(door, certificate, key)):
        raise together(faults)
    return {CERTIFICATE_FILE: certificate, KEY_FILE: key}


def _faults(door: Door, certificate_pem: bytes, key_pem: bytes) -> Iterator[FleetError]:
    chain: list[x509.Certificate] = []
    try:
        chain = _chain(certificate_pem)
    except ValueError:
        yield FleetError(
            f"door.tls.certificate: {door.certificate} is not a certificate in PEM",
            "name the file that holds it, and after it those that vouch for it",
        )
    key: PrivateKeyTypes | None = None
    try:
        key = _key(key_pem)
    except ValueError:
        yield FleetError(
            f"door.tls.key: {door.key} is not a private key in PEM", "name the file that holds it"
        )
    except TypeError:
        yield FleetError(
            f"door.tls.key: {door.key} has a passphrase, for which nobody could ask at boot",
            f"write it without one: `openssl pkey -in {door.key} -out NEW`, for your eyes alone",
        )
    if not chain:
        return
    if key is not None and not _belong(chain[0], key):
        behind = any(_belong(one, key) for one in chain[1:])
        yield FleetError(
            f"door.tls.key: {door.key} does not belong to the certificate in {door.certificate}",
            "put the door's own certificate before those that vouch for it"
            if behind
            else "name the key with which that certificate was asked for",
        )
    names = names_of(chain[0])
    if not covers(names, door.server_name):
        yield FleetError(
            f"door.tls.certificate: {door.certificate} is not for {door.server_name}, by which "
            f"people reach the door, but for {', '.join(names) or 'no name at all'}",
            "write a name that it is for as `server_name`, or give another certificate",
        )


def _chain(pem: bytes) -> list[x509.Certificate]:
    from cryptography import x509

    chain = x509.load_pem_x509_certificates(pem)
    # Extensions and keys are parsed only when they are asked for.
    names_of(chain[0])
    chain[0].public_key()
    return chain


def _key(pem: bytes) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, None)
    except (ValueError, UnsupportedAlgorithm):
        # Not chained: what a parser says of a key may quote it.
        raise ValueError("not a private key in PEM") from None
    except TypeError:
        raise TypeError("a passphrase is needed") from None


def _belong(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    written = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*written) == key.public_key().public_bytes(
        *written
    )


def _read(base: Path, name: str, key: str) -> bytes:
    path = base / Path(name).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FleetError(
            f"door.tls.{key}: {path} cannot be read: {reason}",
            "name a file of this machine, beside fleet.yaml or with its whole path",
        ) from None
