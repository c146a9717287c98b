"""An ACME server in the lab: Pebble, Debian's, which is made for tests of clients (RFC 8555).

It has an authority of its own for its own address, as one in a company has, and a name server that
leads every name to one host. It knocks at port 80 of that host, as any ACME server does.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest
from lab import Host

from dask_fleet.tls.authority import Authority
from tests.vms.operator import eventually

PEBBLE = Path("/usr/bin/pebble")
OPERATOR = "10.77.0.1"
DIRECTORY = f"https://{OPERATOR}:14000/dir"
_DNS, _DNS_MANAGEMENT, _MANAGEMENT = 8053, 8055, 15000
_DAYS = 20
"""How long its certificates hold: certbot renews those that end within 30 days."""


@dataclass(frozen=True)
class AcmeServer:
    """An ACME server that runs.

    Attributes
    ----------
    authority : str
        File with the authority that vouches for the server's own address.
    root : str
        File with the authority that signs what it gives.
    """

    authority: str
    root: str


@contextlib.contextmanager
def acme_server(folder: Path, leads_to: Host) -> Iterator[AcmeServer]:
    """Run an ACME server for which every name leads to one host."""
    if not PEBBLE.exists():
        pytest.fail(
            f"{PEBBLE} is not there: run the tests by `make test-vms`, or install it with "
            "`apt-get install pebble`",
            pytrace=False,
        )
    folder.mkdir(parents=True)
    authority = Authority(folder / "authority", "company")
    own = authority.ensure({"acme": (OPERATOR,)}, now=datetime.now(timezone.utc))["acme"]
    pair = {"certificate": folder / "own.pem", "privateKey": folder / "own.key"}
    pair["certificate"].write_bytes(own.certificate)
    pair["privateKey"].write_bytes(own.key.reveal())
    settings = {
        "listenAddress": f"{OPERATOR}:14000",
        "managementListenAddress": f"{OPERATOR}:{_MANAGEMENT}",
        **{key: str(path) for key, path in pair.items()},
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "certificateValidityPeriod": _DAYS * 86400,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    names = [
        "/usr/bin/pebble-challtestsrv",
        *("-dns01", f"{OPERATOR}:{_DNS}", "-management", f"{OPERATOR}:{_DNS_MANAGEMENT}"),
        *("-http01", "", "-https01", "", "-tlsalpn01", ""),
        *("-defaultIPv4", leads_to.address, "-defaultIPv6", ""),
    ]
    server = [
        *(str(PEBBLE), "-strict", "-config", str(folder / "pebble.json")),
        *("-dnsserver", f"{OPERATOR}:{_DNS}"),
    ]
    # It neither waits at random nor takes an earlier answer for a new one.
    environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}
    environ["PEBBLE_WFE_NONCEREJECT"] = "0"
    with (
        _running(names, folder / "names.log", environ, _DNS),
        _running(server, folder / "pebble.log", environ, _MANAGEMENT),
    ):
        root = folder / "root.pem"
        context = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
        url = f"https://{OPERATOR}:{_MANAGEMENT}/roots/0"
        with urllib.request.urlopen(url, timeout=15, context=context) as answer:
            root.write_bytes(answer.read())
        yield AcmeServer(str(authority.directory / "ca.pem"), str(root))


@contextlib.contextmanager
def trusted(host: Host, acme: AcmeServer) -> Iterator[None]:
    """Let a host trust the address of the server, as a host trusts its company's services."""
    place = "/usr/local/share/ca-certificates/company.crt"
    host.run(["tee", place], text=Path(acme.authority).read_text())
    host.run(["update-ca-certificates"])
    try:
        yield
    finally:
        host.run(f"rm -f {place} && update-ca-certificates --fresh")
        host.run("cd /etc/letsencrypt && rm -rf accounts archive live renewal")


@contextlib.contextmanager
def _running(argv: list[str], log: Path, environ: dict[str, str], port: int) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection((OPERATOR, port), 1).close()
            return True
        return False

    try:
        eventually(f"{argv[0]} listens", listens, 60)
        yield
    finally:
        process.kill()
        process.wait()
