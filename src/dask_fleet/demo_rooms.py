"""Where the demo's job runs on a host: in a directory of its own, the *room*, that ends with it.

Pure: a room is asked for commands. It has the job's files and a scratch directory, which the
fleet's user may read and write. Where processes are containers, the job runs in the scheduler's.
"""

from __future__ import annotations

from dataclasses import dataclass

from dask_fleet.command import LIVES, Command

__all__ = ["Room"]

_AS_USER = """\
set -eu
user=$1
shift
as_user() {
  [ -n "$user" ] || { "$@"; return; }
  setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --no-new-privs "$@"
}
"""
"""A shell function that runs a command as the fleet's user, if one is given. Root must not write
for it: on a shared directory root is often nobody."""

# The user may read the job's files and write into a scratch directory, both of which go with it.
_RUN = """\
room=$1
shift
umask 027
mkdir "$room"
trap 'rm -rf "$room"' EXIT
trap 'exit 143' HUP INT TERM
group=$(id -g "$user")
tar -x -f - -C "$room" --no-same-owner --no-same-permissions
mkdir "$room/scratch"
chgrp -R "$group" "$room"
chown "$user" "$room/scratch"
cd "$room/scratch"
umask 022
as_user env -i PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 HOME="$PWD" TMPDIR="$PWD" "$@" \
  </dev/null
"""

_TIDY = """\
rm -rf "$1"
[ -z "$2" ] || as_user rm -rf "$2"
"""

_SHOW = 'as_user base64 -w 0 "$1"'

# A process in a container goes on when the client of docker that has begun it is gone. It is known
# by its user, of an engine without root the caller, and by the room in its command line.
_CONTAINED = f"""\
set -eu
{LIVES}
owner=$1 room=$2
shift 2
uid=${{owner%:*}}
if [ -z "$uid" ]; then uid=$(id -u); fi
jobs_there() {{
  for place in /proc/[0-9]*; do
    if [ "$(stat -c %u "$place" 2>/dev/null)" != "$uid" ]; then continue; fi
    if tr '\\0' '\\n' <"$place/cmdline" 2>/dev/null | grep -qxF "$room/job.py"; then
      echo "${{place#/proc/}}"
    fi
  done
}}
leave() {{
  for pid in $(jobs_there); do
    kill -TERM "$pid" 2>/dev/null || :
    tries=0
    while lives "$pid" && [ "$tries" -lt 200 ]; do tries=$((tries + 1)); sleep 0.05; done
    kill -KILL "$pid" 2>/dev/null || :
  done
  rm -rf "$room"
}}
"""

_RUN_CONTAINED = """\
umask 027
mkdir "$room"
trap leave EXIT
trap 'exit 143' HUP INT TERM
tar -x -f - -C "$room" --no-same-owner --no-same-permissions
mkdir "$room/scratch"
chown -R "$owner" "$room"
"$@" </dev/null
"""

_TIDY_CONTAINED = """\
leave
[ -z "$1" ] || rm -rf "$1"
"""

_PRINT = (
    "import base64, sys; print(base64.b64encode(open(sys.argv[1], 'rb').read()).decode(), end='')"
)


@dataclass(frozen=True, slots=True)
class Room:
    """A directory for one run of the job.

    Attributes
    ----------
    path : str
        The directory, which must not be there yet.
    user : str
        The fleet's user; of containers ``UID:GID``, which no user of the host need have, and empty
        if they are the caller's own.
    python : str
        The fleet's Python, as it is named there.
    inside : tuple of str
        What stands before a command that is to run in the scheduler's container; empty without.
    """

    path: str
    user: str
    python: str
    inside: tuple[str, ...] = ()

    def run(self, argv: tuple[str, ...], packed: bytes, seconds: float) -> Command:
        """Return the command that unpacks a tar archive in the room and runs the job there."""
        title = "the demo job"
        if not self.inside:
            words = ("sh", "-c", _AS_USER + _RUN, "demo", self.user, self.path, *argv)
            return Command(words, packed, seconds, title=title)
        scratch = f"{self.path}/scratch"
        within = (*self.inside, "env", f"HOME={scratch}", f"TMPDIR={scratch}", *argv)
        text = _CONTAINED + _RUN_CONTAINED
        words = ("sh", "-c", text, "demo", self.user, self.path, *within)
        return Command(words, packed, seconds, title=title)

    def tidy(self, partial: str) -> Command:
        """Return the command that ends a job that was killed, and removes what is half done."""
        if self.inside:
            words = (_CONTAINED + _TIDY_CONTAINED, "demo", self.user, self.path, partial)
        else:
            words = (_AS_USER + _TIDY, "demo", self.user, self.path, partial)
        return Command(("sh", "-c", *words), title="tidying up after the demo job")

    def show(self, path: str, seconds: float) -> Command:
        """Return the command that prints a file in base64, on one line."""
        title = f"reading {path}"
        if self.inside:
            argv = (*self.inside, self.python, "-c", _PRINT, path)
            return Command(argv, timeout=seconds, title=title)
        words = ("sh", "-c", _AS_USER + _SHOW, "demo", self.user, path)
        return Command(words, timeout=seconds, title=title)
