"""What a run of suites says at its end: a table, the slowest tests, where the time went."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["Result", "Test", "failures", "read", "table"]

_TAIL = 40
_FAILURES = 400
_SLOWEST = 10


@dataclass(frozen=True, slots=True)
class Test:
    """A test that ran."""

    __test__ = False  # pytest looks for classes of this name

    name: str
    seconds: float
    good: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What a suite did.

    Parameters
    ----------
    name
        The suite's name.
    outcome
        In a word or two, as the table has it.
    seconds
        How long it took.
    tests
        Every test that ran; empty if the suite never came to that.
    spent
        Seconds by what they were spent on.
    """

    name: str
    outcome: str
    seconds: float
    tests: Sequence[Test] = ()
    spent: dict[str, float] | None = None


def read(folder: Path, name: str, outcome: str, seconds: float) -> Result:
    """Return what a suite did, by the files that pytest wrote for it."""
    tests: list[Test] = []
    report = folder / f"{name}.xml"
    if report.exists():
        for case in ElementTree.parse(report).iterfind(".//testcase[@classname]"):
            bad = case.find("failure") is not None or case.find("error") is not None
            where = case.get("classname", "").removeprefix("tests.")
            tests.append(Test(f"{where}::{case.get('name')}", float(case.get("time", 0)), not bad))
    profile = folder / f"{name}.profile.json"
    spent = json.loads(profile.read_text()) if profile.exists() else {}
    return Result(name, outcome, seconds, tests, spent)


def table(results: Iterable[Result], seconds: float) -> str:
    """Return suite, tests and seconds of all that ran or should have, and the ten slowest tests.

    Parameters
    ----------
    results
        What each suite did.
    seconds
        How long all of them took together.
    """
    results = list(results)
    lines = [f"{'suite':18} {'tests':>6} {'seconds':>8}  result"]
    for result in results:
        lines.append(
            f"{result.name:18} {len(result.tests):6} {result.seconds:8.0f}  {result.outcome}"
        )
        if result.spent:
            parts = sorted(result.spent.items(), key=lambda item: -item[1])
            lines.append("    " + ", ".join(f"{what} {took:.0f} s" for what, took in parts))
    tests = [(test, result.name) for result in results for test in result.tests]
    lines.append(f"{'all':18} {len(tests):6} {seconds:8.0f}")
    slowest = sorted(tests, key=lambda pair: -pair[0].seconds)[:_SLOWEST]
    lines += ["", f"the {len(slowest)} slowest tests"] if slowest else []
    lines += [f"{test.seconds:8.1f} s  {test.name}" for test, _ in slowest]
    good = sum(test.good for test, _ in tests)
    return "\n".join([*lines, "", f"{good} passed, {len(tests) - good} failed"])


def failures(log: Path) -> str:
    """Return the part of a suite's log that says what went wrong, or its last lines."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for number, line in enumerate(lines):
        if line.startswith("=") and line.strip("= ") in ("FAILURES", "ERRORS"):
            return "\n".join(lines[number:][:_FAILURES])
    return "\n".join(lines[-_TAIL:])
