"""What is said about reaching a host with SSH, as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["SshHost", "parse_jump"]

_JUMP = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[^\]\s]+)\]|(?P<host>[^@:\s\[\]]+))(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class SshHost:
    """How one host is reached; what is None is what ``~/.ssh/config`` says.

    Attributes
    ----------
    name : str
        Name of the host in the spec.
    address : str
        What is dialled, if ``~/.ssh/config`` has no ``HostName`` for it.
    user : str or None
        User to log in as.
    port : int or None
        Port of the SSH server.
    identity_file : str or None
        File with the private key, on the operator's machine.
    jump : str or None
        Host to go through: another host by its name, or ``[user@]host[:port]``.
    sudo : bool
        Whether commands are run as root, with sudo.
    """

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    jump: str | None = None
    sudo: bool = False


def parse_jump(text: str) -> SshHost | None:
    """Return what ``[user@]host[:port]`` says, or None where it cannot be read.

    An IPv6 address with a port stands in brackets, as in ``[fd00::1]:2222``; without a port it
    may stand alone.
    """
    user, at, rest = text.rpartition("@")
    if rest.count(":") > 1 and not rest.startswith("["):
        text = f"{user}{at}[{rest}]"
    found = _JUMP.fullmatch(text)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 1 <= port <= 65535:
        return None
    return SshHost(text, found["six"] or found["host"], found["user"], port)
