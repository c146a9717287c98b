"""A pytest plugin that says where the time of a suite of real programs goes.

It adds up the outermost of the steps that tests take: booting hosts, commands of dask-fleet,
waiting, the browser. Its lines stand at the end of the suite's log, and in ``PROFILE`` as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_spent: defaultdict[str, float] = defaultdict(float)
_inside: list[str] = []


def _measure(owner: Any, name: str, what: Callable[..., str]) -> None:
    """Let a function note how long it took, unless another one that is measured called it."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def measured(*words: Any, **more: Any) -> Any:
        if _inside:
            return inner(*words, **more)
        _inside.append(name)
        began = time.monotonic()
        try:
            return inner(*words, **more)
        finally:
            _inside.pop()
            _spent[what(*words)] += time.monotonic() - began

    setattr(owner, name, measured)


def _command(_: object, verb: str = "", *__: object) -> str:
    return f"dask fleet {verb}" if verb in ("up", "down") else "other commands"


def pytest_sessionstart(session: pytest.Session) -> None:
    from lab import Host, Lab

    from tests.integration import browser
    from tests.integration import conftest as here
    from tests.vms import operator

    for owner, name, what in (
        (Lab, "up", "hosts boot"),
        (Lab, "down", "hosts end"),
        (Host, "wait_up", "hosts boot"),
        (Host, "reboot", "hosts boot"),
        (Host, "run", "commands on hosts"),
        (operator, "eventually", "waiting"),
        (here, "eventually", "waiting"),
        (browser.Tab, "open", "browser"),
        (browser.Tab, "wait_until_drawn", "browser"),
    ):
        _measure(owner, name, lambda *_, what=what: what)
    _measure(operator.Operator, "call", _command)
    _measure(here.Desk, "call", _command)


def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist has measured."""
    for what, seconds in node.workeroutput.get("profile", {}).items():
        _spent[what] += seconds


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["profile"] = dict(_spent)
    elif path := os.environ.get("PROFILE"):
        Path(path).write_text(json.dumps(_spent))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for what, seconds in sorted(_spent.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"profile: {what:20} {seconds:8.1f} s")
