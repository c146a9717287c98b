"""The certificate authority of a fleet, in a directory of the operator.

    ca.key, ca.pem            the authority; its key never leaves this directory
    hosts/NAME.key, .pem      what is shipped to a host
    clients/NAME.key, .pem    what goes into a bundle for clients
    replaced                  digests of the authorities whose place it took

What is new is drafted in memory first, so that a plan can show it and write nothing. A key is
written before its certificate. A run that is killed between the two leaves a certificate that
is missing or does not match its key, and the next run makes both anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.errors import FleetError, SeveralErrors
from dask_fleet.secret import Secret
from dask_fleet.tls.certificates import RENEW_WITHIN, authority_title, names_of, normal
from dask_fleet.tls.drafts import (
    Credentials,
    Draft,
    Drafted,
    check_unchanged,
    drafted,
    exchange,
    write,
)
from dask_fleet.tls.private_files import is_private, locked, make_private, read, read_key
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
    from collections.abc import Iterable, Mapping

__all__ = ["Authority", "authority_directory"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]*[A-Za-z0-9])?", re.ASCII)

_REPLACE = (
    "`dask fleet up --new-authority` replaces it, and every host and client gets new certificates"
)


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

    @property
    def is_there(self) -> bool:
        """Whether this machine has it."""
        return self._certificate.exists()

    @property
    def title(self) -> str:
        """What its certificate says that it is."""
        return authority_title(self.fleet)

    @property
    def certificate(self) -> bytes | None:
        """Its own certificate, in PEM; ``None`` if this machine does not have it."""
        return read(self._certificate)

    @property
    def digest(self) -> str:
        """SHA-256 of its certificate's file, as a look has it; empty if there is none."""
        pem = self.certificate
        return "" if pem is None else hashlib.sha256(pem).hexdigest()

    @property
    def replaced(self) -> frozenset[str]:
        """Digests of the authorities whose place it took."""
        return frozenset((read(self._replaced) or b"").decode(errors="replace").split())

    def vouches_for(self, pem: str) -> bool:
        """Return whether it has signed a certificate, as far as that can be read."""
        ca = read(self._certificate)
        if ca is None or not pem:
            return False
        try:
            authority = parse_certificate(self._certificate, ca, "")
            return is_signed(parse_certificate(Path("host.pem"), pem.encode(), ""), authority)
        except FleetError:
            return False

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

    def draft(
        self, hosts: Mapping[str, tuple[str, ...]], *, now: datetime, anew: bool = False
    ) -> Draft:
        """Return what `ensure` would, and write nothing; `keep` does that later.

        Parameters
        ----------
        hosts, now
            As for `ensure`, and with its errors.
        anew : bool
            Whether all of it is to be of a new authority, for `take_the_place`.
        """
        if anew:
            return self._draft("hosts", hosts, now, anew=True)
        with locked(self.directory) if is_private(self.directory) else contextlib.nullcontext():
            return self._draft("hosts", hosts, now)

    def keep(self, draft: Draft) -> None:
        """Write what was drafted.

        Raises
        ------
        FleetError
            Somebody else has written meanwhile, or a file cannot be written.
        """
        if not draft.files:
            return
        make_private(self.directory)
        with locked(self.directory):
            check_unchanged(draft.files)
            write(draft.files)

    def take_the_place(self, draft: Draft, replaced: Iterable[str], *, now: datetime) -> None:
        """Write a draft of a new authority; the directory of the old one is moved aside.

        Parameters
        ----------
        draft : Draft
            Made with ``anew``.
        replaced : iterable of str
            Digests of the authorities that hosts have now. The new one remembers them, so that
            a run that is killed before it has reached a host can be gone on with.
        now : datetime
            The time, with its zone.
        """
        before = {*replaced, *self.replaced, *filter(None, [self.digest])}
        remembered = drafted(self._replaced, "".join(f"{one}\n" for one in before).encode(), 0o600)
        # A fleet's name holds no dot, so that this is no other fleet's.
        aside = self.directory.with_name(f"{self.directory.name}.until-{now:%Y%m%d-%H%M%S}")
        exchange(self.directory, (*draft.files, remembered), aside)

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
        make_private(self.directory)
        with locked(self.directory):
            draft = self._draft(kind, wanted, now, force=force)
            write(draft.files)
        return draft.credentials

    def _draft(
        self,
        kind: str,
        wanted: Mapping[str, tuple[str, ...]],
        now: datetime,
        *,
        force: bool = False,
        anew: bool = False,
    ) -> Draft:
        if now.tzinfo is None:
            raise ValueError("the time needs its zone")
        for name in wanted:
            if not _NAME.fullmatch(name):
                raise ValueError(f"not the name of a file: {name!r}")
        serves = kind == "hosts"
        names = {name: normal(given or (name,)) if serves else () for name, given in wanted.items()}
        files: list[Drafted] = []
        signer = self._new_signer(now, files) if anew else self._signer(now, files)
        found: dict[str, Credentials] = {}
        reasons: dict[str, str] = {}
        faults: list[FleetError] = []
        for name in wanted:
            try:
                there = (
                    "it is to be renewed"
                    if force or anew
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
            certificate_path, key_path = self._paths(kind, name)
            key = new_key()
            pem = certificate_pem(sign(name, names[name], key, signer, now, serves=serves))
            secret = key_pem(key)
            files.append(drafted(key_path, secret, 0o600))
            files.append(drafted(certificate_path, pem, 0o644))
            found[name] = Credentials(signer.pem, pem, Secret(secret))
        return Draft({name: found[name] for name in wanted}, tuple(files))

    # -- the authority itself ----------------------------------------------------------------

    @property
    def _certificate(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def _key(self) -> Path:
        return self.directory / "ca.key"

    @property
    def _replaced(self) -> Path:
        return self.directory / "replaced"

    def _new_signer(self, now: datetime, files: list[Drafted]) -> Signer:
        key = new_key()
        certificate = self_signed(self.fleet, key, now)
        pem = certificate_pem(certificate)
        files.append(drafted(self._key, key_pem(key), 0o600))
        files.append(drafted(self._certificate, pem, 0o644))
        return Signer(pem, certificate, key)

    def _signer(self, now: datetime, files: list[Drafted]) -> Signer:
        certificate_path, key_path = self._certificate, self._key
        again = f"bring it back from a copy; or {_REPLACE}"
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
                return self._new_signer(now, files)
            pem = certificate_pem(self_signed(self.fleet, key, now))
            files.append(drafted(certificate_path, pem, 0o644))
        certificate = parse_certificate(certificate_path, pem, again)
        if key is not None and certificate.public_key() != key.public_key():
            raise FleetError(f"{key_path}: this is not the key of {certificate_path}", again)
        if now >= certificate.not_valid_after_utc:
            raise FleetError(
                f"{certificate_path}: the fleet's authority expired on "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}",
                _REPLACE,
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
            f"there: {self._key}",
            "run this on the machine of the operator who has that file, or copy it there with "
            f"mode 600; if it is lost, {_REPLACE}",
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

    def _paths(self, kind: str, name: str) -> tuple[Path, Path]:
        folder = self.directory / kind
        return folder / f"{name}.pem", folder / f"{name}.key"


def authority_directory(data_root: Path, fleet: str) -> Path:
    """Return where the authority of a fleet is kept."""
    return data_root / "authorities" / fleet
