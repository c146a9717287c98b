"""What the doctor found last is kept on the scheduler's host, where the console shows it."""

from __future__ import annotations

import dataclasses
import getpass
import json
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dask_fleet.command import GROUP_OF, Command
from dask_fleet.published import INVENTORY

if TYPE_CHECKING:
    from dask_fleet.checks.findings import Finding
    from dask_fleet.observer import HostAccess

__all__ = ["keep"]

# Parameters: a file that is there while the fleet is, the file to be written, who may read it.
# The directory is root's where units run as somebody else, so nobody can lead the writing astray.
_KEEP = f"""\
{GROUP_OF}set -eu
umask 077
[ -f "$1" ] || exit 0
cat >"$2.new"
if [ -n "$3" ]; then
  chgrp "$(group_of "$3")" "$2.new"
  chmod 640 "$2.new"
fi
mv "$2.new" "$2"
"""


async def keep(access: HostAccess, findings: Iterable[Finding]) -> None:
    """Write findings on the scheduler's host, if the fleet is there.

    Parameters
    ----------
    access : HostAccess
        How the scheduler's host is reached.
    findings : iterable of Finding
        What was found just now.

    Raises
    ------
    FleetError
        The host cannot be reached, or has no room.
    """
    places, reader = access.places, access.runtime.reader
    content = {
        "time": round(time.time(), 1),
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
        "findings": [dataclasses.asdict(one) for one in findings],
    }
    words = (f"{places.deployed}/{INVENTORY}", places.findings, reader)
    argv = ("sh", "-c", _KEEP, "keep", *words)
    command = Command(argv, json.dumps(content).encode(), title="keep what the doctor found")
    await access.transport.run(command)
