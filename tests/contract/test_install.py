"""How files get onto a host: whole or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pwd
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from dask_fleet.actions import Plan, WriteFiles
from dask_fleet.command import Command, Outcome
from dask_fleet.errors import CommandFailedError
from dask_fleet.executor import apply
from dask_fleet.installing import STAGE, install
from dask_fleet.observer import HostAccess
from dask_fleet.places import Places
from dask_fleet.runtimes.supervisor import SupervisorRuntime
from dask_fleet.target import ManagedFile
from dask_fleet.transports.base import Transport
from tests.contract.conftest import MakeTransport, Through


@pytest.fixture
def here(make_transport: MakeTransport) -> Transport:
    return make_transport("here")


def access(place: Path, transport: Transport) -> HostAccess:
    places = Places.below(f"{place}/state", f"{place}/data", "sst")
    return HostAccess(transport, SupervisorRuntime("python3"), places)


def write(here: Transport, place: Path, *files: ManagedFile, removed: tuple[str, ...] = ()) -> None:
    plan = Plan((), ((WriteFiles("here", files, removed),),))
    failed = asyncio.run(apply(plan, {"here": access(place, here)}, lambda _: None))
    for error in failed.values():
        raise error


def left(place: Path) -> list[str]:
    return sorted(str(p.relative_to(place)) for p in place.rglob(STAGE))


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o400])
@pytest.mark.parametrize(
    "content",
    [b"", b"text\n", b"no end", bytes(range(256)) * 20_000, b"x" * 511],
    ids=["empty", "text", "no line end", "5 MB", "a block of tar, nearly"],
)
@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "new/directory/below",
        "with  spaces",
        "größe-日本",
        "it's $HOME `x` \\n *",
        "-n",
        ".env",
    ],
)
def test_content_mode_and_name(
    here: Transport, tmp_path: Path, name: str, content: bytes, mode: int
):
    if len(content) > 1_000_000 and (mode != 0o600 or name != "plain"):
        content = content[:1000]  # the large one once is enough
    path = tmp_path / "etc" / name
    write(here, tmp_path, ManagedFile(str(path), content, mode))
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o7777 == mode
    assert left(tmp_path) == []


def test_many_at_once_and_some_removed(here: Transport, tmp_path: Path):
    gone = tmp_path / "etc" / "it's gone"
    gone.parent.mkdir()
    gone.touch()
    files = [ManagedFile(f"{tmp_path}/etc/{n}", b"x" * n) for n in range(50)]
    write(here, tmp_path, *files, removed=(str(gone), f"{tmp_path}/etc/was never there"))
    assert {p.name: p.stat().st_size for p in gone.parent.iterdir()} == {
        str(n): n for n in range(50)
    }


def test_a_file_is_replaced_not_written_over(here: Transport, tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        write(here, tmp_path, ManagedFile(str(path), b"new"))
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_secret_stands_in_no_argv(here: Transport, tmp_path: Path):
    class Watched(Through):
        seen = ""

        async def run(self, command: Command, *, check: bool = True) -> Outcome:
            self.seen += " ".join(command.argv)
            return await super().run(command, check=check)

    transport = Watched(here)
    write(transport, tmp_path, ManagedFile(f"{tmp_path}/file", b"correct-horse"))
    assert STAGE in transport.seen
    assert "correct-horse" not in transport.seen


class Cut(Through):
    """A transport whose input breaks off after so many bytes, as when its sender is killed."""

    def __init__(self, inner: Transport, length: int) -> None:
        super().__init__(inner)
        self.length = length

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        command = dataclasses.replace(command, stdin=command.stdin[: self.length])
        return await super().run(command, check=check)


def test_input_that_breaks_off_anywhere_leaves_each_file_whole(here: Transport, tmp_path: Path):
    one, two, gone = tmp_path / "one", tmp_path / "two", tmp_path / "gone"
    files = [ManagedFile(str(one), b"1" * 30), ManagedFile(str(two), b"2" * 30)]
    # Three members, the last of them the mark, each with a block of its own and one of content.
    total = 2 * (512 + 512) + 512
    for length in (*range(0, total, 131), 512, 1024, 2048, total - 1):
        for path in (one, two, gone):
            path.write_bytes(b"old")
        with pytest.raises(CommandFailedError, match="broke off"):
            write(Cut(here, length), tmp_path, *files, removed=(str(gone),))
        assert one.read_bytes() in (b"old", b"1" * 30)
        assert two.read_bytes() in (b"old", b"2" * 30)
        assert gone.exists()
        assert left(tmp_path) == []


def test_killed_midway_leaves_the_old_file_whole_and_the_next_one_mends_it(
    here: Transport, tmp_path: Path
):
    path, second = tmp_path / "file", tmp_path / "second"
    path.write_text("old")
    files = (ManagedFile(str(path), b"new"), ManagedFile(str(second), b"secret" * 10_000))
    command = install(files)
    installer = subprocess.Popen(command.argv, stdin=subprocess.PIPE, start_new_session=True)
    assert installer.stdin is not None
    installer.stdin.write(command.stdin[:30_000])
    installer.stdin.flush()
    half = tmp_path / STAGE / "second"
    deadline = time.monotonic() + 20
    while not half.exists():
        assert time.monotonic() < deadline, "the second file was never begun"
    os.killpg(installer.pid, signal.SIGKILL)
    installer.communicate(timeout=60)
    assert path.read_text() == "old"
    assert not second.exists()

    half.parent.chmod(0o755)  # what was left behind must not make a secret readable
    half.chmod(0o644)
    write(here, tmp_path, *files)
    assert path.read_text() == "new"
    assert second.read_bytes() == files[1].content
    assert stat.S_IMODE(second.stat().st_mode) == 0o600
    assert left(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(here: Transport, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailedError, match="file"):
        write(here, tmp_path, ManagedFile(f"{tmp_path}/file/below", b"x"))


def test_a_full_disk_installs_nothing(here: Transport, tmp_path: Path):
    """Needs root, as the tests of full disks do: a small file system is mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(place)]
    subprocess.run(mount, check=True, timeout=60)
    try:
        (place / "one").write_bytes(b"old")
        files = [ManagedFile(f"{place}/{n}", b"x" * 40_000) for n in ("one", "two", "three")]
        with pytest.raises(CommandFailedError, match="No space left"):
            write(here, tmp_path, *files)
        assert (place / "one").read_bytes() == b"old"
        assert not (place / "two").exists()
        assert left(tmp_path) == []
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=60)


def test_directories_on_the_way_let_the_reader_through(here: Transport, tmp_path: Path) -> None:
    # The deepest comes first: its parents are made on the way to it.
    names = ("etc/launcher/console/assets/page.html", "etc/launcher/launch.py", "etc/a/b/c/file")
    files = [ManagedFile(f"{tmp_path}/{name}", b"x", 0o640) for name in names]
    asyncio.run(here.run(install(files, reader="nobody")))
    group = pwd.getpwnam("nobody").pw_gid
    for path in (tmp_path / "etc").rglob("*"):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (0, group), path
        assert stat.S_IMODE(found.st_mode) == (0o750 if path.is_dir() else 0o640), path
    assert sum(path.is_file() for path in (tmp_path / "etc").rglob("*")) == len(names)
