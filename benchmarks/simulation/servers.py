"""The servers: ``python -m benchmarks.simulation.servers FLEET.YAML`` serves until it is ended.

Reads the fleet with the tool's own modules, listens on the address and SSH port of every host,
writes ``ready`` when all listen, and counts what it is asked. A line on standard input is answered
by a line of JSON: what was asked since the last one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from benchmarks.simulation.answers import identity, look_text
from dask_fleet.assembly import open_fleet
from dask_fleet.fleet import Fleet
from dask_fleet.observer import look_command
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.spec.expand import expand_hosts

__all__ = ["main"]

_MARK = re.compile(r"dask-fleet-[0-9a-f]{16}")
_BACKLOG = 1024


@dataclass
class _Asked:
    """What was asked: connections and commands by address of the host, pages of the scheduler."""

    connections: Counter[str] = field(default_factory=Counter[str])
    commands: Counter[str] = field(default_factory=Counter[str])
    pages: int = 0

    def line(self) -> str:
        """Return it as JSON, and count from nothing again."""
        said = json.dumps(
            {"connections": self.connections, "commands": self.commands, "pages": self.pages}
        )
        self.connections.clear()
        self.commands.clear()
        self.pages = 0
        return said


@dataclass(frozen=True)
class _Hosts:
    """What is asked and what is answered, by the address of the host that is asked."""

    looks: Mapping[str, tuple[bytes, bytes]]
    page: tuple[str, int]
    asked: _Asked = field(default_factory=_Asked)

    async def answer(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Answer a command: a look, or nothing."""
        address = process.get_extra_info("sockname")[0]
        self.asked.commands[address] += 1
        asked, answer = self.looks[address]
        found = _MARK.search(process.command or "")
        if found is None or shlex.split(process.command or "")[-3:] != ["sh", "-s", "--"]:
            process.stderr.write(b"a simulated host knows no command but the look\n")
            process.exit(126)
            return
        mark = found[0].encode()
        process.stdout.write(mark + b" 300 300\n")
        process.stderr.write(mark + b"\n")
        if await process.stdin.read() != asked:
            process.stderr.write(b"a simulated host knows no script but the look\n")
            process.exit(126)
            return
        process.stdout.write(answer)
        process.exit(0)


def _answers(fleet: Fleet) -> _Hosts:
    layout = fleet.layout
    targets = fleet.blueprint.targets(
        layout,
        {name: access.places for name, access in fleet.hosts.items()},
        {name: access.runtime for name, access in fleet.hosts.items()},
        {},
    )
    looks: dict[str, tuple[bytes, bytes]] = {}
    for target in targets:
        access = fleet.hosts[target.host]
        if not isinstance(access.runtime, SystemdRuntime):
            raise TypeError(f"{target.host} is not a host behind SSH under systemd")
        text = look_text(target, access.runtime)
        looks[layout.hosts[target.host].address] = look_command(access).stdin, text.encode()
    scheduler = layout.scheduler
    return _Hosts(looks, (scheduler.contact, scheduler.dashboard_port))


async def _serve(fleet: Fleet, key: Path) -> None:
    hosts = _answers(fleet)
    body = identity(fleet.layout)

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            hosts.asked.connections[conn.get_extra_info("sockname")[0]] += 1

        def connection_requested(
            self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
        ) -> bool:
            del orig_host, orig_port
            return (dest_host, dest_port) == hosts.page

    options = asyncssh.SSHServerConnectionOptions(
        server_factory=Server,
        server_host_keys=[asyncssh.read_private_key(key)],
        authorized_client_keys=str(key.with_suffix(".pub")),
        process_factory=hosts.answer,
        encoding=None,
        line_editor=False,
        gss_host=None,
    )

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        hosts.asked.pages += 1
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    listeners: list[Any] = [await asyncio.start_server(page, *hosts.page)]
    declared = expand_hosts(fleet.blueprint.spec)
    for host in declared.values():
        port = host.spec.ssh.port if host.spec.ssh and host.spec.ssh.port else 22
        listeners.append(
            await asyncssh.listen(host.address, port, options=options, backlog=_BACKLOG)
        )
    print("ready", flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def report() -> None:
        if sys.stdin.readline():
            print(hosts.asked.line(), flush=True)
        else:
            stop.set()  # nobody is left who could ask

    loop.add_reader(sys.stdin.fileno(), report)
    await stop.wait()
    for listener in listeners:
        listener.close()


def main() -> None:
    """Serve the hosts of a fleet.yaml until a signal comes."""
    path = Path(sys.argv[1])
    fleet = open_fleet(path, os.environ)
    asyncio.run(_serve(fleet, path.with_name("key")))


if __name__ == "__main__":
    main()
