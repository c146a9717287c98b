"""What is declared, and what has happened: files of the fleet, read again when they change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

__all__ = ["Inventory", "Process", "Watched", "read_findings", "read_history", "read_inventory"]

T = TypeVar("T")

VERSION = 1
#: Changes of the past that are shown.
_KEPT = 100


@dataclass(frozen=True)
class Process:
    """A declared process."""

    name: str
    role: str
    group: str
    unit: str
    host: str
    address: str
    ports: Mapping[str, int]


@dataclass(frozen=True)
class Inventory:
    """The fleet as declared, as ``dask_fleet.published`` writes it.

    Attributes
    ----------
    hosts
        Name, address, external address and runtime of each host, by name.
    processes
        Scheduler and workers by name, in the order of the declaration.
    environment
        Name, digest, Python and versions of packages.
    certificates
        When the certificate of each host ends, by host, as ISO 8601; ``door@HOST`` has the door's.
    door
        The reverse proxy, if one is declared.
    history, findings
        Files beside the fleet's own: who changed it, and what the doctor has found.
    """

    fleet: str = ""
    client: str = ""
    scheduler: str = ""
    tls: bool = False
    door: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    processes: Mapping[str, Process] = field(default_factory=dict)
    contract: Mapping[str, Any] = field(default_factory=lambda: {"rules": [], "rows": []})
    certificates: Mapping[str, str] = field(default_factory=dict)
    history: str = ""
    findings: str = ""

    @property
    def workers(self) -> Iterable[Process]:
        """The declared workers."""
        return (one for one in self.processes.values() if one.role == "worker")

    @property
    def versions(self) -> dict[str, str]:
        """The version of each package that the environment pins, and Python's."""
        if not self.environment:
            return {}
        python = self.environment["python"]
        own = {"python": python} if python else {}
        return {**own, **self.environment["packages"]}

    def host_of(self, address: str) -> str:
        """Return the name of the host with a contact address; empty if none has it."""
        return next((n for n, host in self.hosts.items() if host["address"] == address), "")


def read_inventory(text: str) -> Inventory:
    """Return what the file of ``dask fleet up`` says.

    Raises
    ------
    ValueError
        It is not one, or of another version of dask-fleet.
    """
    said = json.loads(text)
    if not isinstance(said, dict) or said.get("version") != VERSION:
        raise ValueError(f"version {VERSION} is expected")
    try:
        return Inventory(
            fleet=said["fleet"],
            client=said["client"],
            scheduler=said["scheduler"],
            tls=said["tls"],
            door=said["door"],
            environment=said["environment"],
            hosts={host["name"]: host for host in said["hosts"]},
            processes={one["name"]: Process(**one) for one in said["processes"]},
            contract=said["contract"],
            certificates={one["host"]: one["not_after"] for one in said["certificates"]},
            history=said["history"],
            findings=said["findings"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks something: {error}") from error


def read_history(text: str) -> tuple[dict[str, Any], ...]:
    """Return the changes of the past, the newest first; a line that was cut off is left out."""
    changes: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        if change := _change(line):
            # Its end replaces its beginning.
            changes[change.pop("identifier")] = change
    return tuple(reversed(changes.values()))[:_KEPT]


def _change(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
        return {
            "identifier": str(said["identifier"]),
            "time": str(said["time"]),
            "who": str(said["who"]),
            "what": str(said["what"]),
            "hosts": [str(host) for host in said.get("hosts", [])],
            "limit": [str(word) for word in said.get("limit", [])],
            "spec": str(said["spec"]),
            "environment": str(said["environment"]),
            "release": str(said["release"]),
            "changes": int(said["changes"]),
            "result": str(said["result"]),
            "seconds": float(said["seconds"]),
            "fault": str(said["fault"]),
        }
    except (ValueError, TypeError, KeyError):
        return None


def read_findings(text: str) -> dict[str, Any]:
    """Return what the doctor has found last, and when.

    Raises
    ------
    ValueError
        It is not what ``dask fleet doctor`` keeps.
    """
    try:
        said = json.loads(text)
        return {
            "time": float(said["time"]),
            "who": str(said["who"]),
            "findings": [
                {key: str(one[key]) for key in ("check", "severity", "place", "fault", "remedy")}
                for one in said["findings"]
            ],
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks something: {error}") from error


class Watched(Generic[T]):
    """A file that is read when it is asked for and has changed.

    Parameters
    ----------
    parse
        Makes a value of its text, or raises ValueError.
    empty
        The value while there is no file.
    """

    def __init__(self, parse: Callable[[str], T], empty: T) -> None:
        self._parse = parse
        self._empty = empty
        self._seen: tuple[str, int, int, int] | None = None
        self.value = empty
        #: Why the file cannot be used; empty when it can, or is not there.
        self.fault = ""
        #: Of the text that the value was made of.
        self.digest = ""

    def read(self, path: str) -> T:
        """Return the value of the file; the last good one as long as it cannot be read."""
        try:
            stat = Path(path).stat()
            seen = (path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return self.value
            text = Path(path).read_text(encoding="utf-8")
            value, fault = self._parse(text), ""
            self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]
        except FileNotFoundError:
            seen, value, fault = None, self._empty, ""
            self.digest = ""
        except (OSError, ValueError) as error:
            seen, value = None, self.value
            said = error.strerror if isinstance(error, OSError) else str(error)
            fault = f"{path} cannot be read: {said}"
        self._seen, self.value, self.fault = seen, value, fault
        return value
