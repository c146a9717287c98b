"""A command as the line that sshd gives to the login shell; the only place that quotes.

The line starts a small POSIX script, which writes a mark and its process group to the output
and then becomes the command. What stands before the mark is noise of the login shell's start
files. Without a mark nothing was begun. The process group is what a second channel kills, since
sshd ends nothing when a channel closes. All of that costs no round trip.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

__all__ = ["MISSING", "Begun", "begun", "kill_line", "wrap"]

MISSING = "missing"
"""Stands in the mark when the program is not there."""

# A group is only taken for the command's own if its leader is the command or the sudo above it:
# a server that makes no session for a command would otherwise have us kill the server.
_BEGIN = f"""\
PATH=${{PATH:-/usr/local/bin:/usr/bin:/bin}}:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
unset LANG LANGUAGE
mark=$1 merged=$2 own=$$
shift 2
read -r stat </proc/$$/stat
stat=${{stat##*) }}
stat=${{stat#* * }}
group=${{stat%% *}}
case $group in $$|$PPID) ;; *) group=0 ;; esac
command -v "$1" >/dev/null 2>&1 || own={MISSING}
echo "$mark $own $group"
if [ "$merged" = yes ]; then exec 2>&1; else echo "$mark" >&2; fi
[ "$own" = $$ ] || exit 127
exec "$@"
"""

_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -n -H -- "$@"; fi'


@dataclass(frozen=True, slots=True)
class Begun:
    """What the mark says.

    Attributes
    ----------
    pid : int or None
        The command's process; None when the program is missing.
    group : int
        Its process group; 0 when that is not known to be its own.
    """

    pid: int | None
    group: int


def wrap(argv: tuple[str, ...], mark: str, *, sudo: bool, merged: bool) -> str:
    """Return the line that runs an argv.

    Parameters
    ----------
    argv : tuple of str
        Program and arguments.
    mark : str
        A word that the command's output does not hold.
    sudo : bool
        Whether it is to be run as root.
    merged : bool
        Whether standard error goes into standard output.
    """
    inner = ("sh", "-c", _BEGIN, "dask-fleet", mark, "yes" if merged else "no", *argv)
    return _line(inner, sudo=sudo)


def kill_line(begun: Begun, *, sudo: bool) -> str:
    """Return the line that ends a command and all that it has started."""
    target = f"-{begun.group}" if begun.group else str(begun.pid)
    return _line(("sh", "-c", 'kill -s KILL -- "$1"', "dask-fleet", target), sudo=sudo)


def begun(line: bytes) -> Begun:
    """Read the line that bears the mark."""
    _, own, group = line.decode().split()
    return Begun(None if own == MISSING else int(own), int(group))


def _line(argv: tuple[str, ...], *, sudo: bool) -> str:
    if sudo:
        argv = ("sh", "-c", _AS_ROOT, "dask-fleet", *argv)
    return "exec " + shlex.join(argv)
