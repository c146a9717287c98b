"""Kinds of failure: their exit codes, and what a person reads."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from dask_fleet import errors
from dask_fleet.cli.common import reports_errors
from dask_fleet.errors import (
    EXIT_CODES,
    CommandFailedError,
    DeadlineError,
    FleetError,
    LeaseHeldError,
    PortHeldError,
    Problem,
    SeveralErrors,
    SpecError,
    UnreachableHostError,
    together,
)

KINDS = [
    kind
    for kind in map(errors.__dict__.get, errors.__all__)
    if isinstance(kind, type) and issubclass(kind, FleetError)
]


def test_every_kind_has_a_code_of_its_own():
    codes = [kind.exit_code for kind in KINDS if kind not in (FleetError, SeveralErrors)]
    assert len(codes) == len(set(codes))
    assert FleetError.exit_code == 1


def test_every_code_is_documented_once():
    documented = [code for code, _ in EXIT_CODES]
    assert len(documented) == len(set(documented))
    assert {kind.exit_code for kind in KINDS} <= set(documented)
    assert {0, errors.EXIT_CHANGES, errors.EXIT_USAGE, 130} <= set(documented)
    assert all(text for _, text in EXIT_CODES)


def test_no_kind_takes_the_code_of_plan_or_usage():
    reserved = {0, errors.EXIT_CHANGES, errors.EXIT_USAGE, 130}
    assert not reserved & {kind.exit_code for kind in KINDS}


def test_a_remedy_of_several_hosts_is_said_once():
    @click.command()
    @reports_errors
    def failing() -> None:
        faults = (("a: x", "mend"), ("b: x", "mend"), ("c: y", "wait"))
        raise together(PortHeldError(*fault) for fault in faults)

    said = CliRunner().invoke(failing).stderr.splitlines()
    assert said == ["error: a: x", "error: b: x", "  remedy: mend", "error: c: y", "  remedy: wait"]


def test_the_remedy_stands_below_the_fault():
    assert str(FleetError("it broke", "mend it")) == "it broke\n  remedy: mend it"
    assert str(FleetError("it broke")) == "it broke"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("f:1", "a.b", "is wrong", "mend it"), "f:1 a.b: is wrong; mend it"),
        (Problem("f", "", "is wrong"), "f: is wrong"),
    ],
)
def test_a_problem_says_where(problem: Problem, text: str):
    assert str(problem) == text
    assert str(SpecError((problem, problem))) == f"{text}\n{text}"


def test_a_command_that_failed_shows_its_last_lines():
    error = CommandFailedError("vm-1", "uv sync", 2, "\n".join(f"line {n}" for n in range(20)))
    lines = str(error).splitlines()
    assert lines[0] == "vm-1: `uv sync` ended with status 2"
    assert lines[1:] == [f"  | line {n}" for n in range(8, 20)]
    assert str(CommandFailedError("vm-1", "uv", None, "")) == "vm-1: `uv` did not end"


def test_several_errors_hide_none():
    same = SeveralErrors((UnreachableHostError("a", "x"), UnreachableHostError("b", "y", "z")))
    assert str(same) == "a: x\nb: y\n  remedy: z"
    assert same.exit_code == UnreachableHostError.exit_code
    assert SeveralErrors((LeaseHeldError("x"), DeadlineError("y"))).exit_code == 1
    assert SeveralErrors.exit_code == 1
