"""The journal of a fleet: every action is written down before it begins and after it has ended.

It lies beside the fleet's state on the host and is for people and for `history`; no plan reads
it, because a plan reads the hosts themselves.
"""

from __future__ import annotations

import getpass
import json
import socket
import time
from typing import TYPE_CHECKING

from dask_fleet.command import Command

if TYPE_CHECKING:
    from dask_fleet.transports.base import Transport

__all__ = ["Journal"]

_APPEND = 'mkdir -p -m 700 "${1%/*}" && cat >>"$1"'


class Journal:
    """Appends lines of JSON to the journal on one host.

    Parameters
    ----------
    transport : Transport
        To the host.
    path : str
        The journal there.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path
        self._who = f"{getpass.getuser()}@{socket.gethostname()}"

    async def write(self, what: str, **fields: object) -> None:
        """Append one line: time, operator, what happens, and further fields."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "who": self._who,
            "what": what,
            **fields,
        }
        line = json.dumps(entry, default=str).encode() + b"\n"
        await self._transport.run(Command(("sh", "-c", _APPEND, "journal", self._path), line))
