"""A certificate by ACME, fetched and renewed on a booted host as the documents say."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lab import Host, Lab

from dask_fleet.tls.authority import authority_directory
from tests.vms.acme import DIRECTORY, AcmeServer, acme_server, trusted
from tests.vms.operator import FLEET, Operator, eventually
from tests.vms.reset import bring_down, bring_up

NAME = "dask.example.org"
ACME = f"tls: {{acme: {{email: ops@example.org, server: '{DIRECTORY}'}}}}"
DECLARED = FLEET + f"door: {{server_name: {NAME}, login: none, {ACME}}}\n"
PING = b"\x89\x80\0\0\0\0"
"""A frame of a websocket, without content, which has to be answered (RFC 6455, 5.5.2)."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who types the name of the door and trusts one authority."""

    host: Host
    authority: str

    def connect(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.authority)
        link = socket.create_connection((self.host.address, 443), 20)
        return context.wrap_socket(link, server_hostname=NAME)

    def ask(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(NAME)
        with contextlib.closing(connection):
            connection.sock = self.connect()
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    @property
    def trusts(self) -> bool:
        try:
            return self.ask("/health")[0] == 200
        except ssl.SSLCertVerificationError:
            return False

    @property
    def serial(self) -> str:
        """Number of the certificate that the door shows."""
        with contextlib.closing(self.connect()) as link:
            certificate = link.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])

    def open_page(self) -> ssl.SSLSocket:
        """Open the websocket of the status page, as the page does."""
        # Dask's pages come when somebody asks for the first; until then it says 307.
        eventually("the page is there", lambda: self.ask("/status")[0] == 200, 60)
        token = re.search(r'"token":"([^"]+)"', self.ask("/status")[1])
        assert token is not None
        link = self.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        protocols = f"bokeh, {token[1]}"
        link.sendall(
            f"GET /status/ws HTTP/1.1\r\nHost: {NAME}\r\nOrigin: https://{NAME}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n".encode()
        )
        assert link.recv(4096).startswith(b"HTTP/1.1 101 ")
        return link


def goes_on(link: ssl.SSLSocket) -> bool:
    """Return whether an open page is answered, after all that was on the way."""
    link.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        while link.recv(65536):
            pass
        return False
    link.settimeout(60)
    link.sendall(PING)
    return bool(link.recv(1))


def plain(host: Host, path: str) -> tuple[int, str]:
    """Return status and destination of an answer at port 80."""
    connection = http.client.HTTPConnection(host.address, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": NAME})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location") or ""


@pytest.fixture(scope="module")
def acme(
    lab: Lab, operator: Operator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AcmeServer]:
    folder = tmp_path_factory.mktemp("acme") / "server"
    with acme_server(folder, lab.scheduler) as one, trusted(lab.scheduler, one):
        yield one
        # Before certbot's certificate goes: nginx refuses a site without one.
        bring_down(operator, DECLARED)


@pytest.fixture
def behind(operator: Operator, acme: AcmeServer) -> Operator:
    """A fleet with a door that has a certificate by ACME, if certbot has run yet."""
    bring_up(operator, DECLARED)
    return operator


@pytest.fixture
def unfetched(lab: Lab, behind: Operator) -> Operator:
    """The same before certbot has run."""
    lab.scheduler.run("cd /etc/letsencrypt && rm -rf archive live renewal")
    bring_up(behind, DECLARED)
    return behind


@pytest.fixture
def fetched(lab: Lab, behind: Operator, public: Visitor) -> Operator:
    """The same after certbot has run."""
    if not public.trusts:
        lab.scheduler.run(command(behind), timeout=120)
        eventually("the door shows what certbot has fetched", lambda: public.trusts, 60)
    return behind


@pytest.fixture
def known(lab: Lab, behind: Operator) -> Visitor:
    """Somebody who trusts the fleet's own authority."""
    folder = authority_directory(behind.folder / "data" / "dask-fleet", "sst")
    return Visitor(lab.scheduler, str(folder / "ca.pem"))


@pytest.fixture(scope="module")
def public(lab: Lab, acme: AcmeServer) -> Visitor:
    """Somebody who trusts the authority behind the ACME server, as browsers trust public ones."""
    return Visitor(lab.scheduler, acme.root)


def command(behind: Operator) -> str:
    """Return what `dask fleet door` says to run on the door's host."""
    (line,) = [
        line.strip()
        for line in behind.call("door").stdout.splitlines()
        if line.strip().startswith("certbot ")
    ]
    return line


def door_findings(behind: Operator) -> str:
    lines = behind.call("doctor", status=None).stdout.splitlines()
    return "\n".join(line for line in lines if "the door's certificate" in line)


def test_before_the_first_certificate_it_works_and_certbot_fetches_it_as_is_printed(
    lab: Lab, unfetched: Operator, known: Visitor, public: Visitor
):
    assert known.trusts
    assert not public.trusts
    assert plain(lab.scheduler, "/status") == (301, f"https://{NAME}/status")
    assert plain(lab.scheduler, "/.well-known/acme-challenge/unknown")[0] == 404
    missing = "its certificate is the fleet's own until certbot has fetched one there"
    assert missing in unfetched.call("status").stdout
    assert "it is the fleet's own until certbot has fetched one" in door_findings(unfetched)
    assert unfetched.plan()["empty"]
    lab.scheduler.run(command(unfetched), timeout=120)
    eventually("the door shows what certbot has fetched", lambda: public.trusts, 60)
    assert not known.trusts
    assert re.search(
        r"its certificate expires on \S+, in (19|20) days", unfetched.call("status").stdout
    )
    # Nobody is alarmed because an ACME server gives certificates of few days.
    assert door_findings(unfetched) == ""
    assert unfetched.plan()["empty"]
    assert "nothing to do" in unfetched.call("up", "--yes").stdout


def test_an_up_says_what_is_to_be_run_once(bare: Operator, acme: AcmeServer):
    bare.write(DECLARED)
    said = bare.call("up", "--yes").stdout
    assert "certbot    `dask fleet door` prints what to run once on dask-scheduler" in said


@pytest.mark.parametrize(
    "renews",
    [
        "systemctl start certbot.service",  # as certbot's timer does
        "certbot renew --force-renewal --no-random-sleep-on-renew",
    ],
)
def test_renewal_is_taken_over_and_drops_no_open_page(
    lab: Lab, fetched: Operator, public: Visitor, renews: str
):
    before = public.serial
    with contextlib.closing(public.open_page()) as page:
        lab.scheduler.run(renews, timeout=180)
        eventually("the door shows the new one", lambda: public.serial != before, 60)
        assert goes_on(page)
    assert fetched.plan()["empty"]


def test_it_is_there_again_after_the_fleet_was_down(lab: Lab, fetched: Operator, public: Visitor):
    before = public.serial
    fetched.call("down", "--yes")
    fetched.call("up", "--yes")
    eventually("the door shows it again", lambda: public.trusts, 60)
    assert public.serial == before


def test_one_that_was_deleted_is_seen_before_nginx_misses_it(
    lab: Lab, fetched: Operator, known: Visitor, public: Visitor
):
    lab.scheduler.run(["certbot", "delete", "--non-interactive", "--cert-name", NAME])
    (change,) = fetched.plan()["changes"]
    assert change["reason"] == "the certificate that certbot kept is gone"
    fetched.call("up", "--yes")
    eventually("the fleet's own stands in", lambda: known.trusts, 60)
    lab.scheduler.run("nginx -t -q && systemctl restart nginx")
    assert known.trusts
    # And certbot brings another.
    lab.scheduler.run(command(fetched), timeout=120)
    eventually("the door shows what certbot has fetched", lambda: public.trusts, 60)


def test_a_door_that_goes_over_to_the_fleets_own_leaves_certbots(
    lab: Lab, fetched: Operator, known: Visitor
):
    fetched.write(DECLARED.replace(ACME, "tls: fleet"))
    fetched.call("up", "--yes")
    eventually("the door shows the fleet's own", lambda: known.trusts, 60)
    assert fetched.plan()["empty"]
    assert lab.scheduler.run(f"ls /etc/letsencrypt/live/{NAME}/fullchain.pem").stdout
    fetched.write(DECLARED)
    fetched.call("up", "--yes")
    assert not known.trusts
