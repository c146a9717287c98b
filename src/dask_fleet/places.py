"""Where a fleet's files are on a host."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TLS", "Places"]

TLS = "tls"
"""Directory of certificates among what is deployed."""


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of one fleet on one host; absolute paths as that host spells them.

    Attributes
    ----------
    fleets : str
        Holds one directory for each fleet, and beside them their leases, histories and accounts.
    state : str
        Everything of this fleet: what is deployed, what runs, its logs.
    environments : str
        Software environments, each in a directory named by its digest; shared by all fleets.
    work : str
        Where workers spill.
    logs : str
        Where the runtime keeps logs.
    """

    fleets: str
    state: str
    environments: str
    work: str
    logs: str

    @classmethod
    def below(
        cls,
        state_root: str,
        data_root: str,
        fleet: str,
        *,
        work: str | None = None,
        logs: str | None = None,
    ) -> Places:
        """Return the places of a fleet below the platform's directories for state and data.

        Parameters
        ----------
        state_root, data_root : str
            Such as ``~/.local/state/dask-fleet`` and ``~/.local/share/dask-fleet``.
        fleet : str
            Name of the fleet.
        work, logs : str, optional
            Directories that the spec names instead of our own.
        """
        fleets = f"{state_root}/fleets"
        state = f"{fleets}/{fleet}"
        return cls(
            fleets=fleets,
            state=state,
            environments=f"{data_root}/environments",
            work=f"{work}/{fleet}" if work else f"{state}/work",
            logs=f"{logs}/{fleet}" if logs else f"{state}/log",
        )

    @property
    def deployed(self) -> str:
        """Directory of what is deployed; every file in it is ours and carries a digest."""
        return f"{self.state}/etc"

    @property
    def tls(self) -> str:
        """Directory of certificates and the host's key among what is deployed."""
        return f"{self.deployed}/{TLS}"

    @property
    def run(self) -> str:
        """Directory of what runs: one record for each process, written by the process itself."""
        return f"{self.state}/run"

    @property
    def lease(self) -> str:
        """The file that says which operator is at work."""
        return f"{self.state}.lease"

    @property
    def turn(self) -> str:
        """The file that says which operator was at work last."""
        return f"{self.lease}.turn"

    @property
    def journal(self) -> str:
        """The file in which each apply is written down as it goes."""
        return f"{self.state}/journal.jsonl"

    @property
    def findings(self) -> str:
        """The file on the scheduler's host with what the doctor found last."""
        return f"{self.state}/doctor.json"

    @property
    def history(self) -> str:
        """The file on the scheduler's host that says who changed what; it outlives the fleet."""
        return f"{self.state}.history.jsonl"

    @property
    def door(self) -> str:
        """Directory on the door's host for who may come in; it outlives the fleet."""
        return f"{self.state}.door"

    @property
    def seen(self) -> str:
        """Directory in which the scheduler says when it was alive last, for a door beside it."""
        return f"{self.door}/seen"

    @property
    def images(self) -> str:
        """Directory for what has arrived of an image until all of it has."""
        return f"{self.fleets.rpartition('/')[0]}/images"

    def environment(self, digest: str) -> str:
        """Directory of one environment."""
        return f"{self.environments}/{digest}"

    def interpreter(self, digest: str) -> str:
        """Python interpreter of one environment."""
        return f"{self.environments}/{digest}/bin/python"
