"""Mutual exclusion between operators: a file on the scheduler's host, renewed while they work.

The record says who, from where and since when. Beside it lies the *turn*, a word that each holder
replaces: whoever finds it as a look has seen it knows that nobody was at work in between.
 A lease that was not renewed for ``TTL`` seconds
has expired; one whose process is dead has too, which is known at once when that process ran on
the very host that keeps the lease (same boot, same pid namespace).
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from dask_fleet.command import Command
from dask_fleet.errors import FleetError, LeaseHeldError

if TYPE_CHECKING:
    from dask_fleet.transports.base import Transport

__all__ = ["TTL", "hold"]

TTL = 60
"""Seconds after which a lease that nobody renews has expired."""

_HELD = 3

# The directory is locked while the record is looked at and replaced; flock(1) is part of
# util-linux, which every Debian, Ubuntu and Fedora has.
_TAKE = f"""\
set -eu
lease=$1 ttl=$2 force=$3 nonce=$4
[ -d "${{lease%/*}}" ] || mkdir -p "${{lease%/*}}"
exec 9<"${{lease%/*}}"
flock -w 10 9
if [ "$force" != no ] && [ "$force" != yes ]; then
  # The holder that has been found dead, if it still is the holder.
  if grep -qsF "$force" "$lease"; then force=yes; else force=no; fi
fi
if [ -s "$lease" ] && [ "$force" = no ]; then
  field() {{ sed -n 's/.*"'"$1"'": "\\([^"]*\\)".*/\\1/p' "$lease"; }}
  alive=yes
  [ $(($(date +%s) - $(stat -c %Y "$lease"))) -le "$ttl" ] || alive=no
  here="$(cat /proc/sys/kernel/random/boot_id) $(readlink /proc/self/ns/pid)"
  if [ "$(field machine)" = "$here" ]; then
    state=$(sed 's/.*) //' "/proc/$(field pid)/stat" 2>/dev/null || :)
    [ "$(echo "$state" | cut -d' ' -f20)" = "$(field began)" ] || alive=no
    case $state in [ZX]*) alive=no ;; esac
  fi
  if [ $alive = yes ]; then cat "$lease"; exit {_HELD}; fi
fi
umask 077
cat >"$lease.new"
if [ -f "$lease.turn" ]; then cat "$lease.turn"; fi
echo "$nonce" >"$lease.turn"
mv "$lease.new" "$lease"
"""

_RENEW = """\
grep -qF "$2" "$1" && touch "$1"
"""

_GIVE_BACK = """\
set -eu
exec 9<"${1%/*}"
flock -w 10 9
if grep -qsF "$2" "$1"; then rm "$1"; fi
"""


def _shell(text: str, *arguments: str, stdin: bytes = b"") -> Command:
    return Command(("sh", "-c", text, "lease", *arguments), stdin, timeout=20)


def _record(purpose: str, nonce: str) -> bytes:
    own = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    fields = {
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
        "purpose": purpose,
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "pid": str(os.getpid()),
        "began": own.rpartition(")")[2].split()[19],
        "machine": f"{boot} {Path('/proc/self/ns/pid').readlink()}",
        "nonce": nonce,
    }
    return json.dumps(fields).encode() + b"\n"


@contextlib.asynccontextmanager
async def hold(
    transport: Transport, path: str, purpose: str, *, force: bool = False
) -> AsyncGenerator[str]:
    """Hold the lease of a fleet while the block runs.

    Parameters
    ----------
    transport : Transport
        To the host that keeps the lease.
    path : str
        The lease there.
    purpose : str
        What it is held for, shown to whoever else comes.
    force : bool
        Whether to take it from its holder.

    Yields
    ------
    str
        The turn of whoever held it before; empty if nobody did.

    Raises
    ------
    LeaseHeldError
        Somebody else holds it.
    """
    nonce = secrets.token_hex(8)

    def taking(by_force: str) -> Command:
        words = (str(TTL), by_force, nonce)
        return _shell(_TAKE, path, *words, stdin=_record(purpose, nonce))

    take = taking("yes" if force else "no")
    outcome = await transport.run(take, check=False)
    if outcome.status == _HELD and (dead := _dead_holder(outcome.stdout)):
        take = taking(dead)
        outcome = await transport.run(take, check=False)
    if outcome.status == _HELD:
        raise LeaseHeldError(
            _holder(outcome.stdout),
            "wait until they are done; if they are gone for good, `dask fleet up --break-lease`"
            f" (a lease that is not renewed expires after {TTL} s)",
        )
    if outcome.status != 0:
        outcome = await transport.run(take)  # once more, for the full report of the failure
    renewing = asyncio.create_task(_renew(transport, path, nonce))
    try:
        yield outcome.stdout.strip()
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        # A lease that cannot be given back expires; what the block did counts all the same.
        with contextlib.suppress(FleetError):
            await transport.run(_shell(_GIVE_BACK, path, nonce), check=False)


def _dead_holder(text: str) -> str:
    """Return the nonce of a holder that ran on this very machine and runs no more, or nothing.

    The host that keeps the lease knows that only of processes of its own.
    """
    try:
        record = json.loads(text)
        machine, pid, began, nonce = (record[key] for key in ("machine", "pid", "began", "nonce"))
    except (ValueError, KeyError, TypeError):
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    if machine != f"{boot} {Path('/proc/self/ns/pid').readlink()}":
        return ""
    try:
        stat = Path(f"/proc/{int(pid)}/stat").read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return str(nonce)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] not in "ZX" and fields[19] == began else str(nonce)


def _holder(text: str) -> str:
    """Return who holds the lease, for people; the record may be one that nobody can read."""
    try:
        record = json.loads(text)
        return (
            f"{record['who']} (pid {record['pid']}) is at work on this fleet"
            f" with `{record['purpose']}` since {record['since']}"
        )
    except (ValueError, KeyError, TypeError):
        return "somebody is at work on this fleet; the record of their lease cannot be read"


async def _renew(transport: Transport, path: str, nonce: str) -> None:
    while True:
        await asyncio.sleep(TTL / 4)
        # Once may fail: there is time for three more before the lease expires.
        with contextlib.suppress(FleetError):
            await transport.run(_shell(_RENEW, path, nonce), check=False)
