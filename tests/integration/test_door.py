"""The door of a fleet on this machine: real nginx and real Dask, there, changed and away."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest

from dask_fleet.proxy.nginx_main import main_configuration
from dask_fleet.tls.authority import Authority
from tests.conftest import REPOSITORY
from tests.integration.conftest import Desk, eventually, fleet_text, free_ports, make_desk
from tests.integration.door import ALIVE, Knocker

GOLDEN = REPOSITORY / "tests" / "unit" / "data" / "door"
WORKERS = ("dask-worker-0001", "dask-worker-0002")
UPGRADE = """\
GET {path} HTTP/1.1\r
Host: {host}\r
Origin: http://{host}\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: {key}\r
Sec-WebSocket-Protocol: bokeh, {token}\r
\r
"""


@dataclass
class Doored:
    """A fleet that is up, with a door."""

    desk: Desk
    base: int
    door: Knocker

    @property
    def state(self) -> Path:
        return self.desk.state / "fleets" / "doored"

    def declare(self, *, workers: int = 2, more: str = "") -> None:
        door = f"door: {{listen: {self.base + 5}{more}}}\n"
        self.desk.declare(fleet_text("doored", self.base, workers=workers, more=door))

    def status(self, path: str) -> int:
        return self.door.ask(path).status


@pytest.fixture(scope="module")
def doored() -> Iterator[Doored]:
    with make_desk() as desk:
        base = free_ports(60)
        one = Doored(desk, base, Knocker(f"http://127.0.0.1:{base + 5}"))
        one.declare()
        desk.call("up", "--yes")
        for path in ("/status", *(f"/w/{name}/status" for name in WORKERS)):
            # Dask's pages come when somebody asks for the first; until then it says 307.
            eventually(lambda path=path: one.status(path) == 200, within=120, what=path)
        yield one


# -- what nginx reads ----------------------------------------------------------------------


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.conf")), ids=lambda path: path.stem)
def test_real_nginx_takes_every_golden_file(golden: Path, tmp_path: Path):
    text = golden.read_text(encoding="utf-8")
    text = text.replace("/var/lib/dask-fleet/fleets", str(tmp_path))
    text = text.replace("/run/dask-fleet.", f"{tmp_path}/dask-fleet.")
    for place in re.findall(r'proxy_cache_path "(.*)/', text):
        Path(place).mkdir(parents=True, exist_ok=True)
    # Names of the examples are nobody's; nginx looks each of them up.
    text = re.sub(r"(server )[a-z][\w.-]*\.example(:\d+)", r"\g<1>127.0.0.1\2", text)
    text = text.replace("listen 192.168.1.166:", "listen 127.0.0.1:")  # it binds, for a test too
    for place in re.findall(r'ssl_certificate "(.*)/certificate.pem"', text):
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(timezone.utc)
        made = Authority(tmp_path / "ca", "x").ensure({"door": ("door.example",)}, now=now)["door"]
        (folder / "certificate.pem").write_bytes(made.certificate)
        (folder / "key.pem").write_bytes(made.key.reveal())
    site = tmp_path / "site.conf"
    site.write_text(text, encoding="utf-8")
    main = tmp_path / "nginx.conf"
    main.write_text(main_configuration("x", str(tmp_path), str(site)), encoding="utf-8")
    argv = ["/usr/sbin/nginx", "-e", "stderr", "-t", "-p", str(tmp_path), "-c", str(main)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr, done.stderr


# -- routes --------------------------------------------------------------------------------


def test_every_dashboard_is_behind_it_and_nothing_else(doored: Doored):
    links = [f"/proxy/{doored.base + 2 + 10 * n}/127.0.0.1" for n in (1, 2)]
    for front in ("", *(f"/w/{name}" for name in WORKERS), *links):
        for path in ("/status", "/health", "/metrics"):
            assert doored.status(front + path) == 200, front + path
    assert doored.door.ask("/w/dask-worker-0001").one("Location") == "/w/dask-worker-0001/status"
    assert doored.door.ask("/w/dask-worker-0001/").one("Location") == "/w/dask-worker-0001/status"
    for path in (
        "/w/dask-worker-0003/status",
        f"/proxy/{doored.base + 10}/127.0.0.1/",
        "/proxy/22/127.0.0.1/",
        "/proxy",
        "/api/v1/retire_workers",
    ):
        assert doored.status(path) == 404, path


def test_whoever_asks_for_the_same_metrics_at_once_shares_them(doored: Doored):
    port = doored.base + 12
    direct = Knocker(f"http://127.0.0.1:{port}")
    ways = ("/w/dask-worker-0001/metrics", f"/proxy/{port}/127.0.0.1/metrics")

    def written(door: Knocker, path: str) -> str:
        # The CPU time of the process itself: to write them down takes some.
        answer = door.ask(path)
        assert answer.one("Content-Type") == "text/plain; version=0.0.4"
        (line,) = re.findall(r"^process_cpu_seconds_total .*", answer.body, re.M)
        return line

    def shared() -> bool:
        first, *others = [written(doored.door, path) for path in (*ways, *ways)]
        return others == [first] * 3

    def work_and_ask() -> tuple[str, str]:
        for _ in range(20):
            now = written(direct, "/metrics")
        return now, written(doored.door, ways[0])

    eventually(shared, within=120, what="four requests within a second have one answer")
    before = written(doored.door, ways[0])
    eventually(lambda: work_and_ask()[1] != before, within=120, what="a second later it is another")
    # Nobody is given what another process, or the same one to another question, has answered.
    assert "dask_worker_" not in doored.door.ask("/metrics").body
    assert doored.door.ask(f"{ways[0]}?name[]=process_open_fds").status == 200
    assert doored.door.ask("/w/dask-worker-0003/metrics").status == 404
    assert doored.door.ask("/w/dask-worker-0001/no/metrics").status == 404


def test_status_open_and_a_second_up_know_it(doored: Doored):
    assert "nothing to do; 2 workers registered" in doored.desk.call("up", "--yes").out
    row = doored.desk.rows()["dask-door"]
    assert (row["state"], row["role"], row["ports"]) == (
        "running",
        "door",
        {"door": doored.base + 5},
    )
    urls = doored.desk.call("open", "--json").json
    assert urls["dask-worker-0002"] == f"{doored.door.url}/w/dask-worker-0002/status"
    assert f"door: {doored.door.url} on localhost" in doored.desk.call("status").out


# -- changes -------------------------------------------------------------------------------


def websocket(doored: Doored, front: str = "") -> socket.socket:
    """Open the websocket of a dashboard's page, as the page does."""
    # A scheduler that is busy for long is said to be down.
    token = eventually(
        lambda: re.search(r'"token":"([^"]+)"', doored.door.ask(f"{front}/status").body),
        within=120,
        what="a page of Dask",
    )
    assert token is not None
    host = doored.door.url.removeprefix("http://")
    link = socket.create_connection(("127.0.0.1", doored.base + 5), 20)
    key = base64.b64encode(os.urandom(16)).decode()
    asked = UPGRADE.format(path=f"{front}/status/ws", host=host, key=key, token=token[1])
    link.sendall(asked.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = link.recv(1)
        assert part, answer
        answer += part
    assert answer.startswith(b"HTTP/1.1 101"), answer
    assert link.recv(2), "the first message: that the session is there"
    return link


def closed(link: socket.socket) -> bool:
    """Return whether the other side has closed it, after all that it has sent."""
    link.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while link.recv(65536):
            pass
        return True
    return False


def test_ten_reloads_drop_no_websocket(doored: Doored):
    with contextlib.ExitStack() as stack:
        links = [
            stack.enter_context(contextlib.closing(websocket(doored, front)))
            for front in ("", "/w/dask-worker-0001", "/w/dask-worker-0002")
        ]
        for turn in range(10):
            doored.declare(more=f", frames: ['https://hub-{turn}.example']")
            said = doored.desk.call("up", "--yes").out
            assert "its routes or its settings changed" in said
            eventually(
                lambda turn=turn: (
                    f"hub-{turn}" in doored.door.ask("/health").one("Content-Security-Policy")
                ),
                within=120,
                what="the reload",
            )
        assert [closed(link) for link in links] == [False] * 3
    doored.declare()
    doored.desk.call("up", "--yes")


def test_an_edited_file_is_mended_and_a_refused_one_rolled_back(doored: Doored):
    site = doored.state / "door" / "site.conf"
    right = site.read_text(encoding="utf-8")
    site.write_text(right + "# edited\n", encoding="utf-8")
    said = doored.desk.call("plan", "--diff", status=2).out
    assert "its files were edited by hand" in said
    assert [line for line in said.splitlines() if line[:1] == "-"][1:] == ["-# edited"]
    doored.desk.call("up", "--yes")
    assert site.read_text(encoding="utf-8") == right
    # A file that the site includes, and that nginx does not take.
    tokens = doored.state.with_suffix(".door") / "tokens.map"
    tokens.write_text("nonsense nonsense nonsense\n", encoding="utf-8")
    try:
        doored.declare(more=", login: users")
        said = doored.desk.call("up", "--yes", status=9).err
        assert "nginx does not take it; the door is as it was before" in said
        assert "tokens.map" in said
        assert site.read_text(encoding="utf-8") == right
        assert doored.status("/health") == 200
    finally:
        tokens.unlink()
        doored.declare()
    assert doored.desk.call("up", "--yes").status == 0
    assert "nothing to do" in doored.desk.call("plan").out


def test_one_address_in_place_of_all_and_all_in_place_of_one_are_taken_over(doored: Doored):
    # nginx holds the port itself: it cannot by a reload, and goes on as before without a word.
    everywhere = f"{doored.base + 5}, server_name: 127.0.0.1, allow: [127.0.0.0/8], login: none"
    frames = "frames: ['https://everywhere.example']"
    door = f"door: {{listen: 0.0.0.0:{everywhere}, {frames}}}\n"
    doored.desk.declare(fleet_text("doored", doored.base, more=door))
    doored.desk.call("up", "--yes")
    policy = doored.door.ask("/health").one("Content-Security-Policy")
    assert policy == "frame-ancestors 'self' https://everywhere.example"
    assert "nothing to do" in doored.desk.call("plan").out
    doored.declare()
    doored.desk.call("up", "--yes")
    assert "everywhere" not in doored.door.ask("/health").one("Content-Security-Policy")
    assert "nothing to do" in doored.desk.call("plan").out


def test_routes_follow_the_workers(doored: Doored):
    pid = doored.desk.rows()["dask-door"]["pid"]
    doored.declare(workers=3)
    doored.desk.call("up", "--yes")
    assert doored.status("/w/dask-worker-0003/health") == 200
    doored.declare()
    doored.desk.call("up", "--yes")
    eventually(
        lambda: doored.status("/w/dask-worker-0003/health") == 404, within=120, what="it is gone"
    )
    assert doored.desk.rows()["dask-door"]["pid"] == pid


# -- what is away --------------------------------------------------------------------------


def test_a_frozen_worker_has_a_page_and_comes_back(doored: Doored):
    worker = psutil.Process(doored.desk.rows()["dask-worker-0001"]["pid"])
    worker.suspend()
    try:
        began = time.monotonic()
        answer = doored.door.ask("/w/dask-worker-0001/status")
        took = time.monotonic() - began
        others = doored.status("/w/dask-worker-0002/health"), doored.status("/health")
    finally:
        worker.resume()
    assert answer.status == 503
    assert "dask-worker-0001 is away" in answer.body
    assert 'http-equiv="refresh"' in answer.body
    assert answer.one("Retry-After") == "5"
    assert took < 30
    assert others == (200, 200)
    eventually(
        lambda: doored.status("/w/dask-worker-0001/health") == 200, within=120, what="it is back"
    )


def test_a_scheduler_that_is_down_has_a_page_and_comes_back(doored: Doored):
    os.kill(doored.desk.rows()["dask-scheduler"]["pid"], signal.SIGKILL)
    answer = eventually(
        lambda: a if (a := doored.door.ask("/status")).status == 503 else None,
        within=120,
        what="the page that says so",
    )
    assert "The scheduler is down" in answer.body
    assert re.search(f'<p id="since">{ALIVE}\n</p>', answer.body)
    assert 'http-equiv="refresh"' in answer.body
    eventually(lambda: doored.status("/health") == 200, within=120, what="it is back")
    eventually(doored.desk.all_running, within=120, what="all run again")


def test_nginx_that_dies_is_started_again(doored: Doored):
    os.kill(doored.desk.rows()["dask-door"]["pid"], signal.SIGKILL)
    eventually(
        lambda: doored.desk.rows()["dask-door"]["state"] == "running", within=120, what="it runs"
    )
    assert doored.status("/health") == 200


def test_a_door_that_is_no_longer_declared_goes(doored: Doored):
    doored.desk.declare(fleet_text("doored", doored.base))
    said = doored.desk.call("up", "--yes").out
    assert "remove  door" in said
    assert "dask-door" not in doored.desk.rows()
    assert not (doored.state / "door").exists()
    with pytest.raises(ConnectionRefusedError):
        doored.door.ask("/health")
    doored.declare()
    doored.desk.call("up", "--yes")
    assert doored.status("/health") == 200
