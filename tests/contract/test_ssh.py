"""What only SSH has: host keys, jump hosts, sudo, the user's configuration, lost connections."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dask_fleet.command import Command, Outcome
from dask_fleet.errors import CommandFailedError, UnreachableHostError
from dask_fleet.ssh_host import SshHost
from dask_fleet.transports.ssh import SshConnections
from tests.contract.conftest import Operator, Sshd, free_port, make_key

T = TypeVar("T")
HELLO = Command(("echo", "hello"))
StartSshd = Callable[..., Sshd]


def run(work: Coroutine[Any, Any, T]) -> T:
    async def with_deadline() -> T:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(with_deadline())


async def on(*hosts: SshHost, command: Command = HELLO, **options: Any) -> Outcome:
    """Run a command on the first of some hosts."""
    connections = SshConnections({host.name: host for host in hosts}, **options)
    try:
        return await connections.transport(hosts[0].name).run(command)
    finally:
        await connections.close()


def refused(*hosts: SshHost, **options: Any) -> UnreachableHostError:
    with pytest.raises(UnreachableHostError) as caught:
        run(on(*hosts, **options))
    assert caught.value.host == hosts[0].name
    assert caught.value.remedy
    return caught.value


@pytest.fixture
def start_sshd(tmp_path: Path, operator: Operator) -> Iterator[StartSshd]:
    started: list[Sshd] = []

    def start(*options: str, **environment: str) -> Sshd:
        server = Sshd(tmp_path / f"sshd-{len(started)}", options, environment)
        server.start(operator.public)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


# Host keys.


def test_an_unknown_key_is_refused_with_its_fingerprint(sshd: Sshd, operator: Operator):
    error = refused(operator.host(sshd))
    listed = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.place / "host_key.pub")], capture_output=True, text=True
    )
    assert listed.stdout.split()[1] in error.message
    assert "--accept-new" in error.remedy
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1" in error.remedy
    assert not operator.known_hosts.exists()


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_changed_key_is_refused_always(
    sshd: Sshd, operator: Operator, tmp_path: Path, accept_new: bool
):
    other = make_key(tmp_path / "other")
    before = f"[127.0.0.1]:{sshd.port} {other}\n"
    operator.known_hosts.write_text(before)
    error = refused(operator.host(sshd), accept_new=accept_new)
    assert "is not the one" in error.message
    assert f"-R '[127.0.0.1]:{sshd.port}'" in error.remedy
    assert operator.known_hosts.read_text() == before


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_key_of_another_kind_than_the_known_one_is_a_changed_key(
    sshd: Sshd, operator: Operator, tmp_path: Path, accept_new: bool
):
    other = make_key(tmp_path / "other", "ecdsa")
    operator.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {other}\n")
    assert "is not the one" in refused(operator.host(sshd), accept_new=accept_new).message


def test_a_revoked_key_is_refused(sshd: Sshd, operator: Operator):
    name = f"[127.0.0.1]:{sshd.port}"
    operator.known_hosts.write_text(
        f"{name} {sshd.host_key}\n@revoked * {' '.join(sshd.host_key.split()[:2])}\n"
    )
    refused(operator.host(sshd), accept_new=True)


def test_a_new_key_is_accepted_and_written_down(sshd: Sshd, operator: Operator):
    operator.known_hosts.parent.rmdir()
    assert run(on(operator.host(sshd), accept_new=True)).stdout == "hello\n"
    assert operator.known_hosts.read_text().startswith(f"[127.0.0.1]:{sshd.port} ssh-ed25519 ")
    assert stat.S_IMODE(operator.known_hosts.stat().st_mode) == 0o600
    assert stat.S_IMODE(operator.known_hosts.parent.stat().st_mode) == 0o700
    written = operator.known_hosts.read_bytes()
    assert run(on(operator.host(sshd))).stdout == "hello\n"
    assert run(on(operator.host(sshd), accept_new=True)).stdout == "hello\n"
    assert operator.known_hosts.read_bytes() == written


def test_hashed_entries_are_read_and_written(sshd: Sshd, start_sshd: StartSshd, operator: Operator):
    operator.knows(sshd)
    subprocess.run(["ssh-keygen", "-Hf", str(operator.known_hosts)], check=True)
    assert run(on(operator.host(sshd))).stdout == "hello\n"
    second = start_sshd()
    assert run(on(operator.host(second), accept_new=True)).stdout == "hello\n"
    assert "127.0.0.1" not in operator.known_hosts.read_text()
    found = subprocess.run(
        ["ssh-keygen", "-f", str(operator.known_hosts), "-F", f"[127.0.0.1]:{second.port}"],
        capture_output=True,
        text=True,
    )
    assert second.host_key.split()[1] in found.stdout


def test_hosts_that_are_accepted_at_once(sshd: Sshd, start_sshd: StartSshd, operator: Operator):
    servers = [sshd, start_sshd(), start_sshd()]
    operator.known_hosts.write_text("# no line end")
    hosts = {f"vm-{n}": operator.host(one, f"vm-{n}") for n, one in enumerate(servers)}

    async def work() -> None:
        pools = [SshConnections(hosts, accept_new=True) for _ in range(2)]
        await asyncio.gather(*(p.transport(name).run(HELLO) for p in pools for name in hosts))
        await asyncio.gather(*(pool.close() for pool in pools))

    run(work())
    lines = operator.known_hosts.read_text().splitlines()
    assert sorted(lines[1:]) == sorted(f"[127.0.0.1]:{s.port} {s.host_key}" for s in servers) or (
        sorted(line.split()[2] for line in lines[1:])
        == sorted(one.host_key.split()[1] for one in servers)
    )


# Jump hosts.


def test_through_another_host_of_the_fleet_on_one_connection(
    sshd: Sshd, start_sshd: StartSshd, operator: Operator
):
    door = start_sshd()
    operator.knows(sshd, door)
    hosts = {
        "door": operator.host(door, "door"),
        "vm-1": operator.host(sshd, "vm-1", jump="door"),
        "vm-2": operator.host(sshd, "vm-2", jump="door"),
    }

    async def work() -> list[str]:
        connections = SshConnections(hosts)
        outcomes = await asyncio.gather(*(connections.transport(n).run(HELLO) for n in hosts))
        await connections.close()
        return [outcome.stdout for outcome in outcomes]

    assert run(work()) == ["hello\n"] * 3
    assert door.log().count("Accepted publickey") == 1


def test_through_a_host_that_only_its_address_names(
    sshd: Sshd, start_sshd: StartSshd, operator: Operator
):
    door = start_sshd()
    operator.knows(sshd, door)
    (operator.home / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {operator.key}\n")
    user = operator.host(door).user
    host = operator.host(sshd, jump=f"{user}@127.0.0.1:{door.port}")
    assert run(on(host)).stdout == "hello\n"
    assert door.log().count("Accepted publickey") == 1


def test_every_hop_is_verified(sshd: Sshd, start_sshd: StartSshd, operator: Operator):
    door = start_sshd()
    hosts = (operator.host(sshd, jump="door"), operator.host(door, "door"))
    operator.knows(sshd)
    error = refused(*hosts)
    assert "door" in error.message
    assert "is not known" in error.message
    operator.knows(door)
    assert f"[127.0.0.1]:{sshd.port} is not known" in refused(*hosts).message
    assert run(on(*hosts, accept_new=True)).stdout == "hello\n"


def test_jumps_in_a_circle(sshd: Sshd, operator: Operator):
    hosts = [operator.host(sshd, name, jump=to) for name, to in ("ab", "bc", "ca")]
    assert "a -> b -> c -> a" in refused(*hosts).message


def test_a_jump_host_that_cannot_connect_further(sshd: Sshd, operator: Operator):
    operator.knows(sshd)
    far = SshHost("vm-1", "127.0.0.1", "root", free_port(), str(operator.key), "door")
    error = refused(far, operator.host(sshd, "door"))
    assert "door cannot connect to 127.0.0.1" in error.message


# The user's configuration.


@pytest.mark.parametrize("name", ["vm-1", "127.0.0.1"])
def test_the_users_configuration(sshd: Sshd, operator: Operator, tmp_path: Path, name: str):
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
    user = operator.host(sshd).user
    (operator.home / ".ssh" / "config").write_text(
        f"Host {name}\n  User {user}\n  Port {sshd.port}\n"
        f"  IdentityFile {operator.key}\n  UserKnownHostsFile {known}\nHost *\n  User nobody\n"
    )
    assert run(on(SshHost("vm-1", "127.0.0.1"))).stdout == "hello\n"


def test_an_entry_for_the_hosts_name_says_what_is_dialled(sshd: Sshd, operator: Operator):
    operator.knows(sshd)
    (operator.home / ".ssh" / "config").write_text("Host vm-*\n  HostName 127.0.0.1\n")
    assert run(on(operator.host(sshd, address="192.0.2.1"))).stdout == "hello\n"


def test_proxy_jump_and_host_key_alias_of_the_configuration(
    sshd: Sshd, start_sshd: StartSshd, operator: Operator
):
    door = start_sshd()
    operator.known_hosts.write_text(
        f"[far]:{sshd.port} {sshd.host_key}\n[127.0.0.1]:{door.port} {door.host_key}\n"
    )
    (operator.home / ".ssh" / "config").write_text(
        "Host vm-1\n  HostKeyAlias far\n  ProxyJump door\n"
        f"Host door\n  HostName 127.0.0.1\n  Port {door.port}\n  IdentityFile {operator.key}\n"
    )
    assert run(on(operator.host(sshd))).stdout == "hello\n"
    assert door.log().count("Accepted publickey") == 1


# What fails.


def test_a_wrong_key(sshd: Sshd, operator: Operator, tmp_path: Path):
    operator.knows(sshd)
    make_key(tmp_path / "wrong")
    error = refused(operator.host(sshd, identity_file=str(tmp_path / "wrong")))
    assert f"let {operator.host(sshd).user} not in" in error.message
    assert f"{tmp_path}/wrong" in error.message
    assert "no agent" in error.message


def test_a_wrong_user(sshd: Sshd, operator: Operator):
    operator.knows(sshd)
    assert "let nobody-here not in" in refused(operator.host(sshd, user="nobody-here")).message


def test_a_key_with_a_passphrase(sshd: Sshd, operator: Operator, tmp_path: Path):
    operator.knows(sshd)
    make_key(tmp_path / "locked", passphrase="a secret")
    error = refused(operator.host(sshd, identity_file=str(tmp_path / "locked")))
    assert "passphrase" in error.message
    assert f"ssh-add {tmp_path}/locked" in error.remedy


def test_a_key_that_is_not_there(sshd: Sshd, operator: Operator):
    assert "/no/key is not there" in refused(operator.host(sshd, identity_file="/no/key")).message


def test_a_name_that_does_not_resolve():
    assert "does not resolve" in refused(SshHost("vm-1", "no-such-host.invalid")).message


def test_a_port_where_nobody_listens():
    port = free_port()
    error = refused(SshHost("vm-1", "127.0.0.1", port=port))
    assert f"127.0.0.1 port {port} refused the connection" in error.message


def test_a_host_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = refused(SshHost("vm-1", "127.0.0.1", port=port), connect_timeout=0.3)
    assert "did not answer within 0.3 s" in error.message


# Connections.


def test_one_connection_for_many_commands_at_once(sshd: Sshd, operator: Operator):
    operator.knows(sshd)
    before = sshd.log().count("Accepted publickey")

    async def work() -> list[str]:
        connections = SshConnections({"vm-1": operator.host(sshd)})
        commands = [Command(("echo", str(n))) for n in range(40)]
        transport = connections.transport("vm-1")
        outcomes = await asyncio.gather(*(transport.run(command) for command in commands))
        await connections.close()
        return [outcome.stdout.strip() for outcome in outcomes]

    assert run(work()) == [str(n) for n in range(40)]
    assert sshd.log().count("Accepted publickey") == before + 1


def test_a_connection_that_is_lost_during_a_command(
    start_sshd: StartSshd, operator: Operator, tmp_path: Path
):
    server = start_sshd()
    operator.knows(server)
    begun = tmp_path / "begun"
    text = f'echo x >>"{begun}"; echo begun; exec sleep 20'

    async def work() -> str:
        connections = SshConnections({"vm-1": operator.host(server)})
        transport = connections.transport("vm-1")
        lines = transport.lines(Command(("sh", "-c", text)))
        assert await lines.__anext__() == "begun"
        for pid in server.sessions():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(UnreachableHostError, match="connection was lost while") as caught:
            await lines.__anext__()
        assert caught.value.remedy
        again = await transport.run(HELLO)  # a new connection is opened
        await connections.close()
        return again.stdout

    assert run(work()) == "hello\n"
    assert begun.read_text() == "x\n"  # it was not run once more


def test_another_try_when_the_server_breaks_off_before_anything_is_started(
    sshd: Sshd, operator: Operator
):
    operator.known_hosts.write_text(f"127.0.0.1 {sshd.host_key}\n")

    async def work() -> tuple[int, str]:
        tries = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal tries
            tries += 1
            if tries < 3:
                writer.close()
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", sshd.port)
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

        async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1 << 16):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        outcome = await on(operator.host(sshd, port=port))
        server.close()
        return tries, outcome.stdout

    assert run(work()) == (3, "hello\n")


def test_no_more_handshakes_at_once_than_the_limit(sshd: Sshd, operator: Operator):
    operator.known_hosts.write_text(f"127.0.0.1 {sshd.host_key}\n")

    async def work() -> int:
        now = most = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await reader.read()  # never answers, until it is given up
            now -= 1
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hosts = {name: operator.host(sshd, name, port=port) for name in "abcdef"}
        connections = SshConnections(hosts, limit=2, connect_timeout=0.3)
        tries = (connections.transport(name).run(HELLO) for name in hosts)
        ended = await asyncio.gather(*tries, return_exceptions=True)
        assert all(isinstance(one, UnreachableHostError) for one in ended)
        await connections.close()
        server.close()
        return most

    assert run(work()) == 2


def test_a_port_is_reached_through_the_host(sshd: Sshd, operator: Operator):
    operator.knows(sshd)

    async def work() -> None:
        connections = SshConnections({"vm-1": operator.host(sshd)})
        transport = connections.transport("vm-1")
        places = await asyncio.gather(*(transport.reach("127.0.0.1", sshd.port) for _ in "ab"))
        assert len(set(places)) == 1
        assert places[0] != ("127.0.0.1", sshd.port)
        reader, writer = await asyncio.open_connection(*places[0])
        assert (await reader.readline()).startswith(b"SSH-2.0-OpenSSH")
        writer.close()
        await connections.close()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection(*places[0])

    run(work())


# Sudo.

FAKE_SUDO = """\
#!/bin/sh
printf '%s\\n' "$*" >>"{log}"
shift 3
exec env SUDO_FAKED=yes "$@"
"""


def program(place: Path, name: str, text: str) -> Path:
    place.mkdir(exist_ok=True)
    (place / name).write_text(text)
    (place / name).chmod(0o755)
    return place


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """Programs that the host finds first: a user who is not root, and a sudo that takes notes."""
    program(tmp_path / "bin", "id", "#!/bin/sh\necho 1000\n")
    return program(tmp_path / "bin", "sudo", FAKE_SUDO.format(log=tmp_path / "sudo.log"))


def test_sudo(start_sshd: StartSshd, operator: Operator, fake: Path, tmp_path: Path):
    server = start_sshd(PATH=f"{fake}:/usr/bin:/bin")
    operator.knows(server)
    command = Command(("sh", "-c", 'echo "$SUDO_FAKED"; cat; kill -TERM $$'), b"secret word")

    async def work() -> Outcome:
        connections = SshConnections({"vm-1": operator.host(server, sudo=True)})
        outcome = await connections.transport("vm-1").run(command, check=False)
        late = Command(("sh", "-c", "sleep 20 & sleep 20"), timeout=0.3)
        with pytest.raises(CommandFailedError, match=r"after 0\.3 s"):
            await connections.transport("vm-1").run(late)
        await connections.close()
        return outcome

    outcome = run(work())
    assert (outcome.status, outcome.stdout) == (-signal.SIGTERM, "yes\nsecret word")
    log = (tmp_path / "sudo.log").read_text()
    assert log.startswith("-n -H -- sh -c")
    assert re.search(r"kill -s KILL .* -\d+$", log, re.MULTILINE)
    assert "secret word" not in log


def test_root_needs_no_sudo(start_sshd: StartSshd, operator: Operator, tmp_path: Path):
    place = program(tmp_path / "bin", "id", "#!/bin/sh\necho 0\n")
    program(place, "sudo", "#!/bin/sh\nexit 1\n")
    server = start_sshd(PATH=f"{place}:/usr/bin:/bin")
    operator.knows(server)
    assert run(on(operator.host(server, sudo=True))).stdout == "hello\n"


def test_sudo_that_asks_for_a_password(
    start_sshd: StartSshd, operator: Operator, fake: Path, tmp_path: Path
):
    program(fake, "sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    server = start_sshd(PATH=f"{fake}:/usr/bin:/bin")
    operator.knows(server)
    error = refused(operator.host(server, sudo=True))
    assert "a password is required" in error.message
    assert "NOPASSWD" in error.remedy


def test_the_environment_and_the_noise_of_a_login_shell(
    start_sshd: StartSshd, operator: Operator, tmp_path: Path
):
    noise = tmp_path / "noise"
    noise.write_text("echo Welcome; echo 'Have a nice day' >&2\n")
    server = start_sshd(LANG="de_DE.UTF-8", PATH="/usr/bin:/bin", BASH_ENV=str(noise))
    operator.knows(server)
    host = operator.host(server)
    outcome = run(on(host, command=Command(("env",))))
    assert "LC_ALL=C\n" in outcome.stdout
    assert "LANG=" not in outcome.stdout
    assert "PATH=/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin\n" in outcome.stdout
    assert "Welcome" not in outcome.stdout
    assert outcome.stderr == ""

    async def lines() -> list[str]:
        connections = SshConnections({"vm-1": host})
        seen = [line async for line in connections.transport("vm-1").lines(HELLO)]
        await connections.close()
        return seen

    assert run(lines()) == ["hello"]


def test_a_server_that_runs_something_else(start_sshd: StartSshd, operator: Operator):
    server = start_sshd("ForceCommand echo no >&2; exit 3")
    operator.knows(server)
    error = refused(operator.host(server))
    assert "ran no command (status 3): no" in error.message
