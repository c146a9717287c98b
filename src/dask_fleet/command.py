"""A command as a value: argv and standard input, to be printed and tested without running."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

__all__ = ["GROUP_OF", "LIVES", "UNBOUNDED", "Command", "Outcome", "script"]

UNBOUNDED = 10.0 * 365 * 86400
"""Seconds, for a command that goes on until its reader stops: ten years."""

LIVES = """\
lives() {
  case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in ""|Z*|X*) return 1 ;; esac
}
"""
"""A shell function that says whether a pid is a process that still runs.

`kill -0` is not enough: it succeeds on a process that has ended and that its parent, or the
init of a container, has not waited for.
"""


GROUP_OF = """\
group_of() { id -gn "$1" 2>/dev/null || case $1 in [0-9]*) echo "$1" ;; *) return 1 ;; esac; }
"""
"""A shell function that prints the group of a reader (`Runtime.reader`), if there is one.

A reader is a user of the host or, of containers, the number of a group that it need not know.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run on a host.

    Attributes
    ----------
    argv : tuple of str
        Program and arguments; never a line for a shell, never a secret.
    stdin : bytes
        Content for its standard input.
    files : tuple of str
        Paths of the operator's own files; what they hold follows ``stdin`` on standard input. It
        is read piece by piece, so that a file may be larger than the memory.
    title : str
        What people read instead of a long ``argv``.
    timeout : float
        Seconds after which it is ended and counts as failed; `UNBOUNDED` for one that follows.
    output : str
        Path of a file of the operator's that takes standard output, which may be of any size and
        need not be text. Only `Transport.run` knows it; its outcome has no ``stdout`` then.
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    timeout: float = 60.0
    files: tuple[str, ...] = ()
    title: str = ""
    output: str = ""

    def __str__(self) -> str:
        return self.title or shlex.join(self.argv)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit status and its output as text."""

    status: int
    stdout: str
    stderr: str


def script(text: str, *arguments: str, timeout: float = 60.0) -> Command:
    """Return the command that runs a POSIX shell script given on standard input.

    Parameters
    ----------
    text : str
        The script.
    *arguments : str
        Its positional parameters.
    timeout : float
        Seconds.
    """
    return Command(("sh", "-s", "--", *arguments), text.encode(), timeout)
