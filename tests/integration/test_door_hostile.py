"""Hostile requests at the door, over plain sockets: none reaches what is not of the inventory.

Beside the fleet runs a service that is none of it, on the same address: nothing may reach it.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.integration.conftest import eventually, fleet_text, free_ports, make_desk
from tests.integration.door import ANN, Knocker, basic, call, told_to_bokeh

GUESSES_AT_ONCE, GUESSES_A_SECOND = 20, 1
"""How many wrong passwords nginx looks at, from one address: ``limit_req`` with its burst."""
CONNECTIONS = 200
"""Which an address may have: ``limit_conn``."""

ACCEPT = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{ACCEPT}"


@dataclass
class Besieged:
    """A fleet with a door, and a service of somebody else that counts who reaches it."""

    port: int
    victim: int
    dashboard: int
    reached: list[bytes] = field(default_factory=list)

    def send(
        self, request: str, *, source: str = "127.0.0.1", whole: bool = False
    ) -> tuple[int, str]:
        """Send bytes as they are; return the status of the answer (0: none came) and its head.

        With ``whole`` all of it is read; the request has to ask for the connection's end.
        """
        with socket.create_connection(
            ("127.0.0.1", self.port), 20, source_address=(source, 0)
        ) as link:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                link.sendall(request.encode("latin-1"))
            answer = b""
            with contextlib.suppress(ConnectionResetError, TimeoutError):
                link.settimeout(15)
                while (whole or b"\r\n\r\n" not in answer) and (part := link.recv(65536)):
                    answer += part
        found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
        return (int(found[1]) if found else 0), answer.decode("latin-1")

    def get(
        self, path: str, more: str = "", *, host: str = "", whole: bool = False
    ) -> tuple[int, str]:
        host = host or f"127.0.0.1:{self.port}"
        more += "Connection: close\r\n" if whole else ""
        return self.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n", whole=whole)


@contextlib.contextmanager
def somebody_else(reached: list[bytes]) -> Iterator[int]:
    """Run a service that remembers what it is sent, and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    link, _ = server.accept()
                    with link:
                        reached.append(link.recv(65536))
                        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nvictim")

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            serving.join()


@pytest.fixture(scope="module")
def besieged() -> Iterator[Besieged]:
    reached: list[bytes] = []
    base = free_ports(40)
    with make_desk() as desk, somebody_else(reached) as victim:
        desk.declare(fleet_text("siege", base, more=f"door: {{listen: {base + 5}}}\n"))
        desk.call("up", "--yes")
        one = Besieged(base + 5, victim, base + 12, reached)
        eventually(lambda: one.get("/health")[0] == 200, within=120, what="the door is open")
        yield one
        assert desk.all_running()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Besieged]:
    """As `besieged`, with a door that ann has a password for."""
    reached: list[bytes] = []
    base = free_ports(40)
    with make_desk() as desk, somebody_else(reached) as victim:
        door = f'door: {{listen: "127.0.0.1:{base + 5}", login: users}}\n'
        desk.declare(fleet_text("guarded", base, workers=1, more=door))
        desk.call("up", "--yes")
        call(desk, "user", "add", "ann", "--password-stdin", given=ANN)
        yield Besieged(base + 5, victim, base + 12, reached)
        assert desk.all_running()


# ruff: noqa: E501 - cases are data, one to a line
# Requests for a path, {v} the port of somebody else's service, {d} that of a worker's dashboard;
# statuses that may be the answer.
PATHS = [
    ("/proxy/{v}/127.0.0.1/", {404}),
    ("/proxy/{v}/127.0.0.1/status", {404}),
    ("/proxy/{v}/localhost/", {404}),
    ("/proxy/{v}/[::1]/", {404}),
    ("/proxy/{v}/0.0.0.0/", {404}),
    ("/proxy/{v}/127.1/", {404}),
    ("/proxy/{v}/2130706433/", {404}),
    ("/proxy/{v}/127.0.0.1%0a/", {404}),
    ("/proxy/{v}%0a/127.0.0.1/", {404}),
    ("/proxy%0a/{v}/127.0.0.1/", {404}),
    ("/proxy/{v}/127.0.0.1/%0a/../", {404}),
    ("/%70roxy/{v}/127.0.0.1/", {404}),
    ("/proxy%2f{v}/127.0.0.1/", {404}),
    ("/proxy/{v}%2f127.0.0.1/", {404}),
    ("/proxy/{v}/127.0.0.1%2f", {404}),
    ("/proxy/{v}/127.0.0.1%252f", {404}),
    ("/%2570roxy/{v}/127.0.0.1/", {307, 404}),  # a path of the scheduler that it does not have
    ("//proxy/{v}/127.0.0.1/", {404}),
    ("/proxy//{v}/127.0.0.1/", {404}),
    ("/./proxy/{v}/127.0.0.1/", {404}),
    ("/x/../proxy/{v}/127.0.0.1/", {404}),
    ("/%2e%2e/proxy/{v}/127.0.0.1/", {400, 404}),
    ("/x/%2e%2e/proxy/{v}/127.0.0.1/", {404}),
    ("/..;/proxy/{v}/127.0.0.1/", {404}),
    ("\\proxy\\{v}\\127.0.0.1\\", {400, 404}),
    ("/\\proxy/{v}/127.0.0.1/", {404}),
    ("/proxy/{d}/127.0.0.1@127.0.0.1:{v}/", {404}),
    ("/proxy/{d}/127.0.0.1:{v}/", {404}),
    ("/proxy/{d}/127.0.0.1#/../../{v}", {200, 302, 400, 404}),
    ("/proxy/{d}@127.0.0.1:{v}/127.0.0.1/", {404}),
    ("/proxy/0{d}/127.0.0.1/health", {404}),
    ("/proxy/{d}/127.0.0.1/../../{v}/127.0.0.1/", {404}),
    ("/proxy/22/127.0.0.1/", {404}),
    ("/proxy/80/169.254.169.254/latest/meta-data/", {404}),
    ("/proxy/80/[fd00:ec2::254]/latest/", {404}),
    ("/proxy/80/metadata.google.internal/", {404}),
    ("/w/dask-worker-0099/status", {404}),
    ("/w/127.0.0.1:{v}/", {302, 404}),
    ("/w/dask-scheduler/status", {404}),
    ("/w/dask-worker-0001%0a/status", {404}),
    ("/w/dask-worker-0001/../../proxy/{v}/127.0.0.1/", {404}),
    ("/w/dask-worker-0001%00/status", {400, 404}),
    ("/w/dask-worker-0001@127.0.0.1:{v}/x", {404}),
    ("/w/$door_siege_worker/x", {404}),
    ("/w//etc/passwd", {404}),
    ("/.door/seen", {404}),
    ("/api/v1/retire_workers", {404}),
    ("/api/v1", {404}),
    ("/%61pi/v1/adaptive_target", {404}),
    ("//api/v1/adaptive_target", {404}),
    ("http://127.0.0.1:{v}/", {301, 307}),  # by its own name: the scheduler's first page
    ("http://169.254.169.254/latest/", {421}),
    ("127.0.0.1:{v}", {400}),
]  # fmt: skip


@pytest.mark.parametrize("upgrade", [False, True], ids=["page", "websocket"])
@pytest.mark.parametrize(("path", "allowed"), PATHS, ids=[path for path, _ in PATHS])
def test_a_path_reaches_the_inventory_or_nothing(
    besieged: Besieged, path: str, allowed: set[int], upgrade: bool
):
    before = len(besieged.reached)
    target = path.format(v=besieged.victim, d=besieged.dashboard)
    status, answer = besieged.get(target, UPGRADE if upgrade else "")
    assert status in allowed | ({101, 400} if upgrade and 200 in allowed else set()), answer
    assert "victim" not in answer
    assert besieged.reached[before:] == []


# What nginx may read in another way than others do is refused by its form, to everybody alike.
CROOKED = re.compile(r"\A[/\\].*(//|/\.|%0|%2e|\\)|\A(//|/\.|/%2e|\\|/\\)")


@pytest.mark.parametrize("upgrade", [False, True], ids=["page", "websocket"])
@pytest.mark.parametrize(("path", "allowed"), PATHS, ids=[path for path, _ in PATHS])
def test_who_is_not_known_is_told_nothing_of_any_path(
    guarded: Besieged, path: str, allowed: set[int], upgrade: bool
):
    before = len(guarded.reached)
    target = path.format(v=guarded.victim, d=guarded.dashboard)
    status, answer = guarded.get(target, UPGRADE if upgrade else "")
    form = {400, 421} | ({404} if CROOKED.match(path) else set())
    assert status in {401} | (allowed & form), answer
    assert "Location:" not in answer
    assert guarded.reached[before:] == []


# Title, request ({p}: the door's port, {v}: somebody else's), statuses that may be the answer.
WHOLE = [
    ("two hosts", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nHost: evil.example\r\n\r\n", {400}),
    ("an unknown host", "GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", {421}),
    ("a host that is another's port", "GET /health HTTP/1.1\r\nHost: 127.0.0.1@evil.example\r\n\r\n", {400, 421}),
    ("no host", "GET /health HTTP/1.1\r\n\r\n", {400}),
    ("length and chunks", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    ("two lengths", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", {400}),
    ("chunks twice", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", {400, 501}),
    ("a space before the colon", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nTransfer-Encoding : chunked\r\n\r\n", {200, 400}),
    ("a header of 100 kB", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nX: {long}\r\n\r\n", {0, 400, 431}),
    ("a path of 100 kB", "GET /{long} HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\n\r\n", {0, 414}),
    ("a body of 100 kB", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nContent-Length: 100000\r\n\r\n{long}", {413}),
    ("POST", "POST /status HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nContent-Length: 0\r\n\r\n", {405}),
    ("CONNECT", "CONNECT 127.0.0.1:{v} HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\n\r\n", {400, 405}),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\n\r\n", {405}),
    ("DELETE", "DELETE /api/v1/x HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\n\r\n", {405}),
    ("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {0, 400}),
    ("HTTP/2 without TLS", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", {200}),
    ("a foreign page's websocket", "GET /status/ws HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nOrigin: http://evil.example\r\n" + UPGRADE + "\r\n", {403}),
    ("a websocket of a sandboxed page", "GET /status/ws HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nOrigin: null\r\n" + UPGRADE + "\r\n", {403}),
]  # fmt: skip


@pytest.mark.parametrize(("title", "request_", "allowed"), WHOLE, ids=[one[0] for one in WHOLE])
def test_a_request_that_is_crooked_is_refused(
    besieged: Besieged, title: str, request_: str, allowed: set[int]
):
    before = len(besieged.reached)
    text = request_.replace("{p}", str(besieged.port)).replace("{v}", str(besieged.victim))
    status, answer = besieged.send(text.replace("{long}", "x" * 100_000))
    assert status in allowed, answer
    assert besieged.reached[before:] == []
    assert besieged.get("/health")[0] == 200


def test_what_the_door_passes_on_is_told_nothing_false(besieged: Besieged):
    """A name or an address that a client gives itself is not passed on as its own."""
    false = "X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
    eventually(lambda: besieged.get("/status")[0] == 200, within=120, what="Dask has its pages")
    status, answer = besieged.get("/status", f"{false}Referer: see-this\r\n", whole=True)
    assert status == 200, answer
    told = told_to_bokeh(answer)
    assert "see-this" in told
    assert "127.0.0.1" in told
    assert "1.2.3.4" not in told
    assert "https" not in told


def test_slow_clients_and_a_thousand_idle_websockets_starve_nobody(besieged: Besieged):
    with contextlib.ExitStack() as stack:

        def opened(source: str, text: str) -> socket.socket:
            link = socket.create_connection(
                ("127.0.0.1", besieged.port), 60, source_address=(source, 0)
            )
            stack.enter_context(link)
            link.sendall(text.encode())
            return link

        host = f"Host: 127.0.0.1:{besieged.port}\r\n"
        slow = [opened("127.0.7.1", f"GET /health HTTP/1.1\r\n{host}") for _ in range(300)]
        # A page on which nothing moves. Dask closes a websocket that does not name its page, and
        # one that is closed makes room for another.
        page = eventually(lambda: tokens(besieged, "/graph"), within=120, what="a page")
        websocket = (
            f"GET /graph/ws HTTP/1.1\r\n{host}{UPGRADE}"
            f"Sec-WebSocket-Protocol: bokeh, {page[0]}\r\n\r\n"
        )
        # Some at a time: a busy scheduler would let the last of a thousand wait for too long.
        for _ in range(50):
            idle = [opened(f"127.0.7.{2 + n % 10}", websocket) for n in range(20)]
            assert [link.recv(12) for link in idle] == [b"HTTP/1.1 101"] * len(idle)
        # One address may have so many connections and no more; others come in all the same.
        given: list[bytes] = []
        for _ in range((CONNECTIONS + 60) // 20):
            greedy = [opened("127.0.7.99", websocket) for _ in range(20)]
            given += [link.recv(12) for link in greedy]
        assert given.count(b"HTTP/1.1 101") == CONNECTIONS
        assert given.count(b"HTTP/1.1 429") == 60
        began = time.monotonic()
        assert [besieged.get("/health")[0] for _ in range(10)] == [200] * 10
        assert time.monotonic() - began < 30
        # Whoever does not finish a request is sent away.
        for link in slow:
            link.settimeout(30)
            assert link.recv(100)[:12] in (b"", b"HTTP/1.1 408")
    eventually(lambda: besieged.get("/status")[0] == 200, within=120, what="pages come again")


def tokens(besieged: Besieged, path: str) -> list[str]:
    """Return what Bokeh has put into a page, for its websocket."""
    page = Knocker(f"http://127.0.0.1:{besieged.port}").ask(path).body
    return re.findall(r'"token":"([^"]+)"', page)


def test_wrong_and_missing_passwords_and_a_flood_of_them(guarded: Besieged):
    one = Knocker(f"http://127.0.0.1:{guarded.port}")
    assert one.ask().status == 401
    cookie = one.ask(Authorization=basic("ann", ANN)).cookie
    began = time.monotonic()
    flood = [
        one.ask(Authorization=basic("ann", f"guess {n}"), source="127.0.8.1").status
        for n in range(120)
    ]
    more = math.ceil(GUESSES_A_SECOND * (time.monotonic() - began))
    assert set(flood) == {401, 429}
    # The first, those that may come at once, and those for which there was time meanwhile.
    assert 1 + GUESSES_AT_ONCE <= flood.count(401) <= 1 + GUESSES_AT_ONCE + more
    # Who is in stays in, and somebody elsewhere can still log in.
    assert one.ask(Cookie=cookie, source="127.0.8.1").status == 200
    assert one.ask(Authorization=basic("ann", ANN), source="127.0.8.2").status == 200
