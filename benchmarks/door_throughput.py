"""What it costs a scheduler that somebody looks at its workers all the time."""

from __future__ import annotations

import json
import sys

from benchmarks.door_fleets import WORKER, Behind, Peer, steady
from benchmarks.figures import Figures
from benchmarks.machine import Bench, load_average
from benchmarks.processes import end, timed

__all__ = ["measure"]

RATE = 200
REST, STRAIGHT, DOOR = "nobody asks", "asked straight", "asked through the door"
PEER_REST, PEER_PROXY = "peer, nobody asks", "peer, asked by its proxy"

_CODE = """\
import json, sys, time
from distributed import Client
with Client(sys.argv[1], timeout=30) as client:
    client.gather(client.map(abs, range(200), pure=False))
    began = time.perf_counter()
    client.gather(client.map(abs, range(int(sys.argv[2])), pure=False))
    print(json.dumps(time.perf_counter() - began))
"""


def measure(bench: Bench, fleet: Behind, peer: Peer, rounds: int, *, quick: bool) -> Figures:
    """Compute tiny tasks, at rest and while workers are asked 200 times a second."""
    count = 500 if quick else 5000
    figures = Figures(
        "door throughput", f"seconds for {count:,} tiny tasks, workers asked {RATE} times a second"
    )
    name = f"{count:,} tasks"
    ways = {
        REST: (fleet.scheduler, "", bench.python),
        STRAIGHT: (fleet.scheduler, f"{fleet.direct}/health", bench.python),
        DOOR: (fleet.scheduler, f"{fleet.url}/w/{WORKER}/health", bench.python),
        PEER_REST: (peer.scheduler, "", sys.executable),
        PEER_PROXY: (peer.scheduler, f"{peer.url}/health", sys.executable),
    }
    for number in range(-1 if not quick else 0, rounds):
        load = load_average()
        for subject, (scheduler, url, python) in ways.items():
            asking = [steady(bench, url, RATE)] if url else []
            try:
                argv = [python, "-c", _CODE, scheduler, str(count)]
                out = timed(argv, bench.environ, bench.work, within=120).out
            finally:
                end(asking)
            if number >= 0:
                figures.add(name, subject, json.loads(out))
        if number >= 0:
            figures.loads.append(load)
    figures.ratio(name, STRAIGHT, REST)
    figures.ratio(name, DOOR, REST)
    figures.ratio(name, DOOR, STRAIGHT)
    figures.ratio(name, PEER_PROXY, PEER_REST)
    return figures
