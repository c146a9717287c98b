"""The door of a fleet on this machine, and clients that knock at it: real nginx, plain sockets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import pty
import re
import select
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dask_fleet.proxy.nginx_main import main_configuration
from tests.integration.conftest import (
    Desk,
    Done,
    eventually,
    fleet_text,
    free_ports,
    make_desk,
)

PATIENCE = 120.0
ANN = "right horse: battery"
"""The password of ann."""
WORKER = "dask-worker-0001"

ALIVE = r"It was last alive on 20\d\d-\d\d-\d\d at \d\d:\d\d:\d\d UTC\."
"""What the door's page about a scheduler says that is down."""

_BUSY = """\
import select, sys, time
from distributed import Client

with Client(sys.argv[1], timeout=120) as client:
    while not select.select([sys.stdin], [], [], 0)[0]:
        client.gather(client.map(lambda n: time.sleep(0.05) or n, range(20), pure=False))
"""
"""Computes until its standard input ends."""


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers as they came, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """Return the only header of a name, which has to be there."""
        (value,) = self.all(name)
        return value

    @property
    def cookie(self) -> str:
        """What a browser sends back: name and value of the only cookie that was set."""
        return self.one("Set-Cookie").partition(";")[0]


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@dataclass(frozen=True)
class Knocker:
    """Somebody who asks at an address; headers are sent as they are given."""

    url: str
    context: ssl.SSLContext | None = None
    source: str = "127.0.0.1"

    def ask(
        self,
        path: str = "/health",
        *,
        method: str = "GET",
        source: str = "",
        **headers: str,
    ) -> Answer:
        """Ask for a path; no redirect is followed. ``source`` is another address to come from."""
        place, bind = urlsplit(self.url).netloc, (source or self.source, 0)
        if self.context:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                place, timeout=PATIENCE, source_address=bind, context=self.context
            )
        else:
            connection = http.client.HTTPConnection(place, timeout=PATIENCE, source_address=bind)
        with contextlib.closing(connection):
            connection.request(method, path, headers=_named(headers))
            response = connection.getresponse()
            body = b"" if response.status == 101 else response.read()
            return Answer(response.status, tuple(response.getheaders()), body.decode())

    def websocket(self, path: str = "/status/ws", **headers: str) -> int:
        """Ask for a websocket and return the status: 101 when it is given."""
        asked = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        return self.ask(path, **asked, **headers).status


def told_to_bokeh(page: str) -> str:
    """Return the headers of a request for a page as Dask got them.

    Bokeh writes them into the page's token, packed (``bokeh.util.token``).
    """
    (token,) = re.findall(r'"token":"([^"]+)"', page)
    payload = json.loads(_unpadded(token.partition(".")[0]))
    packed = _unpadded(payload["__bk__zlib_"])
    return json.dumps(json.loads(zlib.decompress(packed))["headers"])


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@contextlib.contextmanager
def opened(
    desk: Desk,
    name: str,
    file: str = "fleet.yaml",
    *,
    certificate: tuple[bytes, bytes] = (b"", b""),
) -> Iterator[Path]:
    """Run nginx with the site of a fleet that is not up, where `up` would; yield that folder.

    It is for a second door in front of the same dashboards.
    """
    folder = desk.state / "fleets" / name / "door"
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in zip(("certificate.pem", "key.pem"), certificate, strict=True):
        (folder / kind).write_bytes(content)
    site = folder / "site.conf"
    site.write_text(desk.call("door", "--print", "--file", file).out, encoding="utf-8")
    text = main_configuration(name, str(folder), str(site))
    # The nginx of a distribution logs each request.
    text = text.replace("access_log off", f'access_log "{folder}/access.log"')
    if os.geteuid() == 0:
        (folder / "run-as.conf").write_text("user root;\n", encoding="utf-8")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    argv = ["/usr/sbin/nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with (folder / "error.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        place = urlsplit(desk.call("door", "--json", "--file", file).json["url"])
        eventually(
            lambda: process.poll() is not None or answers(place.hostname or "", place.port or 0),
            within=120,
            what="nginx answers",
        )
        assert process.poll() is None, (folder / "error.log").read_text(encoding="utf-8")
        yield folder
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def typed(desk: Desk, words: Sequence[str], lines: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal, answer each prompt; return its status and what was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(desk.directory)
        os.execvpe(desk.argv[0], [*desk.argv, *words], desk.environ)
    shown, waiting = "", list(lines)
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if waiting and waiting[0][0] in shown:
                os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    shown += os.read(terminal, 65536).decode()
                except OSError:  # Linux says EIO when the other side has ended
                    break
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown


@contextlib.contextmanager
def command_lines() -> Iterator[set[str]]:
    """Yield the set of all command lines and environments of this machine's processes meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for file in ("cmdline", "environ"):
                    # It may have ended meanwhile.
                    with contextlib.suppress(OSError):
                        text = (process / file).read_bytes().replace(b"\0", b" ")
                        seen.add(text.decode(errors="replace"))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


@dataclass
class House:
    """A fleet that is up, with users behind its door."""

    desk: Desk
    door: Knocker
    folder: Path
    base: int
    said: list[str]

    def call(self, *words: str, given: str = "", status: int = 0) -> Done:
        """Run a command of the door, which may get something on standard input."""
        done = call(self.desk, *words, given=given, status=status)
        if words[:2] != ("token", "add"):
            self.said.append(done.out)
        self.said.append(done.err)
        return done

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Keep the workers busy meanwhile, from a client in the fleet's own environment."""
        said = self.desk.call("env").out
        values = dict(re.findall(r"^(DASK_\w+)=(\S+)$", said, flags=re.MULTILINE))
        argv = [values["DASK_FLEET_PYTHON"], "-c", _BUSY, values["DASK_SCHEDULER_ADDRESS"]]
        busy = subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=self.desk.directory)
        try:
            yield
        finally:
            busy.communicate(timeout=PATIENCE)
        assert busy.returncode == 0

    def log_in(self, name: str = "ann", password: str = ANN) -> str:
        """Return the cookie that a good password brings."""

        def answered() -> Answer | None:
            # Guesses of other tests may have been too many at once, and make way at 20 a second.
            answer = self.door.ask(Authorization=basic(name, password))
            return None if answer.status == 429 else answer

        answer = eventually(answered, within=120, what="guesses are few again")
        assert answer is not None
        assert answer.status == 200
        return answer.cookie


def call(desk: Desk, *words: str, given: str = "", status: int = 0) -> Done:
    process = subprocess.run(
        [*desk.argv, "door", *words],
        cwd=desk.directory,
        env=desk.environ,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    done = Done(process.returncode, process.stdout, process.stderr)
    assert done.status == status, f"{words}: {done.status}\n{done.out}\n{done.err}"
    return done


@contextlib.contextmanager
def make_house() -> Iterator[House]:
    """Yield a fleet that is up, whose door knows ann."""
    base = free_ports(60)
    with make_desk() as desk:
        door = f'door: {{listen: "127.0.0.1:{base + 5}", login: users}}\n'
        desk.declare(fleet_text("house", base, more=door))
        # Before the first up.
        early = call(desk, "user", "add", "ann", "--password-stdin", given=ANN)
        assert early.out == "user ann may come in; the door is not up, `dask fleet up` brings it\n"
        desk.call("up", "--yes")
        folder = desk.state / "fleets" / "house" / "door"
        one = House(desk, Knocker(f"http://127.0.0.1:{base + 5}"), folder, base, [])
        cookie = one.log_in()
        for path in ("/status", f"/w/{WORKER}/status"):
            # Dask's pages come when somebody asks for the first; until then it says 307.
            eventually(
                lambda path=path: one.door.ask(path, Cookie=cookie).status == 200,
                within=120,
                what=path,
            )
        yield one
