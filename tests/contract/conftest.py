"""The transports that every contract is tested over, and real sshd processes for it."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dask_fleet.ssh_host import SshHost
from dask_fleet.transports.base import Transport
from dask_fleet.transports.local import LocalTransport
from dask_fleet.transports.ssh import SshConnections
from tests import namespace

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def pytest_configure() -> None:
    namespace.enter()


def free_port() -> int:
    """Return a port below the ones that the kernel gives to clients."""
    for port in range(22000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """Make a key pair and return its public half."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


@dataclass
class Sshd:
    """A real sshd on a port of its own, with its own key, log and environment."""

    place: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    host_key: str = ""

    def start(self, authorized: str) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self.place.chmod(0o700)
        if not self.port:
            self.port = free_port()
            self.host_key = make_key(self.place / "host_key")
        (self.place / "authorized_keys").write_text(authorized + "\n")
        config = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.place}/host_key",
            f"AuthorizedKeysFile {self.place}/authorized_keys",
            f"PidFile {self.place}/sshd.pid",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            "MaxStartups 100:30:200",
            "LogLevel VERBOSE",
            *self.options,
            # bash reads ~/.bashrc under sshd, which is the developer's own here; not below level 1.
            " ".join(("SetEnv SHLVL=5", *(f"{k}={v}" for k, v in self.environment.items()))),
        ]
        (self.place / "sshd_config").write_text("\n".join(config) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        assert SSHD is not None, "sshd is missing: ./scripts/debian.sh openssh-server"
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.place / "sshd_config")], stderr=log
            )
        deadline = time.monotonic() + 60
        while "Server listening" not in self.log():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()

    def log(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def sessions(self) -> list[int]:
        """Return the processes that serve connections."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [int(pid) for pid in found.stdout.split()]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@dataclass
class Operator:
    """A user's home with a key, and the known_hosts that it has."""

    home: Path
    key: Path
    public: str

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh" / "known_hosts"

    def knows(self, *servers: Sshd) -> None:
        self.known_hosts.write_text(
            "".join(f"[127.0.0.1]:{one.port} {one.host_key}\n" for one in servers)
        )

    def host(self, server: Sshd, name: str = "vm-1", **other: object) -> SshHost:
        said: dict[str, object] = {
            "address": "127.0.0.1", "user": getpass.getuser(), "port": server.port,
            "identity_file": str(self.key),
        }  # fmt: skip
        return SshHost(name=name, **(said | other))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def operators_key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    return path, make_key(path)


@pytest.fixture(scope="session")
def sshd(
    tmp_path_factory: pytest.TempPathFactory, operators_key: tuple[Path, str]
) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start(operators_key[1])
    yield server
    server.stop()


@pytest.fixture
def operator(
    tmp_path: Path, operators_key: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> Operator:
    home = tmp_path / "operators home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Operator(home, *operators_key)


class EachRun(Transport):
    """The SSH transport for tests that run several event loops, one after the other.

    A connection belongs to its event loop, so each loop gets its own.
    """

    def __init__(self, host: SshHost) -> None:
        self._host = host
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: SshConnections | None = None

    @property
    def host(self) -> str:
        return self._host.name

    @property
    def _inner(self) -> Transport:
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._connections is None:
            self._loop = loop
            self._connections = SshConnections({self.host: self._host})
        return self._connections.transport(self.host)

    async def run(self, command, *, check=True):  # type: ignore[no-untyped-def]
        return await self._inner.run(command, check=check)

    def lines(self, command):  # type: ignore[no-untyped-def]
        return self._inner.lines(command)

    async def reach(self, address: str, port: int) -> tuple[str, int]:
        return await self._inner.reach(address, port)

    async def close(self) -> None:
        await self._inner.close()
        assert self._connections is not None
        await self._connections.close()
        self._connections = None


class Through(Transport):
    """A transport that passes everything on; tests override what they want to disturb."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    @property
    def host(self) -> str:
        return self.inner.host

    async def run(self, command, *, check=True):  # type: ignore[no-untyped-def]
        return await self.inner.run(command, check=check)

    def lines(self, command):  # type: ignore[no-untyped-def]
        return self.inner.lines(command)

    async def reach(self, address: str, port: int) -> tuple[str, int]:
        return await self.inner.reach(address, port)

    async def close(self) -> None:
        await self.inner.close()


MakeTransport = Callable[[str], Transport]


@pytest.fixture(params=["local", "ssh"])
def make_transport(request: pytest.FixtureRequest) -> MakeTransport:
    """What makes a transport to this machine under the name of a host."""
    if request.param == "local":
        return LocalTransport
    server: Sshd = request.getfixturevalue("sshd")
    operator: Operator = request.getfixturevalue("operator")
    operator.knows(server)
    return lambda name: EachRun(operator.host(server, name))


@pytest.fixture
def transport(make_transport: MakeTransport) -> Transport:
    return make_transport("vm-1")
