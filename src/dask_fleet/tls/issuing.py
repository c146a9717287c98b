"""The certificates of a fleet within one command: planned in memory, written when it acts.

A plan is made with them as if they were there already. Only an `up` that goes on writes them,
before anything of theirs travels. A second operator without the authority is refused: one made
in its place would lock out every client.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dask_fleet.actions import Change
from dask_fleet.errors import FleetError
from dask_fleet.observer import HostAccess, look
from dask_fleet.proxy.door_target import door_subject
from dask_fleet.spec.ranges import fold
from dask_fleet.tls.certificates import (
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    host_names,
    normal,
    read_certificate,
)

if TYPE_CHECKING:
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved
    from dask_fleet.tls.authority import Authority
    from dask_fleet.tls.drafts import Draft

__all__ = ["Issuer"]

_HERE = "this machine"
_SUBJECT = "certificate authority"


class Issuer:
    """Has the certificates of a fleet ready, and writes them when they are to be shipped.

    Parameters
    ----------
    authority : Authority
        Who signs.
    anew : bool
        Whether a new authority is to take the place of the one that is there.
    """

    def __init__(self, authority: Authority, *, anew: bool = False) -> None:
        self.authority = authority
        self.anew = anew
        self._drafts: dict[tuple[tuple[str, tuple[str, ...]], ...], Draft] = {}
        self._draft: Draft | None = None

    @property
    def begins(self) -> bool:
        """Whether an authority is to be made because this machine has none."""
        return not (self.anew or self.authority.is_there)

    def files(self, layout: Layout) -> Mapping[str, Mapping[str, bytes]]:
        """Return the TLS files of each host, by file name; those that are missing as drafts.

        The door's stand under `door_subject`.

        Raises
        ------
        FleetError
            As `Authority.draft`.
        """
        hosts = layout.hosts.values() if layout.tls else ()
        names = {host.name: host_names(host) for host in hosts}
        if layout.door is not None and layout.door.signed:
            names[door_subject(layout.door)] = normal(layout.door.names)
        key = tuple(names.items())
        draft = self._drafts.get(key)
        if draft is None:
            draft = self.authority.draft(names, now=_now(), anew=self.anew)
            if draft.files:
                # Made once, so that two plans of a command are about the same keys.
                self._drafts[key] = self._draft = draft
        return {
            host: {CA_FILE: one.ca, CERTIFICATE_FILE: one.certificate, KEY_FILE: one.key.reveal()}
            for host, one in draft.credentials.items()
        }

    async def check(
        self, seen: Mapping[str, HostObserved], hosts: Mapping[str, HostAccess], keeper: str
    ) -> None:
        """Refuse to go on with another authority than the one that the fleet has.

        A single host that has another one than the rest has drifted and is mended.

        Parameters
        ----------
        seen : Mapping
            What was seen on hosts.
        hosts : Mapping
            How all of them are reached.
        keeper : str
            The scheduler's host.

        Raises
        ------
        FleetError
            Hosts have certificates of an authority that is neither on this machine nor replaced
            by the one that is.
        """
        if self.anew:
            return
        if self.begins and keeper not in seen:
            # Hosts that `--limit` has chosen may have nothing yet of a fleet that is up.
            seen = {**seen, **(await look([hosts[keeper]], brief=True)).hosts}
        there = _deployed(seen, hosts)
        if there and not self._is_known(there, seen):
            raise self._refusal(there)
        if doors := [host for host, one in seen.items() if self._is_foreign(one.door.certificate)]:
            raise self._refusal(dict.fromkeys(doors, ""))

    async def check_for_clients(self, keeper: HostAccess) -> FleetError | None:
        """Refuse to sign for clients whom the scheduler would refuse.

        Parameters
        ----------
        keeper : HostAccess
            How the scheduler's host is reached.

        Returns
        -------
        FleetError or None
            Why that host could not be asked.

        Raises
        ------
        FleetError
            The scheduler has certificates of another authority.
        """
        host = keeper.transport.host
        sight = await look([keeper], brief=True)
        if host in sight.failures:
            return sight.failures[host]
        hosts = {host: keeper}
        await self.check(sight.hosts, hosts, host)
        there = _deployed(sight.hosts, hosts)
        if there and there[host] != self.authority.digest:
            raise FleetError(
                f"{host}: the scheduler does not have the authority in {self.authority.directory}"
                " yet, and would refuse the client",
                "`dask fleet up` ships it; then write the bundle",
            )
        return None

    def _is_foreign(self, pem: str) -> bool:
        """Return whether a door's certificate is of an authority of this fleet, but not of ours."""
        if not pem or self.authority.vouches_for(pem) or self.authority.replaced:
            return False
        try:
            return read_certificate(pem.encode()).issuer == self.authority.title
        except FleetError:
            return False  # it is replaced, and nobody trusts it

    def _is_known(self, there: Mapping[str, str], seen: Mapping[str, HostObserved]) -> bool:
        """Return whether this machine's authority is that of any host, or took its place."""
        own = self.authority.digest
        known = {own, *self.authority.replaced}
        return bool(own) and any(
            digest in known or self.authority.vouches_for(seen[host].certificate)
            for host, digest in there.items()
        )

    def _refusal(self, there: Mapping[str, str]) -> FleetError:
        directory = self.authority.directory
        fault = (
            f"the authority that signed their certificates is not the one in {directory}"
            if self.authority.is_there
            else "they have certificates of an authority that this machine does not have: there"
            f" is no {directory}"
        )
        return FleetError(
            f"{', '.join(fold(there))}: {fault}",
            "copy that folder, with mode 700, from the machine of the operator who has it"
            " (`dask fleet history` says who brought the fleet up); if it is lost,"
            " `dask fleet up --new-authority` makes another one, replaces the certificates of all"
            " hosts, and every client needs a new bundle",
        )

    def changes(self) -> tuple[Change, ...]:
        """Return what becomes of the authority, as lines of a plan."""
        directory = self.authority.directory
        if self.anew:
            why = "a new one is asked for; every client needs a new bundle"
            return (Change(_HERE, "change", _SUBJECT, why, str(directory)),)
        if self.begins:
            why = f"the fleet has none; its key stays in {directory}"
            return (Change(_HERE, "create", _SUBJECT, why),)
        return ()

    def keep(self, seen: Mapping[str, HostObserved], hosts: Mapping[str, HostAccess]) -> None:
        """Write what `files` has drafted last.

        Raises
        ------
        FleetError
            Somebody else has written meanwhile, or a file cannot be written.
        """
        if self._draft is None:
            return
        if self.anew:
            replaced = _deployed(seen, hosts).values()
            self.authority.take_the_place(self._draft, replaced, now=_now())
        else:
            self.authority.keep(self._draft)
        # From here on it is the fleet's own, and what is planned next needs no other.
        self.anew, self._draft = False, None
        self._drafts.clear()


def _deployed(
    seen: Mapping[str, HostObserved], hosts: Mapping[str, HostAccess]
) -> Mapping[str, str]:
    """Return the digest of the authority's certificate on each host that has one."""
    found = {
        host: one.files.get(f"{hosts[host].places.tls}/{CA_FILE}") for host, one in seen.items()
    }
    return {host: digest for host, digest in found.items() if digest}


def _now() -> datetime:
    return datetime.now(timezone.utc)
