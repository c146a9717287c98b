"""A client that computes on a fleet of containers for as long as a test wants it to."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lab import Lab

from tests.vms.operator import eventually

__all__ = ["Client", "Watch", "computing", "nothing_was_lost", "statuses", "watching"]

SCHEDULER = "dask-fleet.sst.dask-scheduler"
ADDRESS = "10.77.0.11"

# What each task does is noted by the scheduler when it begins: a key that is noted twice was
# computed again, whether it had ended or not. It keeps the last thousand notes, so the client
# listens to all of them; each comes before the end of its task. Orders come by standard input.
CLIENT = """\
import collections, functools, json, sys, threading, time
from distributed import Client, Event, get_worker, wait

# The scheduler remembers events of clients before this one.
began = time.time()

def noted(topic, key):
    get_worker().log_event(topic, key)

noted = functools.partial(noted, f"began-{began}")

def square(i):
    noted(f"square-{i}")
    return bytes([i % 251]) * (100_000 + i * i)

def slow(round, i, held, given):
    noted(f"slow-{round}-{i}")
    time.sleep(0.2)
    return len(held) - 100_000 + given

def stubborn(name):
    noted("stubborn")
    assert Event(f"{name}-{began}").wait(timeout=300)
    return "released"

orders = []
def listen():
    for line in sys.stdin:
        orders.append(line.strip())
    orders.append("end")
threading.Thread(target=listen, daemon=True).start()

def say(**value):
    print(json.dumps(value), flush=True)

with Client("tcp://10.77.0.11:8786", timeout=60) as client:
    counts = collections.Counter()
    client.subscribe_topic(f"began-{began}", lambda event: counts.update([event[1]]))
    given = client.scatter([1000 * i for i in range(12)], hash=False)
    held = client.map(square, range(24), pure=False)
    wait(held)
    say(holds=True)
    rounds, fixed = 0, None
    while "end" not in orders:
        if "stubborn" in orders and fixed is None:
            key = f"stubborn-{began}"
            fixed = client.submit(stubborn, "go", workers=["dask-worker-0001"], key=key)
        if "release" in orders:
            Event(f"go-{began}").set()
        rounds += 1
        some = [
            client.submit(slow, rounds, i, held[i], given[i % 12], pure=False) for i in range(24)
        ]
        found = client.gather(some)
        assert found == [i * i + 1000 * (i % 12) for i in range(24)], found
        say(rounds=rounds)
    right = [len(one) for one in client.gather(held)] == [100_000 + i * i for i in range(24)]
    right = right and client.gather(given) == [1000 * i for i in range(12)]
    if fixed is not None:
        right = right and fixed.result(timeout=60) == "released"
    def lost(began, dask_scheduler):
        found = []
        for moment, event in dask_scheduler.get_events("all"):
            said = event if moment > began and isinstance(event, dict) else {}
            if said.get("action") == "remove-worker":
                found += [*event["lost-computed-tasks"], *event["lost-scattered-tasks"]]
                if not event["expected"]:
                    found.append(event["worker"])
        return found
    say(
        right=right,
        rounds=rounds,
        tasks=len(counts),
        again=sorted(key for key, count in counts.items() if count > 1),
        lost=client.run_on_scheduler(lost, began),
    )
"""


class Client:
    """The client, run by a Python somewhere; ``said`` grows as it goes on."""

    def __init__(self, python: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [*python, "-c", CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[dict[str, Any]] = []
        self.words: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.said.append(json.loads(line))
            else:
                self.words.append(line)

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def rounds(self) -> int:
        """Return how many rounds it has computed; it must still be there."""
        assert self.process.poll() is None, "".join(self.words)
        return max((one.get("rounds", 0) for one in self.said), default=0)

    def until_further(self) -> None:
        """Wait until it has computed a whole round that begins now."""
        now = self.rounds()
        eventually("the client computes on", lambda: self.rounds() > now + 1, 90)

    def end(self) -> dict[str, Any]:
        """Let it end, and return what it found."""
        self.tell("end")
        assert self.process.wait(timeout=90) == 0, "".join(self.words)
        self._reader.join(timeout=30)
        return self.said[-1]


@contextmanager
def computing(lab: Lab, *python: str) -> Iterator[Client]:
    """Let a client compute on the scheduler's host: in its container, or by another Python."""
    argv = python or ("docker", "exec", "-i", SCHEDULER, "python")
    client = Client(lab.scheduler.command(argv))
    try:
        client.until_further()
        yield client
    finally:
        client.process.kill()
        client.process.wait(timeout=30)
        client._reader.join(timeout=30)


class Watch:
    """What the scheduler lists, looked at again and again: ``seen`` has the numbers of workers."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.seen.add(len(identity()["workers"]))

    def end(self) -> None:
        self._over.set()
        self._watcher.join(timeout=30)


@contextmanager
def watching() -> Iterator[Watch]:
    watch = Watch()
    try:
        yield watch
    finally:
        watch.end()


def identity() -> dict[str, Any]:
    """Return what the scheduler says of itself."""
    url = f"http://{ADDRESS}:8787/json/identity.json"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def statuses() -> dict[str, str]:
    return {one["name"]: one["status"] for one in identity()["workers"].values()}


def nothing_was_lost(client: Client) -> None:
    found = client.end()
    assert found["right"]
    assert found["tasks"] > 24 * found["rounds"]
    assert found["again"] == []
    assert found["lost"] == []
