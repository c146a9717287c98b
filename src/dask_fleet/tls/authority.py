"""The certificate authority of a fleet, in a directory of the operator.

    ca.key, ca.pem            the authority; its key never leaves this directory
    hosts/NAME.key, .pem      what is shipped to a host
    clients/NAME.key, .pem    what goes into a bundle for clients

A key is written before its certificate. A run that is killed between the two leaves a
certificate that is missing or does not match its key, and the next run makes both anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError, SeveralErrors
from dask_fleet.secret import Secret
from dask_fleet.tls.certificates import (
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    RENEW_WITHIN,
    host_names,
    names_of,
    normal,
)
from dask_fleet.tls.private_files import install, locked, make_private, read, read_key
from dask_fleet.tls.signing import (
    Signer,
    certificate_pem,
    is_signed,
    key_pem,
    new_key,
    parse_certificate,
    parse_key,
    self_signed,
    sign,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_fleet.layout import Layout

__all__ = ["Authority", "Credentials", "authority_directory", "credentials"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a process shows and what it trusts, in PEM.

    Attributes
    ----------
    ca : bytes
        Certificate of the authority.
    certificate : bytes
        Its own certificate.
    key : Secret
        The key of that.
    """

    ca: bytes
    certificate: bytes
    key: Secret


class Authority:
    """The certificate authority of one fleet.

    Parameters
    ----------
    directory : Path
        Where it is kept, such as ``~/.local/share/dask-fleet/authorities/FLEET``. It is made
        when it is first needed, for its owner alone.
    fleet : str
        Name of the fleet, for people who read a certificate.

    Notes
    -----
    A directory without ``ca.key`` does as long as nothing has to be signed: an operator who has
    been given a copy can ship what is in it. Runs and threads wait for each other.
    """

    def __init__(self, directory: Path, fleet: str) -> None:
        self.directory = directory
        self.fleet = fleet

    def ensure(
        self, hosts: Mapping[str, tuple[str, ...]], *, now: datetime
    ) -> Mapping[str, Credentials]:
        """Return the credentials of hosts; make those that are missing or no longer fit.

        Whatever still fits comes back byte for byte, so that digests over it do not change.
        Made anew is what is absent, is for other names, was signed by another authority, does
        not match its key, does not hold yet, or expires within 30 days.

        Parameters
        ----------
        hosts : Mapping of str to tuple of str
            DNS names and IP addresses of each host, by its name.
        now : datetime
            The time, with its zone.

        Raises
        ------
        FleetError
            A file cannot be read or is readable by others; the authority's key is needed and
            not there; the authority itself has expired. Nothing has been written then.
        """
        return self._issue("hosts", hosts, now)

    def renew(
        self, hosts: Mapping[str, tuple[str, ...]], *, now: datetime
    ) -> Mapping[str, Credentials]:
        """Return new credentials of hosts, of the same authority, whatever is there.

        Raises
        ------
        FleetError
            As `ensure`; but old files of a host do not matter.
        """
        return self._issue("hosts", hosts, now, force=True)

    def client(self, name: str = "client", *, now: datetime) -> Credentials:
        """Return the credentials of a client; made like those of hosts.

        They are good for dialling only. Dask does not compare a certificate's names with whom
        it talks to, so a certificate that may serve could pose as the scheduler.
        """
        return self._issue("clients", {name: ()}, now)[name]

    def _issue(
        self,
        kind: str,
        wanted: Mapping[str, tuple[str, ...]],
        now: datetime,
        *,
        force: bool = False,
    ) -> Mapping[str, Credentials]:
        if now.tzinfo is None:
            raise ValueError("the time needs its zone")
        for name in wanted:
            if not _NAME.fullmatch(name):
                raise ValueError(f"not the name of a file: {name!r}")
        serves = kind == "hosts"
        names = {name: normal(given or (name,)) if serves else () for name, given in wanted.items()}
        make_private(self.directory)
        with locked(self.directory):
            signer = self._signer(now)
            found: dict[str, Credentials] = {}
            reasons: dict[str, str] = {}
            faults: list[FleetError] = []
            for name in wanted:
                try:
                    there = (
                        "it is to be renewed"
                        if force
                        else self._there(kind, name, names[name], signer, now)
                    )
                except FleetError as error:
                    faults.append(error)
                    continue
                if isinstance(there, str):
                    reasons[name] = there
                else:
                    found[name] = there
            if faults:
                raise faults[0] if len(faults) == 1 else SeveralErrors(tuple(faults))
            if reasons and signer.key is None:
                raise self._no_key(reasons)
            for name in reasons:
                found[name] = self._make(kind, name, names[name], signer, now, serves=serves)
            return {name: found[name] for name in wanted}

    # -- the authority itself ----------------------------------------------------------------

    def _signer(self, now: datetime) -> Signer:
        certificate_path, key_path = self.directory / "ca.pem", self.directory / "ca.key"
        again = (
            f"bring it back from a copy; or move {self.directory} away and run `dask fleet up`: "
            "that makes a new authority, and every host and client gets new certificates"
        )
        pem, secret = read(certificate_path), read_key(key_path)
        key = None if secret is None else parse_key(key_path, secret, again)
        if pem is None:
            if key is None:
                if any(self.directory.glob("*/*.pem")):
                    raise FleetError(
                        f"{certificate_path}: the certificate of the fleet's authority is not "
                        "there, but certificates that it signed are",
                        again,
                    )
                key = new_key()
                install(key_path, key_pem(key), 0o600)
            pem = certificate_pem(self_signed(self.fleet, key, now))
            install(certificate_path, pem, 0o644)
        certificate = parse_certificate(certificate_path, pem, again)
        if key is not None and certificate.public_key() != key.public_key():
            raise FleetError(f"{key_path}: this is not the key of {certificate_path}", again)
        if now >= certificate.not_valid_after_utc:
            raise FleetError(
                f"{certificate_path}: the fleet's authority expired on "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}",
                f"move {self.directory} away and run `dask fleet up`: that makes a new one, and "
                "every host and client gets new certificates",
            )
        if now < certificate.not_valid_before_utc:
            raise FleetError(
                f"{certificate_path}: the fleet's authority holds only from "
                f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on",
                "set the clock of this machine right",
            )
        return Signer(pem, certificate, key)

    def _no_key(self, reasons: Mapping[str, str]) -> FleetError:
        which = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        return FleetError(
            f"new certificates are needed ({which}), and the key of the fleet's authority is not "
            f"there: {self.directory / 'ca.key'}",
            "run this on the machine of the operator who has that file, or copy it there with "
            f"mode 600; if it is lost, move {self.directory} away and run `dask fleet up`: that "
            "makes a new authority, and every host and client gets new certificates",
        )

    # -- what it has signed ------------------------------------------------------------------

    def _there(
        self, kind: str, name: str, names: tuple[str, ...], signer: Signer, now: datetime
    ) -> Credentials | str:
        """Return the credentials that are there, or why they do not do."""
        certificate_path, key_path = self._paths(kind, name)
        again = f"remove {certificate_path} and {key_path}, and run `dask fleet up`"
        pem, secret = read(certificate_path), read_key(key_path)
        key = None if secret is None else parse_key(key_path, secret, again)
        certificate = None if pem is None else parse_certificate(certificate_path, pem, again)
        if pem is None or secret is None or key is None or certificate is None:
            return "it has none"
        if not is_signed(certificate, signer.certificate):
            return "it has one of another authority"
        if certificate.public_key() != key.public_key():
            return "it has one that does not match its key"
        if set(names_of(certificate)) != set(names):
            return "it has one for other names"
        if now < certificate.not_valid_before_utc:
            return "it has one that does not hold yet"
        # A new one cannot outlive the authority: near its end, the old one stays.
        end = certificate.not_valid_after_utc
        if end - now <= RENEW_WITHIN and end < signer.certificate.not_valid_after_utc:
            return f"it has one that ends on {end:%Y-%m-%d}"
        return Credentials(signer.pem, pem, Secret(secret))

    def _make(
        self,
        kind: str,
        name: str,
        names: tuple[str, ...],
        signer: Signer,
        now: datetime,
        *,
        serves: bool,
    ) -> Credentials:
        certificate_path, key_path = self._paths(kind, name)
        make_private(certificate_path.parent)
        key = new_key()
        pem = certificate_pem(sign(name, names, key, signer, now, serves=serves))
        secret = key_pem(key)
        install(key_path, secret, 0o600)
        install(certificate_path, pem, 0o644)
        return Credentials(signer.pem, pem, Secret(secret))

    def _paths(self, kind: str, name: str) -> tuple[Path, Path]:
        folder = self.directory / kind
        return folder / f"{name}.pem", folder / f"{name}.key"


def credentials(data_root: Path, fleet: str, layout: Layout) -> dict[str, dict[str, bytes]]:
    """Return the TLS files of each host of a fleet, by file name; make what is not there.

    Parameters
    ----------
    data_root : Path
        The operator's directory for data; authorities are below it.
    fleet : str
        Name of the fleet.
    layout : Layout
        Its hosts, whose names and addresses the certificates are good for.
    """
    names = {host.name: host_names(host) for host in layout.hosts.values()}
    made = Authority(authority_directory(data_root, fleet), fleet).ensure(
        names, now=datetime.now(timezone.utc)
    )
    return {
        host: {CA_FILE: one.ca, CERTIFICATE_FILE: one.certificate, KEY_FILE: one.key.reveal()}
        for host, one in made.items()
    }


def authority_directory(data_root: Path, fleet: str) -> Path:
    """Return where the authority of a fleet is kept."""
    return data_root / "authorities" / fleet
