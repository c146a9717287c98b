"""The journal of a fleet: every action is written down before it begins and after it has ended.

It lies beside the fleet's state on the host and is for people; no plan reads it, because a plan
reads the hosts themselves.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import socket
from typing import TYPE_CHECKING

from dask_fleet.command import Command

if TYPE_CHECKING:
    from dask_fleet.transports.base import Transport

__all__ = ["Journal"]

# Both lines travel with the command that they are about: no program is started for them and no
# round trip is made. They hold names of actions and hosts, never a secret.
_NOTE = """\
journal=$1 begin=$2
note() {
  printf '{"time": "%s", %s\\n' "$(date +%Y-%m-%dT%H:%M:%S%z)" "$1" >>"$journal"
}
(umask 077 && { [ -d "${journal%/*}" ] || mkdir -p "${journal%/*}"; } && note "$begin") || exit
"""

_AROUND = f"""\
{_NOTE}
done=$3
shift 3
"$@"
status=$?
if [ "$status" -eq 0 ]; then note "$done"; fi
exit "$status"
"""


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

    @property
    def host(self) -> str:
        """The host that it lies on."""
        return self._transport.host

    def around(self, command: Command, action: str) -> Command:
        """Return the command that says what it begins, does it, and says that it is done."""
        lines = (self._line("begin", action), self._line("done", action))
        argv = ("sh", "-c", _AROUND, "journal", self._path, *lines, *command.argv)
        return dataclasses.replace(command, argv=argv, title=str(command))

    async def write(self, what: str, action: str) -> None:
        """Write one line by itself, for an action that is more than one command."""
        argv = ("sh", "-c", _NOTE, "journal", self._path, self._line(what, action))
        await self._transport.run(Command(argv, title="write the journal"))

    def _line(self, what: str, action: str) -> str:
        """Return the inside of an object of JSON, behind its time."""
        return json.dumps({"who": self._who, "what": what, "action": action})[1:]
