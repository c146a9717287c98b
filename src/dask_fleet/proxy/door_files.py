"""Files that the door reads on its host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_fleet.places import Places

__all__ = ["CERTIFICATES", "DoorFiles"]

CERTIFICATES = "door"
"""Directory of the door's certificate and key, below that of the fleet."""


@dataclass(frozen=True, slots=True)
class DoorFiles:
    """Files that the door reads; absolute paths on its host.

    Attributes
    ----------
    accounts : str
        Directory of users and tokens; `dask_fleet.proxy.accounts` says what is in it.
    certificate, key : str
        In PEM.
    challenges : str
        Directory where certbot puts what an ACME server asks for.
    seen : str
        Holds when the scheduler on this host was alive last, in words; empty if it is elsewhere.
    """

    accounts: str
    certificate: str
    key: str
    challenges: str
    seen: str = ""

    @classmethod
    def on(cls, places: Places, *, with_scheduler: bool) -> DoorFiles:
        """Return the files of a door.

        Parameters
        ----------
        places : Places
            Directories of its host.
        with_scheduler : bool
            Whether the scheduler is on that host too.
        """
        directory, certificates = places.door, f"{places.state}/{CERTIFICATES}"
        return cls(
            accounts=directory,
            certificate=f"{certificates}/certificate.pem",
            key=f"{certificates}/key.pem",
            challenges=f"{directory}/challenges",
            seen=f"{directory}/seen/dask-scheduler" if with_scheduler else "",
        )
