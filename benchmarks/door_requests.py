"""A worker's health and metrics, straight, through the door, and through jupyter-server-proxy."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from benchmarks.door_fleets import WORKER, Behind, Peer, Rate, requests
from benchmarks.figures import Figures
from benchmarks.machine import Bench, load_average

__all__ = ["measure"]

PATHS = ("/health", "/metrics")
DIRECT, DOOR, SECURE, PROXY = "direct", "door", "door, TLS and token", "jupyter-server-proxy"

AT_LEAST = 0.95
"""Of the requests that are answered straight, so many have to be answered through the door."""
FASTER = 5
"""So many times as many as through jupyter-server-proxy."""


def measure(
    bench: Bench, plain: Behind, secure: Behind, peer: Peer, rounds: int, seconds: int
) -> Figures:
    """Ask by each way, round by round, for so many seconds each."""
    figures = Figures("door requests", "seconds for 1,000 requests to a worker, 8 at a time")
    for number in range(-1 if rounds > 1 else 0, rounds):
        load = load_average()
        for path in PATHS:
            ways = {
                DIRECT: (f"{plain.direct}{path}", ""),
                DOOR: (f"{plain.url}/w/{WORKER}{path}", ""),
                SECURE: (f"{secure.url}/w/{WORKER}{path}", secure.token),
                PROXY: (f"{peer.url}{path}", ""),
            }
            for subject, rate in _rates(bench, ways, seconds).items():
                if number < 0:
                    continue
                figures.add(f"{path}, 1,000 requests", subject, 1000 / rate.per_second)
                figures.add(f"{path}, half within", subject, rate.median, "ms")
                figures.add(f"{path}, 99 % within", subject, rate.slowest, "ms")
        if number >= 0:
            figures.loads.append(load)
    for path in PATHS:
        measure_ = f"{path}, 1,000 requests"
        figures.ratio(measure_, DOOR, DIRECT, 1 / AT_LEAST)
        figures.ratio(measure_, SECURE, DIRECT)
        figures.ratio(measure_, DOOR, PROXY, 1 / FASTER)
    return figures


def _rates(bench: Bench, ways: Mapping[str, tuple[str, str]], seconds: int) -> dict[str, Rate]:
    """Ask by each way for a second, over and over: what else a machine does falls on all alike."""
    found: dict[str, list[Rate]] = {subject: [] for subject in ways}
    for _ in range(seconds):
        for subject, (url, token) in ways.items():
            found[subject].append(requests(bench, url, 1, token))
    return {
        subject: Rate(
            fmean(rate.per_second for rate in rates),
            fmean(rate.median for rate in rates),
            fmean(rate.slowest for rate in rates),
        )
        for subject, rates in found.items()
    }
