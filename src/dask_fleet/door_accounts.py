"""Who may come in at the door: read and changed on the door's host, where nginx reads it too.

The files lie beside the fleet's directory, so that people may be let in before the first `up` and
are still known after a `down`. What they hold travels by standard input and output of commands,
within SSH, and is shown to nobody.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dask_fleet import history, lease
from dask_fleet.account_secrets import new_secret
from dask_fleet.actions import Change, Plan
from dask_fleet.command import script
from dask_fleet.door import declared_door
from dask_fleet.errors import CommandFailedError, FleetError
from dask_fleet.installing import install
from dask_fleet.proxy.accounts import COOKIES, LENGTH, PASSWORDS, SESSIONS, TOKENS, Accounts
from dask_fleet.proxy.taking_over import TOOK_OVER, take_over
from dask_fleet.target import ManagedFile

if TYPE_CHECKING:
    from dask_fleet.door import Door
    from dask_fleet.fleet import Fleet
    from dask_fleet.observer import HostAccess

__all__ = ["Changed", "change", "now", "read"]

_FILES = (PASSWORDS, SESSIONS, COOKIES, TOKENS)

# Each line of a file behind the file's name, and the user whom workers of the host's nginx run as.
_READ = r"""
set -eu
place=$1 own=$2
shift 2
if [ "$own" = no ] && command -v nginx >/dev/null; then
  user=$(sed -n 's/^[[:space:]]*user[[:space:]]\{1,\}\([^;[:space:]]*\).*/\1/p' \
    /etc/nginx/nginx.conf | head -n 1)
  echo "reader ${user:-nobody}"
fi
for name in "$@"; do
  if [ -f "$place/$name" ]; then sed "s/^/$name /" "$place/$name"; fi
done
"""

# Workers of nginx pass through these to the passwords; what lies there has modes of its own.
_PLACE = """
set -eu
umask 022
mkdir -p "$1"
chmod 755 "$1" "${1%/*}" "${1%/*/*}"
"""

_SECRET = re.compile(rf"[a-z2-7]{{{LENGTH}}}|\$[0-9a-z]+\$\S+")


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change has led to.

    Attributes
    ----------
    accounts : Accounts
        Everybody who may come in now.
    live : bool
        Whether nginx has taken it over; if not, the door is not up.
    """

    accounts: Accounts
    live: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """What lies on the door's host: the files' texts, and who reads passwords there.

    ``reader`` is empty where the fleet's own nginx reads them, or where there is no nginx.
    """

    texts: Mapping[str, str]
    reader: str


def now() -> str:
    """Return the time, as it stands beside a name."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


async def read(fleet: Fleet) -> Accounts:
    """Return who may come in.

    Raises
    ------
    FleetError
        The fleet has no door, or its files cannot be read.
    UnreachableHostError
        Its host does not answer.
    """
    door = declared_door(fleet.layout)
    access = fleet.hosts[door.host]
    return _parsed(access, await _held(access, door))


async def change(
    fleet: Fleet, what: str, edit: Callable[[Accounts], Accounts], *, hang_up: bool = False
) -> Changed:
    """Change who may come in, under the fleet's lease, and let nginx take it over.

    Parameters
    ----------
    fleet : Fleet
        Whose door.
    what : str
        What is done, for lease and history: ``user add ann``.
    edit : callable
        Returns who is to come in from who may.
    hang_up : bool
        Whether pages that are open are ended, of everybody: nginx does not know whose they are.

    Raises
    ------
    LeaseHeldError
        Somebody else is at work on the fleet.
    CommandFailedError
        nginx does not take it; then everything is as it was.
    FleetError
        The fleet has no door, its host has no nginx, or ``edit`` refuses.
    """
    door = declared_door(fleet.layout)
    access, keeper = fleet.hosts[door.host], fleet.scheduler_access
    async with lease.hold(keeper.transport, keeper.places.lease, f"dask fleet door {what}"):
        held = await _held(access, door)
        if not door.own and not held.reader:
            raise FleetError(
                f"{door.host}: there is no nginx, which is to read who may come in",
                "`apt-get install nginx-light` there, then try it again",
            )
        accounts = edit(_parsed(access, held)).with_sessions(iter(new_secret, None))
        async with history.recorded(keeper, _entry(fleet, door, what)):
            await _write(access, door, accounts.files(), held.reader)
            try:
                live = await _take_over(fleet.layout.name, access, door, hang_up=hang_up)
            except FleetError:
                await _put_back(access, door, held)
                raise
    return Changed(accounts, live)


async def _held(access: HostAccess, door: Door) -> _Held:
    command = script(_READ, access.places.door, "yes" if door.own else "no", *_FILES)
    # Its output must not get into a message.
    outcome = await access.transport.run(command, check=False)
    if outcome.status != 0:
        raise CommandFailedError(
            access.transport.host,
            "read who may come in at the door",
            outcome.status,
            outcome.stderr or "it does not say why",
        )
    texts: dict[str, str] = {}
    for line in outcome.stdout.splitlines():
        name, _, rest = line.partition(" ")
        texts[name] = texts.get(name, "") + rest + "\n"
    return _Held(texts, texts.pop("reader", "").strip())


def _parsed(access: HostAccess, held: _Held) -> Accounts:
    return Accounts.parse(held.texts, f"{access.transport.host}: {access.places.door}")


def _entry(fleet: Fleet, door: Door, what: str) -> history.Entry:
    subject, verb, name = what.split(" ", 2)
    only = Change(door.host, "remove" if verb == "rm" else "create", f"{subject} {name}", "")
    digests = (fleet.blueprint.digest, fleet.environment.digest, fleet.blueprint.release)
    return replace(history.Entry.begin(f"door {what}", *digests, Plan((only,))), hosts=(door.host,))


async def _write(access: HostAccess, door: Door, files: Mapping[str, bytes], reader: str) -> None:
    place = access.places.door
    if not door.own:
        await access.transport.run(script(_PLACE, place))
    managed = [
        # The workers of nginx read passwords, at each login; its master reads the others, once.
        ManagedFile(f"{place}/{name}", content, 0o640 if name == PASSWORDS and reader else 0o600)
        for name, content in files.items()
    ]
    await access.transport.run(install(managed, reader=reader))


async def _put_back(access: HostAccess, door: Door, held: _Held) -> None:
    """Write what was there before, and remove what was not."""
    files = {name: text.encode() for name, text in held.texts.items()}
    if files:
        await _write(access, door, files, held.reader)
    gone = [f"{access.places.door}/{name}" for name in _FILES if name not in files]
    if gone:
        await access.transport.run(install((), gone))


async def _take_over(fleet: str, access: HostAccess, door: Door, *, hang_up: bool) -> bool:
    """Let nginx read the files anew and return whether it did; false if it does not run."""
    command = take_over(fleet, access.places, own=door.own, hang_up=hang_up)
    outcome = await access.transport.run(command, check=False)
    if outcome.status != 0:
        # nginx quotes keys of maps, which are secrets.
        raise CommandFailedError(
            access.transport.host,
            "let nginx read who may come in",
            outcome.status,
            _SECRET.sub("****", outcome.stderr or outcome.stdout),
            "mend what nginx says; who may come in is as it was before",
        )
    return outcome.stdout.strip() == TOOK_OVER
