"""What the doctor runs on a host: with the host's own Python, from standard input, stdlib only.

Nothing of it is installed. It listens or connects, prints one line of JSON, and ends: when its
output has no reader any more, or when its time is over. Python 3.8 or later.
"""

# No zip(strict=) and no faster `try` in Python 3.8; pathlib would cost the start some time.
# ruff: noqa: B905, PERF203, PTH112, PTH123

import asyncio
import errno
import json
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

_TRIES = 3


def listen(request):
    """Listen on ports that are free until the reader goes away or time is over."""
    end = time.monotonic() + request["seconds"]
    bound, held, failed, sockets = [], [], [], []
    for address, port in request["ports"]:
        try:
            sockets.append(listener(address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                held.append([address, port])
            else:
                failed.append([address, port, code(error), str(error)])
        else:
            bound.append([address, port])
    answer = {"bound": bound, "held": held, "failed": failed, "clock": time.time()}
    print(json.dumps(answer), flush=True)
    poll = select.poll()
    poll.register(1, 0)  # an error or a hang-up of standard output: nobody reads it any more
    by_number = {one.fileno(): one for one in sockets}
    for number in by_number:
        poll.register(number, select.POLLIN)
    while time.monotonic() < end:
        for number, _ in poll.poll(max(end - time.monotonic(), 0) * 1000):
            if number == 1:
                return
            try:
                by_number[number].accept()[0].close()
            except OSError:
                continue  # whoever called has hung up before we answered


def listener(address, port):
    """Return a socket that listens as Dask would."""
    family, kind, proto, _, place = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    one = socket.socket(family, kind, proto)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(place)
        one.listen(4096)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one


def code(error):
    """Return one word for an error of the operating system."""
    if isinstance(error, socket.gaierror):
        return "name"
    number = error.errno
    if number == errno.ECONNREFUSED:
        return "refused"
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN):
        return "route"
    if number == errno.ETIMEDOUT:
        return "timeout"
    return errno.errorcode.get(number, "error")


async def connect(request):
    """Connect to every target, ask for every name, and tell what this host is like."""
    # A resolver may hang for seconds: each name has a thread, and numbers need none.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    own = socket.gethostname()
    wanted = dict.fromkeys([address for address, _ in request["targets"]])
    wanted.update(dict.fromkeys([*request["names"], own]))
    found = await asyncio.gather(*(resolve(name, request["name_timeout"]) for name in wanted))
    places = dict(zip(wanted, found))
    room = asyncio.Semaphore(400)
    dialled = await asyncio.gather(
        *(
            dial(room, address, port, places[address], request["timeout"])
            for address, port in request["targets"]
        )
    )
    answer = {
        "targets": dialled,
        "distance": await distance(room, request, places),
        "names": {
            name: sorted({place[0] for _, place in places[name]}) for name in request["names"]
        },
        "own_name": own,
        "own_resolves": bool(places[own]),
        "python": ".".join(map(str, sys.version_info[:3])),
        "other_python": shutil.which("python" + request["python"]) or "",
        "files": {name: open_files(pid) for name, pid in request["pids"].items()},
        "own_files": finite(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "systemd": systemd() if request["systemd"] else None,
    }
    print(json.dumps(answer), flush=True)
    os._exit(0)  # without waiting for a resolver that still hangs


async def resolve(name, limit):
    """Return the addresses of a name, each with its family; none when it does not resolve."""
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        try:
            found = await asyncio.wait_for(
                loop.getaddrinfo(name, 0, type=socket.SOCK_STREAM), limit
            )
        except (OSError, asyncio.TimeoutError):
            found = []
    return [(family, place) for family, _, _, _, place in found]


async def dial(room, address, port, places, limit):
    """Return how one connection went, and its seconds."""
    async with room:
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        outcome = "name"
        for family, place in places:
            began = time.monotonic()
            with socket.socket(family, socket.SOCK_STREAM) as one:
                one.setblocking(False)
                try:
                    await asyncio.wait_for(
                        loop.sock_connect(one, (place[0], port, *place[2:])), limit
                    )
                except asyncio.TimeoutError:
                    outcome = "timeout"
                except OSError as error:
                    outcome = code(error)
                else:
                    outcome = "ok"
                    break
        return [address, port, outcome, time.monotonic() - began]


async def distance(room, request, places):
    """Return the least seconds that a connection to the scheduler takes, by itself."""
    # All others are done: what is left is the way there, and how busy both ends are.
    near = request["near"]
    if near not in request["targets"]:
        return None
    address, port = near
    tries = [
        await dial(room, address, port, places[address], request["timeout"]) for _ in range(_TRIES)
    ]
    return min((seconds for _, _, outcome, seconds in tries if outcome == "ok"), default=None)


def open_files(pid):
    """Return how many files a process may open; ``None`` when it is not to be found out."""
    try:
        with open(f"/proc/{pid}/limits") as stream:
            for line in stream:
                if line.startswith("Max open files"):
                    soft = line.split()[3]
                    return int(soft) if soft.isdecimal() else None
    except OSError:
        return None
    return None


def finite(number):
    """Return a limit, or ``None`` for none."""
    return None if number == resource.RLIM_INFINITY else number


def systemd():
    """Return what systemd says of itself; ``absent`` when it does not run here."""
    if not os.path.isdir("/run/systemd/system"):
        return "absent"
    try:
        done = subprocess.run(
            ["systemctl", "is-system-running"],  # noqa: S607 - wherever the host has it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return done.stdout.decode(errors="replace").strip() or "unknown"


def main(text):
    """Do what is asked for."""
    request = json.loads(text)
    if request["mode"] == "listen":
        listen(request)
    else:
        asyncio.run(connect(request))
