"""Who gets in at a door that asks a service, as nginx asks oauth2-proxy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.browser import browsing
from tests.integration.conftest import eventually, fleet_text
from tests.integration.door import ANN, WORKER, House, Knocker, basic, make_house, opened

PASSWORD = "staple of the service"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with make_house() as one:
        yield one


@dataclass
class Service:
    """A service like oauth2-proxy: it says who is known, and has a page to log in on."""

    port: int
    asked: list[dict[str, str]]
    known: str = ""
    renews: bool = False

    @property
    def cookie(self) -> str:
        return f"_sso={self.known}"


@contextmanager
def serving() -> Iterator[tuple[Service, Callable[[], None]]]:
    service = Service(0, [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if place.path == "/oauth2/auth":
                service.asked.append(dict(self.headers))
                good = service.known and service.cookie in self.headers.get("Cookie", "")
                self.send_response(202 if good else 401)
                if good and service.renews:
                    self.send_header("Set-Cookie", f"{service.cookie}; Path=/; renewed")
                self.end_headers()
            elif place.path == "/oauth2/sign_in":
                (back,) = parse_qs(place.query)["rd"]
                page = (
                    "<!doctype html><title>Log in</title>"
                    f'<form method=post action="/oauth2/sign_in"><input name=rd value="{back}">'
                    "<input name=word type=password><button>Log in</button></form>"
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            assert form["word"] == [PASSWORD]
            service.known = "abc123"
            self.send_response(302)
            self.send_header("Set-Cookie", f"{service.cookie}; Path=/; HttpOnly; SameSite=Lax")
            self.send_header("Location", form["rd"][0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    running = [server]

    def stop() -> None:
        for one in running:
            one.shutdown()
            one.server_close()
        running.clear()
        thread.join()

    try:
        yield service, stop
    finally:
        stop()


@pytest.fixture
def asked(house: House) -> Iterator[tuple[House, Service, Callable[[], None]]]:
    """A door that asks a service, in front of the same fleet; the service's pages are behind it."""
    desk, port = house.desk, house.base + 7
    with serving() as (service, stop):
        url = f"http://127.0.0.1:{port}"
        login = (
            f"{{forward_auth: 'http://127.0.0.1:{service.port}/oauth2/auth',"
            f" sign_in: '{url}/oauth2/sign_in'}}"
        )
        door = f'door: {{listen: "127.0.0.1:{port}", login: {login}}}\n'
        desk.declare(fleet_text("asked", house.base, more=door), "asked.yaml")
        with opened(desk, "asked", "asked.yaml") as folder:
            yield House(desk, Knocker(url), folder, house.base, []), service, stop


def test_a_service_is_asked_and_browsers_are_sent_to_its_page(
    asked: tuple[House, Service, Callable[[], None]],
):
    house, service, _ = asked
    door = house.door
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}, {"Cookie": "_sso=x"}):
        told = door.ask("/metrics", **headers)
        assert (told.status, told.all("Location")) == (401, [])
    sent = door.ask("/status?a=b", Accept="text/html,application/xhtml+xml")
    assert sent.status == 302
    assert sent.one("Location") == f"{door.url}/oauth2/sign_in?rd={door.url}/status?a=b"
    assert door.websocket(Origin=door.url, Accept="text/html") == 401
    service.known = "xyz"
    assert door.ask("/metrics", Cookie="_sso=xyz").status == 200
    assert door.websocket(Origin=door.url, Cookie="_sso=xyz") == 101
    assert door.websocket(Origin="http://evil.example", Cookie="_sso=xyz") == 403
    assert service.asked[-1]["X-Original-URI"] == "/status/ws"
    assert service.asked[-1]["X-Forwarded-Host"] == door.url.removeprefix("http://")
    assert "_sso=xyz" not in door.ask("/status", Cookie="_sso=xyz").body
    service.renews = True
    assert door.ask(Cookie="_sso=xyz").one("Set-Cookie") == "_sso=xyz; Path=/; renewed"


def test_whom_the_service_does_not_know_learns_no_name(
    asked: tuple[House, Service, Callable[[], None]],
):
    house, service, _ = asked
    door, sign_in = house.door, f"{house.door.url}/oauth2/sign_in?rd={house.door.url}"
    for path in (f"/w/{WORKER}/status", "/w/dask-worker-0099/status", "/proxy/22/127.0.0.1/x"):
        assert door.ask(path).status == 401
        assert service.asked[-1]["X-Original-URI"] == path
        assert door.websocket(f"{path}/ws", Origin=door.url) == 401
        sent = door.ask(path, Accept="text/html")
        assert (sent.status, sent.one("Location")) == (302, f"{sign_in}{path}")
    service.known = "xyz"
    assert door.ask("/w/dask-worker-0099/status", Cookie="_sso=xyz").status == 404
    front = door.ask(f"/w/{WORKER}", Cookie="_sso=xyz")
    assert (front.status, front.one("Location")) == (302, f"/w/{WORKER}/status")


def test_what_the_service_is_asked_with_is_not_for_others(
    asked: tuple[House, Service, Callable[[], None]],
):
    house, service, _ = asked
    service.known = "xyz"
    before = len(service.asked)
    assert house.door.ask("/.door/ask", Cookie="_sso=xyz").status == 404
    assert house.door.ask("/oauth2/auth").status == 401
    assert len(service.asked) == before + 1


def test_a_program_with_a_token_comes_in_when_the_service_is_away(
    asked: tuple[House, Service, Callable[[], None]],
):
    house, service, stop = asked
    token = house.call("token", "add", "prometheus", "--file", "asked.yaml").out.strip()
    before = len(service.asked)
    assert house.door.ask("/metrics", Authorization=f"Bearer {token}").status == 200
    assert len(service.asked) == before
    stop()
    assert house.door.ask("/metrics", Authorization=f"Bearer {token}").status == 200
    away = house.door.ask("/metrics", Cookie="_sso=xyz", Accept="text/html")
    assert away.status == 500
    assert away.all("Location") == []
    house.call("token", "rm", "prometheus", "--file", "asked.yaml")
    assert house.door.ask("/metrics", Authorization=f"Bearer {token}").status == 500


def test_users_of_a_door_that_asks_a_service_count_for_nothing(
    asked: tuple[House, Service, Callable[[], None]],
):
    house, _, _ = asked
    words = ("user", "add", "ann", "--password-stdin", "--file", "asked.yaml")
    assert "note: the door asks http://127.0.0.1:" in house.call(*words, given=ANN).err
    assert house.door.ask(Authorization=basic("ann", ANN)).status == 401


def test_a_person_logs_in_on_the_page_of_a_service(
    asked: tuple[House, Service, Callable[[], None]],
):
    house, _, _ = asked
    with browsing() as tab_of:
        tab = tab_of()
        tab.open(f"{house.door.url}/status")
        assert tab.page.title() == "Log in"
        tab.page.fill("input[name=word]", PASSWORD)
        tab.page.click("button")
        tab.wait_until_drawn()
        assert tab.page.url == f"{house.door.url}/status"
        eventually(lambda: tab.painted() > 3, within=120, what="plots are drawn")
        assert tab.faults == []
