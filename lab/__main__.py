"""``python -m lab``: boot hosts, look at them, get into them, and take them down."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.base import ENGINES, ensure_base
from lab.fleet import Lab
from lab.guest import PACKAGES as GUESTS
from lab.host import Host, default_hosts
from lab.machine import REPOSITORY, LabError
from lab.packages import PLUGIN, ensure_package

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("--name", default="default", help="which lab (default: %(default)s)")
    for engine, option in (("docker", "--engine"), ("podman", "--podman")):
        parser.add_argument(
            option,
            action="append_const",
            dest="engines",
            const=engine,
            default=[],
            help=f"hosts have {engine.capitalize()}",
        )
    parser.add_argument(
        "--guests", action="store_true", help="there may be hosts with a kernel of their own"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="boot a scheduler host and worker hosts")
    up.add_argument("--hosts", type=int, default=5, help="how many (default: %(default)s)")
    commands.add_parser("base", help="make what hosts begin with, where it is missing")
    commands.add_parser("down", help="end and remove everything, also after a crash")
    commands.add_parser("status", help="list the hosts")
    ssh = commands.add_parser("ssh", help="a shell, or a command, on a host")
    ssh.add_argument("host")
    ssh.add_argument("argv", nargs=argparse.REMAINDER)
    for name, text in (
        ("exec", "run a command as the operator of a lab that is up"),
        ("run", "make an empty network, run a command in it, remove everything"),
    ):
        commands.add_parser(name, help=text).add_argument("argv", nargs=argparse.REMAINDER)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command of the lab and return its exit status."""
    arguments = _parser().parse_args(argv)
    folder = REPOSITORY / ".cache" / "lab" / arguments.name
    try:
        return _run(arguments, folder)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    rest: list[str] = getattr(arguments, "argv", [])
    rest = rest[1:] if rest[:1] == ["--"] else rest
    if arguments.command == "up":
        began = time.monotonic()
        lab = Lab(folder, default_hosts(arguments.hosts, engine="".join(arguments.engines[:1])))
        lab.up()
        print(f"{len(lab.hosts)} hosts in {time.monotonic() - began:.1f} s")
        return _status(lab)
    if arguments.command == "down":
        Lab(folder, 0).down()
        return 0
    if arguments.command == "base":
        _bases(Lab(folder, 0), arguments)
        return 0
    if arguments.command == "run":
        if not rest:
            raise LabError("run what? python -m lab run -- CMD")
        lab = Lab(folder, 0)
        _bases(lab, arguments)  # inside, nothing can be fetched
        return _run_inside(lab, rest)
    lab = Lab.load(folder)
    if arguments.command == "status":
        return _status(lab)
    if arguments.command == "ssh":
        rest = lab.home.ssh(lab[arguments.host].name, *rest)
    elif not rest:
        raise LabError("run what? python -m lab exec -- CMD")
    os.chdir(REPOSITORY)
    argv = lab.command(rest)
    # The terminal goes to the command.
    return subprocess.run(argv, env=lab.environment(), check=False).returncode


def _bases(lab: Lab, arguments: argparse.Namespace) -> None:
    """Make what hosts begin with, all kinds that may be asked for."""
    print(f"the base of the hosts is {lab.base.name}")
    for engine in arguments.engines or (ENGINES if arguments.guests else ()):
        print(f"that of hosts with {engine} is {ensure_base(lab.cache, ENGINES[engine]).name}")
        if arguments.guests:
            base = ensure_base(lab.cache, [*ENGINES[engine], *GUESTS])
            print(f"that of guests with {engine} is {base.name}")
    if "docker" in arguments.engines:
        ensure_package(lab.cache, *PLUGIN)


def _status(lab: Lab) -> int:
    def row(host: Host) -> str:
        state = "off"
        if host.is_on:
            state = host.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        return f"{host.name:20} {host.address:12} {host.address6:10} {state}"

    print("\n".join(row(host) for host in lab.hosts) or "no hosts")
    return 0


def _run_inside(lab: Lab, argv: list[str]) -> int:
    """Run a command in a network of its own; whatever happens, tear all down afterwards."""
    lab.down()
    stop: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _: object) -> None:
        stop.append(number)
        # The terminal gives an interrupt to the command too; anything else came to us alone.
        if process and number != signal.SIGINT:
            process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        lab.open()
        process = subprocess.Popen(lab.command(argv), env=lab.environment())
        asked = 0.0
        while True:
            try:
                status = process.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                asked = asked or (time.monotonic() if stop else 0.0)
                if asked and time.monotonic() - asked > 60:
                    process.kill()
        return status if status >= 0 else 128 - status
    finally:
        lab.down()
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
