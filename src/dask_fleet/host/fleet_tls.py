"""Certificates that were replaced are taken over while processes run.

Dask reads its certificate when it makes an SSL context, once for each server and each
dialler, and keeps that context for good. OpenSSL lets a live context be given another pair:
handshakes from then on show the new certificate, and connections that are open go on.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from pathlib import Path
from typing import Any

import dask.config
import fleet_dask
from dask.utils import parse_timedelta
from distributed import Security

__all__ = ["FleetSecurity", "keep_current"]

#: Key of Dask's configuration: how often the files are looked at.
INTERVAL = "fleet.certificates.interval"

Seen = tuple[tuple[int, int], ...]


class FleetSecurity(Security):
    """Dask's security, as its configuration says, which remembers the contexts it has made.

    A process has one of them. Each role's context is made once, so whatever starts later in the
    process, such as a nanny in the place of another, does not meet half of a pair that is being
    replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arguments: dict[tuple[str, str], dict[str, Any]] = {}
        self.pairs: dict[tuple[str, str], Pair] = {}

    def __reduce__(self) -> tuple[type[FleetSecurity], tuple[()]]:
        """Go to another process, say from nanny to worker, without contexts."""
        return FleetSecurity, ()

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Return what a dialler of this role needs."""
        return dict(self._made("connect", role, super().get_connection_args))

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Return what a server of this role needs."""
        return dict(self._made("listen", role, super().get_listen_args))

    def _made(self, what: str, role: str, make: Any) -> dict[str, Any]:
        key = what, role
        if key not in self.arguments:
            own = self.get_tls_config_for_role(role)
            paths = own["cert"], own["key"] or own["cert"]
            # What is seen before the files are read is never newer than what is read.
            seen = look(paths) if own["ca_file"] and own["cert"] else ()
            made = make(role)
            if (context := made["ssl_context"]) is not None:
                trusted = Path(own["ca_file"]).read_text(encoding="ascii")
                pair = self.pairs.setdefault(paths, Pair(paths, trusted, seen))
                pair.contexts.append(context)
            self.arguments[key] = made
        return self.arguments[key]

    def take_over(self) -> None:
        """Give every context the pair that lies in its files, if that was replaced and fits."""
        for pair in self.pairs.values():
            pair.take_over()


class Pair:
    """A certificate and its key in files, and the contexts that show them.

    Parameters
    ----------
    paths
        Files of the certificate and of the key.
    trusted
        The authority that the contexts trust, in PEM. Another one needs a restart.
    seen
        What `look` said of the files that the contexts were made from.
    """

    def __init__(self, paths: tuple[str, str], trusted: str, seen: Seen) -> None:
        self.paths = paths
        self.trusted = trusted
        self.seen = seen
        self.contexts: list[ssl.SSLContext] = []
        self.refused: Seen = ()

    def take_over(self) -> None:
        """Look at the files once; what does not fit is looked at again the next time."""
        now = look(self.paths)
        if now == self.seen:
            return
        certificate, key = self.paths
        try:
            until = tried(certificate, key, self.trusted)
            for context in self.contexts:
                context.load_cert_chain(certificate, key)
        except OSError as error:  # an ssl.SSLError is one
            # Certificate and key come by two renames: the other half may be on its way.
            if now != self.refused:
                self.refused = now
                fleet_dask.say(f"{certificate} is not taken over yet: {error}")
            return
        self.seen = now
        fleet_dask.say(f"took over {certificate}, which holds until {until}")


def look(paths: tuple[str, ...]) -> Seen:
    """Return what changes whenever one of the files is replaced; nothing if one is away."""
    try:
        stats = [Path(path).stat() for path in paths]
    except OSError:
        return ()
    return tuple((stat.st_ino, stat.st_mtime_ns) for stat in stats)


def tried(certificate: str, key: str, trusted: str) -> str:
    """Shake hands with oneself in memory, and return until when the certificate holds.

    A context that is given a certificate without its key cannot shake hands any more, so a pair
    is tried before live contexts have it.

    Raises
    ------
    OSError
        The files cannot be read, do not belong together, do not hold now, or were signed by
        another authority.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=trusted)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    dialling, serving = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    # Whoever has said all that it can waits for the other; with TLS 1.3 that is once each.
    for end in (dialling, serving):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    dialling.do_handshake()
    serving.do_handshake()
    ends = str((dialling.getpeercert() or {})["notAfter"])
    return time.strftime("%Y-%m-%d", time.gmtime(ssl.cert_time_to_seconds(ends)))


def keep_current(security: FleetSecurity) -> Any:
    """Look at the certificates now and then, on the loop that runs, as long as it does.

    Returns
    -------
    tornado.ioloop.PeriodicCallback
        Its ``stop`` ends that.
    """
    from tornado.ioloop import PeriodicCallback

    seconds = parse_timedelta(dask.config.get(INTERVAL, "30s"))
    looking = PeriodicCallback(security.take_over, seconds * 1000)
    looking.start()
    return looking
