"""A client of a cluster in a process of its own, which goes on when a test tells it to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["begun"]


@contextmanager
def begun(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Start a client, and yield it when it has printed ``begun``; it has ended afterwards.

    What it waits for is a line of its standard input: ``communicate("\\n")`` lets it go on.
    """
    process = subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n", f"it ended with {process.wait(30)}"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)
