"""TLS between real processes of Dask that our launcher has started, and who is refused."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import (
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    dask_configuration,
    read_certificate,
)
from dask_fleet.tls.client_bundle import client_bundle
from dask_fleet.tls.drafts import Credentials
from tests.clients import begun
from tests.integration.conftest import eventually
from tests.integration.test_launch import DEADLINE, Fleet, descendants

NOW = datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> str:
    """The interpreter of the fleet's environment, or another one to be tried."""
    given = os.environ.get("DASK_FLEET_TEST_PYTHON")
    return given or str(request.getfixturevalue("environment_python"))


class TlsFleet(Fleet):
    """A fleet on loopback whose processes speak TLS only."""

    def __init__(self, directory: Path, python: str) -> None:
        super().__init__(directory, python, 2)
        self.authority = Authority(directory / "authority", "tls")
        self.host = self.authority.ensure({"localhost": ("127.0.0.1",)}, now=NOW)["localhost"]
        tls = directory / "tls"
        tls.mkdir()
        self.ca = tls / CA_FILE
        self.ca.write_bytes(self.host.ca)
        (tls / CERTIFICATE_FILE).write_bytes(self.host.certificate)
        (tls / KEY_FILE).write_bytes(self.host.key.reveal())
        (tls / KEY_FILE).chmod(0o600)
        configuration = directory / "dask.yaml"
        settings = {**dask_configuration(str(tls)), "fleet": {"certificates": {"interval": "50ms"}}}
        configuration.write_text(yaml.safe_dump(settings))
        for unit in (self.scheduler, self.workers):
            unit["configuration"] = str(configuration)
        self.address = f"tls://127.0.0.1:{self.port}"
        self.workers["scheduler"] = self.address
        self.credentials = self.authority.client(now=NOW)
        self.bundle = self.bundled("bundle", self.credentials)

    def bundled(self, name: str, credentials: Credentials, address: str = "") -> Path:
        client_bundle(self.directory / name, address or self.address, credentials)
        return self.directory / name

    def try_client(self, configuration: Path | str, body: str) -> subprocess.CompletedProcess[str]:
        """Run a script with a configuration of its own and nothing else from this shell."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DASK")}
        return subprocess.run(
            [self.python, "-c", body],
            env={**environ, "DASK_CONFIG": str(configuration)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def compute(self, body: str) -> Any:
        script = f"import json\nfrom distributed import Client\nclient = Client()\n{body}\n"
        done = self.try_client(self.bundle, script)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, python: str) -> Iterator[TlsFleet]:
    one = TlsFleet(tmp_path_factory.mktemp("tls"), python)
    try:
        one.up()
        yield one
    finally:
        one.end()


def test_every_address_is_tls(fleet: TlsFleet):
    identity = json.loads(fleet.get("/json/identity.json"))
    assert identity["address"] == fleet.address
    assert len(identity["workers"]) == 2
    for address, worker in identity["workers"].items():
        assert address.startswith("tls://127.0.0.1:")
        assert worker["nanny"].startswith("tls://127.0.0.1:")


def test_a_plain_client_with_the_bundle_computes(fleet: TlsFleet):
    # The second task fetches its input from the other worker.
    got = fleet.compute(
        "x = client.submit(pow, 7, 2, workers=['dask-worker-0001'])\n"
        "y = client.submit(sum, [x, 1], workers=['dask-worker-0002'])\n"
        "print(json.dumps([y.result(timeout=120), client.scheduler.address]))"
    )
    assert got == [50, fleet.address]


def test_a_client_inside_a_task(fleet: TlsFleet):
    got = fleet.compute(
        "def outer():\n"
        "    from distributed import get_client, secede\n"
        "    inner = get_client().submit(pow, 2, 10)\n"
        "    secede()\n"
        "    return inner.result(timeout=120)\n"
        "print(client.submit(outer).result(timeout=40))"
    )
    assert got == 1024


def test_a_task_that_opens_a_client_by_itself(fleet: TlsFleet):
    got = fleet.compute(
        "def outer(address):\n"
        "    from distributed import Client, secede\n"
        "    secede()\n"
        "    with Client(address, set_as_default=False, timeout=120) as inner:\n"
        "        return inner.submit(pow, 2, 11).result(timeout=120)\n"
        f"print(client.submit(outer, '{fleet.address}').result(timeout=120))"
    )
    assert got == 2048


def test_the_example_in_the_bundle_works(fleet: TlsFleet):
    text = (fleet.bundle / "dask.yaml").read_text()
    lines = [line[4:] for line in text.splitlines() if line.startswith("#   ")]
    body = "\n".join([*lines, "print(client.submit(sum, [1, 2]).result(timeout=120))"])
    done = fleet.try_client("/nowhere", body)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3"


def test_a_restarted_worker_speaks_tls_again(fleet: TlsFleet):
    got = fleet.compute(
        "client.restart_workers(['dask-worker-0001'], timeout=120)\n"
        "print(client.submit(pow, 3, 3, workers=['dask-worker-0001']).result(timeout=120))"
    )
    assert got == 27
    assert all(w["address"].startswith("tls://") for w in fleet.wait_registered().values())


# -- who is refused ----------------------------------------------------------------------

# Whatever Dask raises here is an OSError: a CommClosedError, or that it has tried for too long.
REFUSED = """\
from distributed import Client
try:
    Client(timeout=3)
except OSError:
    print("refused")
"""


def test_a_certificate_of_another_authority(fleet: TlsFleet):
    # It trusts the fleet's authority, so that it is the fleet that refuses.
    stranger = Authority(fleet.directory / "stranger", "tls").client(now=NOW)
    mixed = Credentials(fleet.credentials.ca, stranger.certificate, stranger.key)
    done = fleet.try_client(fleet.bundled("refused", mixed), REFUSED)
    assert done.stdout == "refused\n", done.stderr


def test_a_client_that_trusts_another_authority(fleet: TlsFleet):
    other = Authority(fleet.directory / "another", "tls").client(now=NOW)
    mixed = Credentials(other.ca, fleet.credentials.certificate, fleet.credentials.key)
    done = fleet.try_client(fleet.bundled("distrusting", mixed), REFUSED)
    assert done.stdout == "refused\n", done.stderr


def test_plain_tcp(fleet: TlsFleet):
    script = REFUSED.replace("timeout=", f"'tcp://127.0.0.1:{fleet.port}', timeout=")
    done = fleet.try_client("/nowhere", script)
    assert done.stdout == "refused\n", done.stderr


def every_port(fleet: TlsFleet) -> list[int]:
    entries = fleet.workers["workers"]
    return [fleet.port, *(entry[which] for entry in entries for which in ("port", "nanny_port"))]


@pytest.mark.parametrize("who", ["nobody", "stranger", "client"])
def test_every_port_asks_for_a_certificate(fleet: TlsFleet, who: str):
    context = ssl.create_default_context(cafile=fleet.ca)
    if who != "nobody":
        authority = fleet.authority if who == "client" else Authority(fleet.directory / "s2", "tls")
        own = authority.client(now=NOW)
        pair = fleet.directory / f"{who}-pair.pem"
        pair.write_bytes(own.certificate + own.key.reveal())
        context.load_cert_chain(pair)
    for port in every_port(fleet):
        # The certificate is good for this address: ssl checks that, though Dask does not.
        with (
            socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as end,
        ):
            assert end.version() == "TLSv1.3"
            if who == "client":
                assert end.recv(1)  # Dask begins to talk
            else:
                with pytest.raises((ssl.SSLError, ConnectionResetError)):
                    end.recv(1)


def test_tls_before_1_3(fleet: TlsFleet):
    context = ssl.create_default_context(cafile=fleet.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", fleet.port), timeout=DEADLINE) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_the_fleet_computes_after_all_that(fleet: TlsFleet):
    assert fleet.compute("print(client.submit(sum, [4, 5]).result(timeout=120))") == 9


# -- another certificate, while everything runs ---------------------------------------------


def shown(fleet: TlsFleet, port: int) -> str:
    """Return the fingerprint of the certificate that a port shows."""
    context = ssl.create_default_context(cafile=fleet.ca)
    context.load_cert_chain(fleet.bundle / "client.pem", fleet.bundle / "client-key.pem")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as end,
    ):
        return hashlib.sha256(end.getpeercert(binary_form=True) or b"").hexdigest()


def replace(fleet: TlsFleet, name: str, content: bytes) -> None:
    new = fleet.ca.with_name(f"{name}.new")
    new.write_bytes(content)
    new.replace(fleet.ca.with_name(name))


def logs(fleet: TlsFleet) -> str:
    return "".join(one.text() for one in fleet.started)


WAITING_JOB = """\
from distributed import Client, Event
def wait(number):
    return Event("go").wait(60) and number
client = Client()
waiting = client.map(wait, range(2))
print("begun", flush=True)
input()
Event("go").set()
print(sum(client.gather(waiting)), sum(client.gather(client.map(abs, range(50)))))
"""


def test_a_renewed_certificate_is_taken_over_by_every_process(fleet: TlsFleet):
    before = fleet.host
    after = fleet.authority.renew({"localhost": ("127.0.0.1",)}, now=NOW)["localhost"]
    old, new = (read_certificate(one.certificate).fingerprint for one in (before, after))
    ports = every_port(fleet)
    assert {shown(fleet, port) for port in ports} == {old}
    pids = {below for one in fleet.started for below in descendants(one.pid)}
    environ = {k: v for k, v in os.environ.items() if not k.startswith("DASK")}
    given = {**environ, "DASK_CONFIG": str(fleet.bundle)}
    with begun([fleet.python, "-c", WAITING_JOB], env=given) as job:
        # The key comes first, and for a moment it does not belong to the certificate.
        replace(fleet, KEY_FILE, after.key.reveal())
        eventually(
            lambda: logs(fleet).count("is not taken over yet") >= 4,
            within=DEADLINE,
            what="scheduler, nannies and both workers see half of a pair",
        )
        assert {shown(fleet, port) for port in ports} == {old}
        replace(fleet, CERTIFICATE_FILE, after.certificate)
        eventually(
            lambda: {shown(fleet, port) for port in ports} == {new},
            within=DEADLINE,
            what="every port shows the new certificate",
        )
        out, _ = job.communicate("\n", timeout=DEADLINE)
    assert out == f"1 {sum(range(50))}\n"
    assert {below for one in fleet.started for below in descendants(one.pid)} == pids
    until = f"{read_certificate(after.certificate).not_after:%Y-%m-%d}"
    taken = [line for line in logs(fleet).splitlines() if "took over" in line]
    # A process that looks between the two renames takes the pair over, and looks again.
    assert 4 <= len(taken) <= 8
    assert all(line.endswith(f"which holds until {until}") for line in taken)
    fleet.host = after


def test_one_of_another_authority_is_not_taken_over(fleet: TlsFleet):
    other = Authority(fleet.directory / "s3", "tls").ensure({"localhost": ("127.0.0.1",)}, now=NOW)
    said = logs(fleet).count("certificate verify failed")
    replace(fleet, KEY_FILE, other["localhost"].key.reveal())
    replace(fleet, CERTIFICATE_FILE, other["localhost"].certificate)
    eventually(
        lambda: logs(fleet).count("certificate verify failed") >= said + 4,
        within=DEADLINE,
        what="every process refuses it",
    )
    mine = read_certificate(fleet.host.certificate).fingerprint
    assert {shown(fleet, port) for port in every_port(fleet)} == {mine}
    assert fleet.compute("print(client.submit(sum, [4, 5]).result(timeout=120))") == 9
    replace(fleet, KEY_FILE, fleet.host.key.reveal())
    replace(fleet, CERTIFICATE_FILE, fleet.host.certificate)


# -- nothing secret is seen --------------------------------------------------------------


def served(fleet: TlsFleet, page: str) -> bytes:
    try:
        return fleet.get(page) or b""
    except HTTPError as error:
        if error.code != HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return b""


def test_no_key_in_arguments_environment_logs_or_pages(fleet: TlsFleet):
    keys = [fleet.host.key, fleet.credentials.key]
    # One line of each body: what is wrapped or escaped differently still has it.
    marks = [key.reveal().split(b"\n")[1] for key in keys]
    assert all(len(mark) == 64 for mark in marks)
    pids = {one.pid for one in fleet.started}
    pids |= {below for pid in pids for below in descendants(pid)}
    assert len(pids) >= 6
    seen = {
        f"/proc/{pid}/{what}": Path(f"/proc/{pid}/{what}").read_bytes()
        for pid in pids
        for what in ("cmdline", "environ")
    }
    seen |= {str(one.log): one.log.read_bytes() for one in fleet.started}
    seen |= {str(path): path.read_bytes() for path in fleet.directory.glob("*.json")}
    seen |= {str(path): path.read_bytes() for path in fleet.run_directory.glob("*.json")}
    for page in ("/json/identity.json", "/info/main/workers.html", "/metrics"):
        # Dask's page of workers fails until each of them has sent its first metrics.
        seen[page] = eventually(lambda page=page: served(fleet, page), within=120, what=page)
    assert any(seen[name] for name in seen if name.endswith(".log"))
    for name, content in seen.items():
        assert content is not None
        assert not any(mark in content for mark in marks), name
