"""What `plan --diff` shows of files, and what it never shows."""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_fleet.actions import Plan, RemoveDoor, UpdateDoor, UpdateUnits, WriteFiles
from dask_fleet.command import Command, Outcome
from dask_fleet.diffing import differences
from dask_fleet.fleet import Fleet
from dask_fleet.places import Places
from dask_fleet.proxy.door_files import CERTIFICATE, KEY, SITE, door_directory
from dask_fleet.proxy.own_nginx import OwnNginx
from dask_fleet.proxy.system_nginx import SystemNginx
from dask_fleet.target import DoorTarget, ManagedFile
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
    path = folder / "plain.conf"
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


# -- settings that hold secrets ----------------------------------------------------------


def settings_diff(was: str | None, will: str, folder: Path, name: str = "dask.yaml") -> list[str]:
    """Return the changed lines of a file with settings, or the note that stands for them."""
    path = folder / name
    if was is not None:
        path.write_text(was)
    text, _ = shown(writing(ManagedFile(str(path), will.encode())))
    assert SECRET not in text
    lines = text.replace(f"vm:{path}", "FILE").splitlines()
    return [line for line in lines if line[:3] not in ("+++", "---") and line[:1] in "+-#"]


@pytest.mark.parametrize(
    ("was", "will", "expected"),
    [
        (None, f"s3: {{secret: {SECRET}, region: eu}}\n", ["+s3:", "+  secret: (not shown)", "+  region: eu"]),
        ("s3: {secret: old}\n", f"s3: {{secret: {SECRET}}}\n", ["-  secret: (not shown)", "+  secret: (not shown, another one)"]),
        (f"s3: {{secret: {SECRET}, a: 1}}\n", f"s3: {{secret: {SECRET}, a: 2}}\n", ["-  a: 1", "+  a: 2"]),
        (f"Password: [{SECRET}]\n", f"Password: [{SECRET}, {SECRET}]\n", ["+- (not shown)"]),
        ("{}\n", f"api-keys: {{ann: {SECRET}, bob: 12, on: true, no: null, x: null}}\n", ["-{}", "+api-keys:", "+  ann: (not shown)", "+  bob: (not shown)", "+  true: true", "+  false: null", "+  x: null"]),
        ("{}\n", f"url: postgres://ann:{SECRET}@db/x\n", ["-{}", "+url: postgres://ann:(not shown)@db/x"]),
        (f"a: 1 # {SECRET}\n", "a: 1\n", ["# FILE differs in what is not shown"]),
        (f"url: postgres://ann:{SECRET}@db\n", "url: postgres://ann:x@db\n", ["# FILE differs in what is not shown"]),
        (f"a: [{SECRET}\n", "a: 1\n", ["# FILE differs; it cannot be read, and may hold secrets"]),
        (f"{SECRET}\n", "a: 1\n", ["# FILE differs; it cannot be read, and may hold secrets"]),
        (None, "{}\n", ["+{}"]),
    ],
    ids=["new", "another", "the same", "list", "nested", "address", "comment", "in an address", "broken", "no settings", "empty"],
)  # fmt: skip
def test_secrets_among_the_settings_are_masked(
    was: str | None, will: str, expected: list[str], tmp_path: Path
):
    assert settings_diff(was, will, tmp_path) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"Environment=S3_SECRET_KEY={SECRET}", "Environment=S3_SECRET_KEY=(not shown)"),
        (f'Environment="DB_PASSWORD={SECRET}" "B=1"', 'Environment="DB_PASSWORD=(not shown)'),
        (f"token: {SECRET}", "token: (not shown)"),
        (f'{{"apiKey": "{SECRET}"}}', '{"apiKey": (not shown)'),
        (f"ExecStart=/bin/x ftp://ann:{SECRET}@host", "ExecStart=/bin/x ftp://ann:(not shown)@host"),
        ("Nice=5", "Nice=5"),
    ],
)  # fmt: skip
def test_secrets_in_what_somebody_put_there_are_masked(line: str, expected: str, tmp_path: Path):
    assert settings_diff(f"{line}\n", "", tmp_path, "x.conf") == [f"-{expected}"]


def test_what_is_ours_and_public_is_shown_as_it_is(tmp_path: Path):
    (tmp_path / "launcher").mkdir()
    lines = settings_diff(None, "key = value\n", tmp_path, "launcher/launch.py")
    assert lines == ["+key = value"]


# -- the door ----------------------------------------------------------------------------

PUBLIC, PRIVATE = b"-----BEGIN CERTIFICATE-----\n", f"-----BEGIN KEY----- {SECRET}\n".encode()


class Elsewhere(Shell):
    """As `Shell`, with another directory for ``/etc/nginx``."""

    def __init__(self, etc: Path) -> None:
        super().__init__()
        self.etc = etc

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        assert command.stdin is not None
        text = command.stdin.replace(b"/etc/nginx", bytes(self.etc))
        return await super().run(replace(command, stdin=text), check=check)


@pytest.fixture(params=["own", "host", "host without sites-available"])
def doored(request: pytest.FixtureRequest, tmp_path: Path) -> Doored:
    """A host of which each kind of nginx may be."""
    places = Places.below(str(tmp_path / "s"), str(tmp_path / "d"), "sst")
    etc = tmp_path / "nginx"
    own, there = Path(door_directory(places)), etc / "conf.d"
    for folder in (own, there):
        folder.mkdir(parents=True)
    if request.param == "host":
        there = etc / "sites-available"
        there.mkdir()
    if request.param == "own":
        return Doored(places, OwnNginx(), Elsewhere(etc), own / SITE)
    return Doored(places, SystemNginx("sst", "dask"), Elsewhere(etc), there / "dask-fleet.sst.conf")


@dataclass
class Doored:
    places: Places
    proxy: OwnNginx | SystemNginx
    shell: Shell
    site: Path

    def shown(self, action: UpdateDoor | RemoveDoor) -> list[str]:
        """Return the lines of the diff, the site's path replaced."""
        access = SimpleNamespace(transport=self.shell, places=self.places, proxy=self.proxy)
        fleet = cast("Fleet", SimpleNamespace(hosts={"vm": access}))
        text = asyncio.run(differences(fleet, Plan(phases=((action,),))))
        assert SECRET not in text
        return text.replace(f"vm:{self.site}", "SITE").replace(self.folder, "DOOR").splitlines()

    @property
    def folder(self) -> str:
        return f"vm:{door_directory(self.places)}"

    def update(self, site: str, *, tls: bool = False) -> UpdateDoor:
        files = [(SITE, ManagedFile("/where/another/nginx/has/it", site.encode()))]
        if tls:
            files.append((CERTIFICATE, ManagedFile("x", PUBLIC + PRIVATE)))
            files.append((KEY, ManagedFile("x", PRIVATE, secret=True)))
        return UpdateDoor("vm", DoorTarget("http://vm", tuple(files), "", 80, False, True))


def test_a_door_that_is_not_there_is_shown_as_a_new_file(doored: Doored):
    assert doored.shown(doored.update("server {\n}\n", tls=True)) == [
        "--- /dev/null",
        "+++ SITE",
        "@@ -0,0 +1,2 @@",
        "+server {",
        "+}",
        "# DOOR/certificate.pem differs; it may hold secrets",
        "# DOOR/key.pem differs; it may hold secrets",
    ]


def test_a_door_that_changes_is_shown_line_by_line(doored: Doored):
    doored.site.write_text(f"server {{\n  listen 80;\n  # password: {SECRET}\n}}\n")
    head = ["--- SITE", "+++ SITE", "@@ -1,4 +1,3 @@", " server {"]
    assert doored.shown(doored.update("server {\n  listen 81;\n}\n")) == [
        *head,
        "-  listen 80;",
        "-  # password: (not shown)",
        "+  listen 81;",
        " }",
    ]


def test_of_a_door_only_what_differs_is_shown(doored: Doored):
    doored.site.write_text("server {}\n")
    for name in (CERTIFICATE, KEY):
        (Path(door_directory(doored.places)) / name).write_bytes(PRIVATE)
    assert doored.shown(doored.update("server {}\n", tls=True)) == [
        "# DOOR/certificate.pem differs; it may hold secrets"
    ]
    assert doored.shown(doored.update("server {}\n")) == [
        "# DOOR/certificate.pem is removed; it may hold secrets",
        "# DOOR/key.pem is removed; it may hold secrets",
    ]


def test_a_door_that_goes_is_shown_to(doored: Doored):
    doored.site.write_text("server {}\n")
    assert doored.shown(RemoveDoor("vm")) == [
        "--- SITE",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-server {}",
    ]


def test_who_may_come_in_is_not_read(doored: Doored):
    accounts = Path(doored.places.door)
    accounts.mkdir()
    for name in ("htpasswd", "sessions.map", "cookies.map", "tokens.map"):
        (accounts / name).write_text(SECRET)
    doored.shown(doored.update("server {}\n", tls=True))
    doored.shown(RemoveDoor("vm"))
    # What reads files is given their names; only `look` has the directory, for a certificate.
    assert not any(doored.places.door in word for argv in doored.shell.ran for word in argv)


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
