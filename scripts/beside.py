#!/usr/bin/env python3
"""Run commands side by side: ``beside.py NAME COMMAND [NAME COMMAND]...``.

Each line that one of them says has its name before it. All run to their end, also when another one
has failed; the exit status is 1 if any has. Not done by a shell: what a script starts in the
background ignores interrupts, and so would all processes of the tests.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

__all__ = ["main"]


class Lane:
    """One command, and a thread that repeats what it says."""

    def __init__(self, name: str, command: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self.repeat)
        self.reader.start()

    def say(self, line: str) -> None:
        """Print a line whole, whatever others print at that moment."""
        sys.stdout.write(f"{self.name:10} | {line}\n")
        sys.stdout.flush()

    def repeat(self) -> None:
        """Print what the command says, and how it ended."""
        for line in self.process.stdout or ():
            self.say(line.rstrip("\n"))
        status = self.process.wait()
        self.say(f"exit status {status} after {time.monotonic() - self.began:.0f} s")

    def end(self) -> int:
        """Wait for the end and return the exit status."""
        self.reader.join()
        return self.process.wait()


def main(words: list[str]) -> int:
    """Run the commands; return 0 if all of them did."""
    if not words or len(words) % 2:
        print(__doc__, file=sys.stderr)
        return 2
    lanes: list[Lane] = []

    def pass_on(number: int, _: object) -> None:
        for lane in lanes:
            lane.process.send_signal(number)

    # An interrupt of the terminal comes to them by itself; they end, and so does this.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, pass_on)
    lanes += [Lane(*pair) for pair in zip(words[::2], words[1::2], strict=True)]
    statuses = [lane.end() for lane in lanes]
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
