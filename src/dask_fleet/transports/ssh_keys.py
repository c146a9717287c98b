"""Host keys: which are known, what an unknown or a changed one means, and how one is accepted."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

from dask_fleet.errors import UnreachableHostError
from dask_fleet.transports.ssh_library import asyncssh

__all__ = ["HostKeys", "Verifier", "label"]

_GLOBAL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
_USER = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")


def label(host: str, port: int) -> str:
    """Return the name of a server in known_hosts."""
    return host if port == 22 else f"[{host}]:{port}"


class HostKeys:
    """The known host keys of the user and of the system.

    Parameters
    ----------
    user, system : tuple of str
        Files as ``UserKnownHostsFile`` and ``GlobalKnownHostsFile`` name them; empty for the
        usual ones. The first of the user's is where accepted keys are written.
    """

    def __init__(self, user: tuple[str, ...] = (), system: tuple[str, ...] = ()) -> None:
        self.paths = tuple(Path(path).expanduser() for path in user or _USER)
        self._all = self.paths + tuple(Path(path).expanduser() for path in system or _GLOBAL)
        self._seen: tuple[object, ...] = ()
        self._known = asyncssh.SSHKnownHosts()

    def match(self, host: str, port: int, *, exact: bool = False) -> tuple[list[Any], ...]:
        """Return trusted keys, trusted authorities and revoked keys.

        A key without a port counts for every port as long as none is known with that port, as
        OpenSSH has it.
        """
        known = self._read()
        found = known.match(label(host, port), "", None)[:3]
        if port != 22 and not exact and not (found[0] or found[1]):
            found = known.match(host, "", None)[:3]
        return tuple(list(keys) for keys in found)

    def accept(self, host: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Add a key of a server that none is known of; False when somebody added another one."""
        path = self.paths[0]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            self._seen = ()
            trusted = self.match(host, port, exact=True)[0]
            if trusted:
                return key in trusted
            name = label(host, port)
            if any(line.startswith(b"|1|") for line in before.splitlines()):
                name = _hashed(name)
            line = f"{name} {key.export_public_key().decode().strip()}\n".encode()
            file.write(line if not before or before.endswith(b"\n") else b"\n" + line)
        self._seen = ()
        return True

    def _read(self) -> asyncssh.SSHKnownHosts:
        seen = tuple(_stamp(path) for path in self._all)
        if seen != self._seen:
            known = asyncssh.SSHKnownHosts()
            for path, stamp in zip(self._all, seen, strict=True):
                if stamp is None:
                    continue
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    # OpenSSH passes over lines that it cannot read, too.
                    with contextlib.suppress(ValueError):
                        known.load(line)
            self._known, self._seen = known, seen
        return self._known


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _hashed(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


class Verifier(asyncssh.SSHClient):
    """Decides on the key of one server.

    Parameters
    ----------
    place : str
        Name of the host in the spec.
    keys : HostKeys
        What is known.
    host, port : str, int
        Under which name the server is known.
    accept_new : bool
        Whether the key of a server that none is known of is accepted and written down.
    near : bool
        Whether the server is dialled from here under that name, so that `ssh-keyscan` finds it.

    Attributes
    ----------
    fault : UnreachableHostError or None
        Why the key was refused.
    """

    def __init__(
        self,
        place: str,
        keys: HostKeys,
        host: str,
        port: int,
        *,
        accept_new: bool,
        near: bool = True,
    ) -> None:
        self.place, self.keys, self.host, self.port = place, keys, host, port
        self.accept_new, self.near = accept_new, near
        self.fault: UnreachableHostError | None = None

    def trusted(self, *_: object) -> tuple[list[Any], ...]:
        """Return what asyncssh is to take for known."""
        return self.keys.match(self.host, self.port)

    def algorithms(self) -> tuple[str, ...]:
        """Return the kinds of key to ask for: known ones first, then all; empty for the usual.

        asyncssh would ask for known kinds only. A server that has none of them would break off,
        and nobody could say that its key has changed.
        """
        trusted, authorities, _ = self.trusted()
        if authorities or not trusted:
            return ()
        known = [name.decode() for key in trusted for name in key.sig_algorithms]
        return tuple(dict.fromkeys((*known, *_KINDS)))

    def validate_host_public_key(  # noqa: D102
        self,
        host: str,  # noqa: ARG002
        addr: str,  # noqa: ARG002
        port: int,  # noqa: ARG002
        key: asyncssh.SSHKey,
    ) -> bool:
        trusted, authorities, _ = self.keys.match(self.host, self.port, exact=True)
        if key in trusted:  # accepted by another connection since this one began
            return True
        if trusted or authorities:
            self.fault = self.changed(key)
            return False
        if self.accept_new:
            if self.keys.accept(self.host, self.port, key):
                return True
            self.fault = self.changed(key)
            return False
        self.fault = self._unknown(key)
        return False

    def changed(self, key: asyncssh.SSHKey | None = None) -> UnreachableHostError:
        """Return the error of a server whose key is not the one that is known."""
        name = label(self.host, self.port)
        which = f"; it is now {key.get_fingerprint()}" if key else ""
        word = f"'{name}'" if name.startswith("[") else name
        return UnreachableHostError(
            self.place,
            f"the host key of {name} is not the one in {self.keys.paths[0]}{which}",
            "somebody may be in between, or the machine was made anew. Ask its administrator; "
            f"only if it was made anew: ssh-keygen -f {self.keys.paths[0]} -R {word}",
        )

    def _unknown(self, key: asyncssh.SSHKey) -> UnreachableHostError:
        port = "" if self.port == 22 else f"-p {self.port} "
        scan = f", or: ssh-keyscan {port}{self.host} >> {self.keys.paths[0]}" if self.near else ""
        return UnreachableHostError(
            self.place,
            f"the host key of {label(self.host, self.port)} is not known: "
            f"{key.get_algorithm()} {key.get_fingerprint()}",
            "compare the fingerprint with that of the machine, then: dask fleet up --accept-new"
            + scan,
        )
