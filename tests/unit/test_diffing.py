"""What `plan --diff` shows of files, and what it never shows."""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_fleet.actions import Plan, UpdateUnits, WriteFiles
from dask_fleet.command import Command, Outcome
from dask_fleet.diffing import differences
from dask_fleet.fleet import Fleet
from dask_fleet.target import ManagedFile
from dask_fleet.tls.certificates import KEY_FILE

SECRET = "correct-horse-battery"


class Shell:
    """A transport that runs commands at once, in a shell here, and notes them."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        assert check
        self.ran.append(command.argv)
        done = subprocess.run(command.argv, input=command.stdin, capture_output=True, check=True)
        return Outcome(0, done.stdout.decode(), "")


def shown(plan: Plan, *hosts: str) -> tuple[str, list[tuple[str, ...]]]:
    """Return the diff, and the commands that it took."""
    shell = Shell()
    access = {host: SimpleNamespace(transport=shell) for host in hosts or ("vm",)}
    fleet = cast("Fleet", SimpleNamespace(hosts=access))
    return asyncio.run(differences(fleet, plan)), shell.ran


def writing(*files: ManagedFile, removed: tuple[str, ...] = (), host: str = "vm") -> Plan:
    return Plan(phases=((WriteFiles(host, files, removed), UpdateUnits(host, ("x",))),))


def diff(was: str | None, will: str, folder: Path) -> list[str]:
    """Return the lines of the diff of a file, those of its head without their path."""
    path = folder / "dask.yaml"
    if was is not None:
        path.write_text(was, encoding="utf-8", newline="")
    text, _ = shown(writing(ManagedFile(str(path), will.encode())))
    return text.replace(f"vm:{path}", "FILE").split("\n")[:-1]


@pytest.mark.parametrize(
    ("was", "will", "expected"),
    [
        ("a\nb\nc\n", "a\nB\nc\n", ["--- FILE", "+++ FILE", "@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]),
        (None, "a\n", ["--- /dev/null", "+++ FILE", "@@ -0,0 +1 @@", "+a"]),
        ("", "a\n", ["--- /dev/null", "+++ FILE", "@@ -0,0 +1 @@", "+a"]),
        ("a", "a\nb\n", ["--- FILE", "+++ FILE", "@@ -1 +1,2 @@", "-a", "+a", "+b"]),
        ("a\n\n\n", "a\n", ["--- FILE", "+++ FILE", "@@ -1,3 +1 @@", " a", "-", "-"]),
        ("é\n", "è\n", ["--- FILE", "+++ FILE", "@@ -1 +1 @@", "-é", "+è"]),
        (
            # Somebody's own comments look like the marks between files.
            "#### mine\na\n",
            "a\n",
            ["--- FILE", "+++ FILE", "@@ -1,2 +1 @@", "-#### mine", " a"],
        ),
    ],
    ids=["edited", "not there", "empty", "no last line end", "empty lines", "not ASCII", "marks"],
)  # fmt: skip
def test_the_lines_of_a_file(was: str | None, will: str, expected: list[str], tmp_path: Path):
    assert diff(was, will, tmp_path) == expected


def test_a_file_that_goes(tmp_path: Path):
    path = tmp_path / "stray.conf"
    path.write_text("a\n")
    text, _ = shown(writing(removed=(str(path),)))
    assert text == f"--- vm:{path}\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"


def test_files_stand_in_the_order_of_the_plan_host_by_host(tmp_path: Path):
    one, two = (ManagedFile(str(tmp_path / name), b"new\n") for name in ("one", "two"))
    Path(one.path).write_text("old\n")
    plan = Plan(phases=((WriteFiles("b", (two, one)),), (WriteFiles("a", (one,)),)))
    text, ran = shown(plan, "a", "b")
    heads = [line[4:] for line in text.splitlines() if line.startswith("+++ ")]
    assert heads == [f"b:{two.path}", f"b:{one.path}", f"a:{one.path}"]
    assert len(ran) == 2, "one command a host"


def test_a_plan_that_writes_nothing_looks_at_nothing():
    assert shown(Plan(phases=((UpdateUnits("vm", ("x",)),),))) == ("", [])


KEYS = [
    ManagedFile("units/dask-scheduler.json", SECRET.encode()),
    ManagedFile(f"tls/{KEY_FILE}", SECRET.encode(), secret=True),
    ManagedFile("tls/old-key.pem", SECRET.encode()),
    ManagedFile("anything", SECRET.encode(), secret=True),
]


@pytest.mark.parametrize("file", KEYS, ids=lambda file: file.path)
@pytest.mark.parametrize("there", [True, False])
def test_a_secret_is_named_and_never_shown(file: ManagedFile, there: bool, tmp_path: Path):
    path = tmp_path / file.path
    path.parent.mkdir(exist_ok=True)
    if there:
        path.write_text(f"old {SECRET}")
    placed = ManagedFile(str(path), file.content, secret=file.secret)
    text, ran = shown(writing(placed))
    assert text == f"# vm:{path} differs; it may hold secrets\n"
    assert str(path) not in " ".join(word for argv in ran for word in argv), "it was not read"


@pytest.mark.parametrize("name", ["units/dask-workers-old.json", f"tls/{KEY_FILE}"])
def test_a_secret_that_goes_is_named_and_never_shown(name: str, tmp_path: Path):
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(SECRET)
    text, _ = shown(writing(removed=(str(path),)))
    assert text == f"# vm:{path} is removed; it may hold secrets\n"


LINES = st.lists(st.sampled_from(["a", "b", "", "#### x", "-", "+é"]), max_size=3)


@settings(max_examples=30)  # each is a shell
@given(LINES, LINES)
def test_a_diff_holds_both_files(was: list[str], will: list[str]):
    with TemporaryDirectory() as folder:
        before, after = ("".join(f"{line}\n" for line in lines) for lines in (was, will))
        lines = [line for line in diff(before, after, Path(folder))[2:] if line[:2] != "@@"]
    # So few lines are all within the three around a change.
    if was != will:
        assert [line[1:] for line in lines if line[0] != "+"] == was
        assert [line[1:] for line in lines if line[0] != "-"] == will
    else:
        assert lines == []
