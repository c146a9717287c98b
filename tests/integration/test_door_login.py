"""Who gets in at the door: real nginx, real commands, real dashboards behind it."""

from __future__ import annotations

import base64
import math
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dask_fleet.proxy.accounts import LENGTH, PASSWORDS, SESSIONS
from dask_fleet.tls.authority import Authority
from tests.integration.browser import browsing, changed
from tests.integration.conftest import eventually, fleet_text, free_ports, make_desk
from tests.integration.door import (
    ANN,
    PATIENCE,
    WORKER,
    Answer,
    House,
    Knocker,
    basic,
    call,
    command_lines,
    make_house,
    opened,
    told_to_bokeh,
    typed,
)

BOB = "staple of the bobs"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with make_house() as one:
        yield one


# -- users -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/status", "/health", f"/w/{WORKER}/metrics", "/fleet/"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": basic("ann", "wrong horse")},
        {"Authorization": basic("nobody", ANN)},
        {"Authorization": basic("ANN", ANN)},
        {"Authorization": "Bearer " + "a" * LENGTH},
        {"Authorization": "Negotiate abc"},
        {"Cookie": "dask_fleet_house=" + "a" * LENGTH},
        {"Cookie": "dask_fleet_house=user:ann"},
        {"Cookie": "dask_fleet_house="},
        {"Accept": "text/html"},
    ],
    ids=str,
)
def test_who_is_not_known_is_told_401(house: House, path: str, headers: dict[str, str]):
    # From an address of its own, so that wrong passwords here are not yet too many.
    answer = house.door.ask(path, source=f"127.0.1.{len(path) * 7 + len(headers)}", **headers)
    assert answer.status in (401, 429) if "Authorization" in headers else answer.status == 401
    assert answer.all("Location") == []
    assert answer.all("Set-Cookie") == []
    assert "dask" not in answer.body


def test_a_good_password_gives_a_page_and_a_cookie_that_suffices(house: House):
    good = {"Authorization": basic("ann", ANN), "Accept": "text/html"}
    # A scheduler that is busy for long is said to be down.
    eventually(
        lambda: house.door.ask("/status", **good).status == 200, within=120, what="a page of Dask"
    )
    answer = house.door.ask("/status", **good)
    assert "Dask" in answer.body
    assert re.fullmatch(
        rf"dask_fleet_house=[a-z2-7]{{{LENGTH}}}; Path=/; HttpOnly; SameSite=Lax",
        answer.one("Set-Cookie"),
    )
    for path in ("/status", "/metrics", f"/w/{WORKER}/status", f"/w/{WORKER}/health"):
        again = house.door.ask(path, Cookie=answer.cookie)
        assert again.status == 200
        assert again.all("Set-Cookie") == []


def test_dask_is_told_no_secret(house: House):
    cookie = house.log_in()
    page = house.door.ask(
        "/status", Cookie=cookie, Authorization=basic("ann", ANN), Referer="see-this"
    ).body
    told = told_to_bokeh(page)
    assert "see-this" in told
    for secret in (cookie.partition("=")[2], ANN, basic("ann", ANN)):
        assert secret not in page + told


def test_a_websocket_needs_the_cookie_too(house: House):
    cookie, own = house.log_in(), house.door.url
    assert house.door.websocket(Cookie=cookie, Origin=own) == 101
    assert house.door.websocket(f"/w/{WORKER}/status/ws", Cookie=cookie, Origin=own) == 101
    assert house.door.websocket(Cookie=cookie) == 101
    assert house.door.websocket(Origin=own) == 401
    assert house.door.websocket(Cookie="dask_fleet_house=" + "b" * LENGTH, Origin=own) == 401


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1.evil.example"]
)
def test_a_websocket_from_a_page_elsewhere_is_refused(house: House, origin: str):
    assert house.door.websocket(Cookie=house.log_in(), Origin=origin) == 403


def test_nobody_gets_the_cookie_of_another(house: House):
    """Answers that nginx gives before it looks at a password, and names beside a good cookie."""
    house.call("user", "add", "bob", "--password-stdin", given=BOB + "\n")
    bob, wrong = house.log_in("bob", BOB), basic("ann", "a wrong one")
    assert house.door.ask(Cookie=bob, Authorization=wrong).all("Set-Cookie") == []
    early = {
        f"/w/{WORKER}": 401,
        "/w/nobody/status": 401,
        "/api/v1/retire_workers": 401,
        "/status/%2e%2e/": 404,
    }
    for path, status in early.items():
        answer = house.door.ask(path, Authorization=wrong, source="127.0.2.1")
        assert (answer.status, answer.all("Set-Cookie")) == (status, []), path
    posted = house.door.ask("/status", method="POST", Authorization=wrong, source="127.0.2.2")
    assert (posted.status, posted.all("Set-Cookie")) == (405, [])


# What is there, and what is not but has the same form; {port} is that of a worker's dashboard.
ALIKE = [
    (f"/w/{WORKER}/status", "/w/dask-worker-0099/status"),
    (f"/w/{WORKER}/health", "/w/x/health"),
    (f"/w/{WORKER}/status/ws", "/w/dask-worker-0099/status/ws"),
    (f"/w/{WORKER}", "/w/dask-worker-0099"),
    (f"/w/{WORKER}/", "/w/ws"),
    ("/proxy/{port}/127.0.0.1/status", "/proxy/22/127.0.0.1/status"),
    ("/proxy/{port}/127.0.0.1/status/ws", "/proxy/{port}/127.0.0.2/status/ws"),
    ("/proxy/{port}/127.0.0.1/health", "/proxy"),
    ("/fleet/", "/fleet/nothing"),
    ("/status", "/api/v1/retire_workers"),
]


@pytest.mark.parametrize(("there", "not_there"), ALIKE, ids=[one for _, one in ALIKE])
@pytest.mark.parametrize("upgrade", [False, True], ids=["page", "websocket"])
def test_who_is_not_known_learns_no_name(house: House, there: str, not_there: str, upgrade: bool):
    """A guard tells nobody who lives there: answers are the same to the last header."""
    asked = {"Upgrade": "websocket", "Connection": "Upgrade"} if upgrade else {}
    for number, known in enumerate(({}, {"Authorization": basic("ann", "wrong horse")})):
        one, other = (
            house.door.ask(
                path.format(port=house.base + 12),
                source=f"127.0.6.{1 + 10 * number + 20 * upgrade}",
                **asked,
                **known,
            )
            for path in (there, not_there)
        )
        assert one.status in ((401, 429) if known else (401,))
        if one.status == other.status:  # of many guesses some are too many
            assert without_date(one) == without_date(other)
        else:
            assert {one.status, other.status} == {401, 429}


def patient(house: House, path: str) -> Answer | None:
    """Ask with a password; nothing if guesses of other tests were too many at once."""
    answer = house.door.ask(path, Authorization=basic("ann", ANN), source="127.0.6.100")
    return None if answer.status == 429 else answer


def without_date(answer: Answer) -> tuple[object, ...]:
    headers = [(name, value) for name, value in answer.headers if name != "Date"]
    return answer.status, headers, answer.body


def test_who_is_known_is_told_what_is_not_there(house: House):
    cookie = house.log_in()
    for path in ("/w/dask-worker-0099/status", "/proxy/22/127.0.0.1/", "/api/v1/x", "/w/x/a/ws"):
        answer = house.door.ask(path, Cookie=cookie)
        assert (answer.status, answer.all("Set-Cookie")) == (404, []), path
        # A good password is as good as a cookie, and brings none with a page of nginx's own.
        answer = eventually(
            lambda path=path: patient(house, path), within=120, what="guesses are few again"
        )
        assert (answer.status, answer.all("Set-Cookie")) == (404, []), path
    for path in (f"/w/{WORKER}", f"/w/{WORKER}/"):
        assert house.door.ask(path, Cookie=cookie).one("Location") == f"/w/{WORKER}/status"


def test_a_new_password_ends_the_sessions_at_once(house: House):
    house.call("user", "add", "eve", "--password-stdin", given="the first of eve\n")
    old = house.log_in("eve", "the first of eve")
    done = house.call("user", "add", "eve", "--password-stdin", given="the second of eve\n")
    assert done.out == "user eve has a new password; their sessions have ended\n"
    assert house.door.ask(Cookie=old).status == 401
    assert house.door.ask(Authorization=basic("eve", "the first of eve")).status == 401
    new = house.log_in("eve", "the second of eve")
    assert house.door.ask(Cookie=new).status == 200
    house.call("user", "rm", "eve")
    assert house.door.ask(Cookie=new).status == 401
    assert house.door.ask(Authorization=basic("eve", "the second of eve")).status == 401


@contextmanager
def open_page(house: House, cookie: str) -> Iterator[Callable[[], bool]]:
    """Yield what says whether a websocket that was opened is still open."""
    place = urlsplit(house.door.url)
    key = base64.b64encode(b"a page that is open")[:22].decode() + "=="
    with socket.create_connection((place.hostname or "", place.port or 0), PATIENCE) as page:
        page.sendall(
            f"GET /status/ws HTTP/1.1\r\nHost: {place.netloc}\r\nOrigin: {house.door.url}\r\n"
            f"Cookie: {cookie}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: bokeh, {token_of(house, cookie)}\r\n\r\n".encode()
        )
        assert page.recv(4096).startswith(b"HTTP/1.1 101 ")

        def is_open() -> bool:
            # What Dask sends several times a second; nothing at all is the end.
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                if select.select([page], [], [], 0.1)[0]:
                    try:
                        if not page.recv(65536):
                            return False
                    except ConnectionResetError:
                        return False
            return True

        yield is_open


def token_of(house: House, cookie: str) -> str:
    """Return what Bokeh has put into a page, for its websocket."""
    page = house.door.ask("/status", Cookie=cookie).body
    return re.findall(r'"token":"([^"]+)"', page)[0]


def test_a_page_that_is_open_goes_on_unless_it_is_hung_up_on(house: House):
    new = ("user", "add", "sam", "--password-stdin")
    house.call(*new, given="something of sam")
    with open_page(house, house.log_in("sam", "something of sam")) as is_open:
        house.call("user", "rm", "sam")
        assert is_open()
        house.call(*new, "--hang-up", given="something else of sam")
        eventually(lambda: not is_open(), within=120, what="the page is ended")
    with open_page(house, house.log_in("sam", "something else of sam")) as is_open:
        house.call("user", "rm", "sam", "--hang-up")
        eventually(lambda: not is_open(), within=120, what="the page is ended")


def test_a_session_outlives_other_changes_and_the_door(house: House):
    cookie = house.log_in()
    house.call("user", "add", "zoe", "--password-stdin", given="something of zoe")
    house.call("user", "rm", "zoe")
    assert house.door.ask(Cookie=cookie).status == 200


def test_users_are_listed_and_nothing_of_their_secrets(house: House):
    (ann,) = [one for one in house.call("user", "list", "--json").json if one["name"] == "ann"]
    assert set(ann) == {"name", "since"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", ann["since"])
    assert f"ann   {ann['since']}" in house.call("user", "list").out


def test_a_password_is_typed_twice_on_a_terminal(house: House):
    def type_them(first: str, second: str) -> tuple[int, str]:
        prompts = [("Password of tim: ", first), ("Once more: ", second)]
        return typed(house.desk, ["door", "user", "add", "tim"], prompts)

    status, shown = type_them("a good long one", "another long one")
    assert status == 1
    assert "the two passwords differ" in shown
    status, shown = type_them("a good long one", "a good long one")
    assert status == 0
    assert "user tim may come in" in shown
    assert "a good long one" not in shown
    assert house.door.ask(Authorization=basic("tim", "a good long one")).status == 200


@pytest.mark.parametrize(
    ("words", "given", "fault"),
    [
        (["user", "add", "a:b", "--password-stdin"], ANN, "cannot be the name of a user"),
        (["user", "add", "Ann", "--password-stdin"], ANN, "nginx does not tell Ann from it"),
        (["user", "add", "kim", "--password-stdin"], "short", "fewer than 10 characters"),
        (["user", "add", "kim"], "", "nobody is there to type a password"),
        (["user", "rm", "anne"], "", "did you mean ann?"),
        (["token", "rm", "nothing"], "", "there is no token nothing"),
    ],
)
def test_what_is_refused(house: House, words: list[str], given: str, fault: str):
    before = files(house)
    assert fault in house.call(*words, given=given, status=1).err
    assert files(house) == before


def accounts(house: House) -> Path:
    return house.desk.state / "fleets" / "house.door"


def files(house: House) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in accounts(house).iterdir() if path.is_file()}


# -- programs ----------------------------------------------------------------------------


def test_a_program_comes_in_with_its_token(house: House):
    made = house.call("token", "add", "prometheus")
    assert re.fullmatch(rf"[a-z2-7]{{{LENGTH}}}\n", made.out)
    token = made.out.strip()
    for path in ("/metrics", f"/w/{WORKER}/metrics"):
        answer = house.door.ask(path, Authorization=f"Bearer {token}")
        assert answer.status == 200
        assert "dask_" in answer.body
        assert answer.all("Set-Cookie") == []
        # nginx has kept that answer for others, who are asked who they are first.
        for headers in ({}, {"Authorization": basic("ann", "wrong horse")}):
            refused = house.door.ask(path, source="127.0.3.2", **headers)
            assert (refused.status, "dask_" in refused.body) == (401, False)
    assert [one["name"] for one in house.call("token", "list", "--json").json] == ["prometheus"]
    assert token not in house.call("token", "list").out
    for wrong in (token[:-1], token + "a", "", f"{token} x"):
        answer = house.door.ask("/metrics", source="127.0.3.1", Authorization=f"Bearer {wrong}")
        assert answer.status == 401
    assert "there is a token prometheus" in house.call("token", "add", "prometheus", status=1).err
    house.call("token", "rm", "prometheus")
    assert house.door.ask("/metrics", Authorization=f"Bearer {token}").status == 401


def test_a_flood_of_guesses_is_limited_and_keeps_nobody_else_out(house: House):
    token = house.call("token", "add", "flood").out.strip()
    cookie = house.log_in()
    began = time.monotonic()
    guesses = [
        house.door.ask(source="127.0.4.1", Authorization=basic("ann", f"guess {number}")).status
        for number in range(60)
    ]
    assert set(guesses) == {401, 429}
    # The first, twenty at once, and one for each second that it took.
    assert guesses.count(401) <= 1 + 20 + math.ceil(time.monotonic() - began)
    known = [
        house.door.ask(source="127.0.4.1", **headers).status
        for headers in ({"Cookie": cookie}, {"Authorization": f"Bearer {token}"}) * 20
    ]
    assert known == [200] * 40
    # From another address a password is still good, and from this one without guesses a page.
    other = house.door.ask(source="127.0.4.2", Authorization=basic("ann", ANN))
    assert other.status == 200
    # What the limit has given back meanwhile is used up first.
    last = [
        house.door.ask(source="127.0.4.1", Authorization=basic("ann", f"guess {number}")).status
        for number in range(60, 80)
    ]
    assert last[-1] == 429
    assert house.door.ask(source="127.0.4.1", Authorization=basic("ann", ANN)).status == 429
    house.call("token", "rm", "flood")


# -- what nginx does not take, and what nobody may see -----------------------------------


def test_what_nginx_does_not_take_is_undone(house: House):
    site = house.folder / "site.conf"
    good = site.read_text(encoding="utf-8")
    before = files(house)
    cookie = house.log_in()
    site.write_text(good + "nonsense;\n", encoding="utf-8")
    try:
        done = house.call("user", "add", "kim", "--password-stdin", given=ANN, status=9)
    finally:
        site.write_text(good, encoding="utf-8")
    assert 'unknown directive "nonsense"' in done.err
    assert files(house) == before
    assert house.door.ask(Cookie=cookie).status == 200
    assert house.desk.call("history", "--json").json[-1]["result"] == "failed"


def test_files_are_for_nginx_alone(house: House):
    assert accounts(house).stat().st_mode & 0o777 == 0o700
    assert {(accounts(house) / name).stat().st_mode & 0o777 for name in files(house)} == {0o600}


def test_no_secret_is_seen_anywhere(house: House):
    with command_lines() as lines:
        secret = "the secret of gus"
        house.call("user", "add", "gus", "--password-stdin", given=secret)
        token = house.call("token", "add", "gus").out.strip()
        cookie = house.log_in("gus", secret).partition("=")[2]
        house.door.ask("/metrics", Authorization=f"Bearer {token}")
        house.door.ask("/status", source="127.0.5.1", Authorization=basic("gus", "the secret of g"))
        house.call("user", "list")
        house.call("token", "list")
    (line,) = re.findall(r"^gus:(\S+?):", (accounts(house) / PASSWORDS).read_text(), re.M)
    assert cookie in (accounts(house) / SESSIONS).read_text()
    seen = {
        "command lines": "\n".join(lines),
        "output": "\n".join(house.said),
        "history": house.desk.call("history", "--json").out,
        "plan": house.desk.call("plan", "--diff", status=None).out,
        "nginx's file": house.call("--print").out,
    } | {
        str(path): path.read_text(encoding="utf-8", errors="replace")
        for pattern in ("*.log", "*.jsonl")
        for path in house.desk.state.rglob(pattern)
    }
    assert "user add gus" in seen["command lines"]
    assert any('user "gus": password mismatch' in text for text in seen.values())
    assert "user add gus" in seen["history"]
    for what in (secret, "the secret of g", basic("gus", secret), token, cookie, line):
        assert [place for place, text in seen.items() if what in text] == []


# -- directories of any name -------------------------------------------------------------


def test_files_lie_in_a_directory_of_any_name():
    """nginx reads each of them: what guards the door, and who may come in."""
    base = free_ports(40)
    with make_desk() as desk:
        desk.environ["XDG_STATE_HOME"] += "/a b;{c}#'é"
        door = f'door: {{listen: "127.0.0.1:{base + 5}", login: users}}\n'
        desk.declare(fleet_text("odd", base, workers=1, more=door))
        call(desk, "user", "add", "ann", "--password-stdin", given=ANN)
        desk.call("up", "--yes")
        one = Knocker(f"http://127.0.0.1:{base + 5}")
        assert one.ask().status == 401
        assert one.ask(Authorization=basic("ann", "wrong horse")).status == 401
        cookie = one.ask(Authorization=basic("ann", ANN)).cookie
        assert one.ask(Cookie=cookie).status == 200
        token = call(desk, "token", "add", "program").out.strip()
        assert one.ask(Authorization=f"Bearer {token}").status == 200
        call(desk, "token", "rm", "program")
        assert one.ask(Authorization=f"Bearer {token}").status == 401
        assert "nothing to do" in desk.call("up", "--yes").out


@pytest.mark.parametrize("letter", ["$", "*", "?", "\\"])
def test_a_directory_that_nginx_cannot_be_told_of_is_refused(letter: str):
    with make_desk() as desk:
        desk.environ["XDG_STATE_HOME"] += f"/a{letter}b"
        base = free_ports(40)
        desk.declare(fleet_text("odd", base, workers=1, more="door: true\n"))
        for words in (["up", "--yes"], ["plan"], ["door", "--print"]):
            said = desk.call(*words, status=1).err
            assert "nginx cannot be told of a path with" in said
            assert "XDG_STATE_HOME" in said
        assert not desk.state.exists()


# -- with TLS ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(house: House) -> Iterator[House]:
    """A door with TLS in front of the same fleet."""
    desk, port = house.desk, house.base + 6
    authority = Authority(desk.directory / "authority", "secure")
    made = authority.ensure({"door": ("127.0.0.1",)}, now=datetime.now(timezone.utc))["door"]
    pair = (made.certificate, made.key.reveal())
    for name, content in zip(("door.pem", "door.key"), pair, strict=True):
        (desk.directory / name).write_bytes(content)
    tls = "tls: {certificate: door.pem, key: door.key}"
    door = f'door: {{listen: "127.0.0.1:{port}", login: users, {tls}}}\n'
    desk.declare(fleet_text("secure", house.base, more=door), "secure.yaml")
    call(desk, "user", "add", "ann", "--password-stdin", "--file", "secure.yaml", given=ANN)
    context = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
    with opened(desk, "secure", "secure.yaml", certificate=pair) as folder:
        yield House(desk, Knocker(f"https://127.0.0.1:{port}", context), folder, house.base, [])


def test_with_tls_the_cookie_is_for_tls_alone(secure: House):
    answer = secure.door.ask(Authorization=basic("ann", ANN))
    assert answer.status == 200
    assert answer.one("Set-Cookie").endswith("; HttpOnly; SameSite=Lax; Secure")
    assert secure.door.ask("/metrics", Cookie=answer.cookie).status == 200
    assert secure.door.ask("/metrics").status == 401


def test_a_secure_websocket_needs_the_cookie_and_a_page_with_tls(secure: House, house: House):
    cookie, own = secure.log_in(), secure.door.url
    assert secure.door.websocket(Cookie=cookie, Origin=own) == 101
    assert secure.door.websocket(Origin=own) == 401
    plain = own.replace("https:", "http:")
    assert secure.door.websocket(Cookie=cookie, Origin=plain) == 403
    # The cookie of one fleet is nothing at the door of another.
    value = cookie.partition("=")[2]
    assert house.door.ask(Cookie=f"dask_fleet_house={value}").status == 401


# -- a browser ---------------------------------------------------------------------------


def test_a_person_logs_in_with_a_real_browser_and_the_dashboard_is_live(house: House):
    with browsing(http_credentials={"username": "ann", "password": ANN}) as tab_of:
        tab = tab_of()
        tab.open(f"{house.door.url}/status")
        tab.wait_until_drawn()
        (cookie,) = tab.page.context.cookies()
        assert cookie["name"] == "dask_fleet_house"
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
        before = tab.look()
        with house.computing():
            eventually(
                lambda: changed(before, tab.look()) > 0.02, within=120, what="the plots change"
            )
            tab.look(keep="door-login.png")
        assert tab.painted() > 3
        assert tab.faults == []
