"""A fleet of the lab that speaks TLS, and the clients that dial it."""

from __future__ import annotations

import hashlib
import socket
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

from lab import Lab
from lab.host import Host

from dask_fleet.tls.certificates import CERTIFICATE_FILE
from dask_fleet.tls.signing import Signer, certificate_pem, parse_certificate, parse_key, sign
from tests.vms.operator import FLEET, Operator

TLS = f"""\
{FLEET}tls: true
config:
  fleet.certificates.interval: 500ms
  storage:
    endpoint: eu
    s3: {{secret-access-key: planted-one-0}}
    password: planted-two-0
  api.token: planted-three-0
variables: {{S3_SECRET_KEY: planted-four-0, DB_PASSWORD: planted-five-0}}
"""
"""The lab's fleet with TLS, and passwords among its settings that nobody may see."""

DEPLOYED = "/var/lib/dask-fleet/fleets/sst/etc"
SCHEDULER = "tls://10.77.0.11:8786"
DIALS = 10.0
"""Seconds that one connection in the lab may take."""

REFUSED = """\
from distributed import Client
try:
    Client(timeout=4)
except OSError:
    print('refused')
"""


def copied(host: Host, folder: Path) -> None:
    """Copy a bundle to the same place on a host, where the fleet's environment is."""
    host.run(["mkdir", "-p", str(folder)])
    for path in folder.iterdir():
        host.run(f"umask 077; cat >'{path}'", text=path.read_text(encoding="utf-8"))


def python(host: Host) -> str:
    return host.run("ls -d /var/lib/dask-fleet/environments/*/bin/python").stdout.split()[0]


def client(host: Host, configuration: Path | str, body: str, **variables: str) -> str:
    """Run a script of a client on a host, with a configuration of its own, as anybody would."""
    given = [f"{name}={value}" for name, value in variables.items()]
    argv = ["env", f"DASK_CONFIG={configuration}", *given, python(host), "-c", body]
    return host.run(argv, timeout=90).stdout.strip()


def authority_folder(operator: Operator) -> Path:
    return operator.folder / "data" / "dask-fleet" / "authorities" / "sst"


def ports() -> list[tuple[str, int]]:
    """Return address and port of the scheduler, of every worker and of every nanny."""
    workers = [
        (f"10.77.0.{12 + number}", 9010 + 10 * number + which)
        for number in range(4)
        for which in (0, 1)
    ]
    return [("10.77.0.11", 8786), *workers]


def context(operator: Operator) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=authority_folder(operator) / "ca.pem")
    bundle = operator.folder / "bundle"
    made.load_cert_chain(bundle / "client.pem", bundle / "client-key.pem")
    return made


def fingerprint(operator: Operator, place: tuple[str, int]) -> str:
    with (
        socket.create_connection(place, timeout=DIALS) as plain,
        context(operator).wrap_socket(plain, server_hostname=place[0]) as end,
    ):
        assert end.version() == "TLSv1.3"
        return hashlib.sha256(end.getpeercert(binary_form=True) or b"").hexdigest()


def age(operator: Operator, days: int) -> None:
    """Put certificates that end in so many days into the place of those of all hosts."""
    folder = authority_folder(operator)
    ca, key = folder / "ca.pem", folder / "ca.key"
    signer = Signer(
        ca.read_bytes(),
        parse_certificate(ca, ca.read_bytes(), ""),
        parse_key(key, key.read_bytes(), ""),
    )
    then = datetime.now(timezone.utc) - timedelta(days=365 - days)
    for path in (folder / "hosts").glob("*.key"):
        if path.stem.startswith("door@"):
            continue  # of a door that another test had
        number = {"dask-scheduler": 11}.get(path.stem) or 11 + int(path.stem[-4:])
        names = (path.stem, f"10.77.0.{number}")
        own = parse_key(path, path.read_bytes(), "")
        old = certificate_pem(sign(path.stem, names, own, signer, then, serves=True))
        path.with_suffix(".pem").write_bytes(old)


def of_host(lab: Lab, place: tuple[str, int]) -> str:
    """Return the fingerprint of the certificate that lies on the host of an address."""
    host = lab.hosts[int(place[0].rpartition(".")[2]) - 11]
    pem = host.run(["cat", f"{DEPLOYED}/tls/{CERTIFICATE_FILE}"]).stdout
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def command_lines() -> set[str]:
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # noqa: PERF203 - it has ended meanwhile
            continue
    return found
