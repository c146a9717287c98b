"""Somebody who follows the logs of a fleet."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.vms.operator import Operator, eventually

__all__ = ["Follower", "following"]


class Follower:
    """Somebody who reads `logs -f`; `lines` grows as they come."""

    def __init__(self, operator: Operator, *words: str) -> None:
        self.process = operator.begin("logs", "-f", *words)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    def until(self, what: str, test: Callable[[str], object], seconds: float = 60) -> str:
        """Return the first line that fits."""

        def look() -> str | None:
            assert self.process.poll() is None, self.lines
            return next((line for line in self.lines if test(line)), None)

        return eventually(f"{what}: {self.lines}", look, seconds)


@contextmanager
def following(operator: Operator, *words: str) -> Iterator[Follower]:
    follower = Follower(operator, *words)
    try:
        yield follower
    finally:
        follower.process.send_signal(signal.SIGINT)
        follower.process.wait(timeout=30)
        follower._reader.join(timeout=30)
