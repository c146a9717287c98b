"""The lease between operators: real files, real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dask_fleet import lease
from dask_fleet.command import Command, Outcome
from dask_fleet.errors import CommandFailedError, LeaseHeldError
from dask_fleet.transports.base import Transport
from tests.contract.conftest import MakeTransport, Through

T = TypeVar("T")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleets with spaces" / "sst.lease"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def here(make_transport: MakeTransport) -> Transport:
    return make_transport("here")


def hold(
    here: Transport, path: Path, purpose: str = "dask fleet up", *, force: bool = False
) -> contextlib.AbstractAsyncContextManager[None]:
    return lease.hold(here, str(path), purpose, force=force)


async def record_while_held(here: Transport, path: Path, *, force: bool = False) -> dict[str, str]:
    async with hold(here, path, force=force):
        return dict(json.loads(path.read_text(encoding="utf-8")))


HOLDER = """\
import asyncio, sys
from dask_fleet import lease
from dask_fleet.transports.local import LocalTransport

async def main():
    async with lease.hold(LocalTransport("here"), sys.argv[1], "dask fleet down"):
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_it_says_who_what_and_since_when(here: Transport, path: Path):
    record = run(record_while_held(here, path))
    assert re.fullmatch(r"[^@]+@.+", record["who"])
    assert record["purpose"] == "dask fleet up"
    assert record["pid"] == str(os.getpid())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", record["since"])
    assert len(record["nonce"]) == 16


def test_nobody_else_reads_it(here: Transport, path: Path):
    async def work() -> int:
        async with hold(here, path):
            return path.stat().st_mode & 0o777

    assert run(work()) == 0o600


def test_the_turn_alone_is_left_when_it_is_given_back(here: Transport, path: Path):
    for _ in range(2):
        run(record_while_held(here, path))
        # Whoever comes next learns from it that somebody was at work.
        assert [one.name for one in path.parent.iterdir()] == ["sst.lease.turn"]


def test_each_holder_learns_whose_turn_it_was_before(here: Transport, path: Path):
    async def turn() -> str:
        async with hold(here, path) as before:
            return before

    first, second, third = (run(turn()) for _ in range(3))
    assert first == ""
    assert len(second) == len(third) == 16
    assert second != third


def test_it_is_given_back_when_the_work_fails(here: Transport, path: Path):
    async def work() -> None:
        async with hold(here, path):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(work())
    assert not path.exists()


def test_it_is_given_back_when_the_work_is_cancelled(here: Transport, path: Path):
    async def work() -> None:
        inside = asyncio.Event()

        async def operator() -> None:
            async with hold(here, path):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(operator())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())
    assert not path.exists()


def test_a_live_process_holds_it(here: Transport, path: Path, holder: subprocess.Popen[str]):
    before = path.read_bytes()
    with pytest.raises(LeaseHeldError) as caught:
        run(record_while_held(here, path))
    assert f"(pid {holder.pid})" in caught.value.message
    assert "`dask fleet down`" in caught.value.message
    assert "--break-lease" in caught.value.remedy
    assert path.read_bytes() == before
    holder.communicate("")
    assert not path.exists()


def test_its_holder_was_killed(here: Transport, path: Path, holder: subprocess.Popen[str]):
    holder.kill()
    holder.wait()
    assert path.exists()
    assert run(record_while_held(here, path))["pid"] == str(os.getpid())
    assert not path.exists()


def test_its_holder_was_killed_and_nobody_has_buried_it(
    here: Transport, path: Path, holder: subprocess.Popen[str]
):
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert run(record_while_held(here, path))["pid"] == str(os.getpid())


def write(here: Transport, path: Path, *, age: float = 0, **other: str) -> str:
    """Write a record as another process would have, and return it."""
    fields = run(record_while_held(here, path)) | {"nonce": "0" * 16, "who": "ann@desk"} | other
    path.write_text(json.dumps(fields) + "\n", encoding="utf-8")
    then = time.time() - age
    os.utime(path, (then, then))
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("other", "age", "held"),
    [
        ({}, 0, True),
        ({}, lease.TTL - 20, True),
        ({}, lease.TTL + 20, False),
        ({"machine": "another-boot pid:[1]"}, 0, True),
        ({"machine": "another-boot pid:[1]"}, lease.TTL + 20, False),
        ({"pid": "4194304"}, 0, False),
        ({"began": "1"}, 0, False),
        ({"pid": "4194304", "machine": "another-boot pid:[1]"}, 0, True),
        ({"purpose": 'up "pid": "4194304" of it\'s $HOME'}, 0, True),
    ],
    ids=[
        "alive", "not renewed for a while", "expired", "on another machine", "expired there",
        "no such process", "pid of a later process", "unknown process there", "odd purpose",
    ],
)  # fmt: skip
def test_who_has_the_lease(
    here: Transport, path: Path, other: dict[str, str], age: float, held: bool
):
    before = write(here, path, age=age, **other)
    if held:
        with pytest.raises(LeaseHeldError, match="ann@desk"):
            run(record_while_held(here, path))
        assert path.read_text(encoding="utf-8") == before
    else:
        assert run(record_while_held(here, path))["who"] != "ann@desk"


@pytest.mark.parametrize("content", ["not json\n", "[1]\n", "{}\n", '{"who": "a'])
def test_a_record_that_nobody_can_read(here: Transport, path: Path, content: str):
    write(here, path)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(LeaseHeldError, match="cannot be read") as caught:
        run(record_while_held(here, path))
    assert "--break-lease" in caught.value.remedy
    old = time.time() - lease.TTL - 20
    os.utime(path, (old, old))
    assert run(record_while_held(here, path))["purpose"] == "dask fleet up"


def test_an_empty_record_holds_nothing(here: Transport, path: Path):
    path.parent.mkdir()
    path.touch()
    assert run(record_while_held(here, path))["purpose"] == "dask fleet up"


def test_it_can_be_taken_by_force(here: Transport, path: Path, holder: subprocess.Popen[str]):
    assert run(record_while_held(here, path, force=True))["pid"] == str(os.getpid())


def test_whoever_lost_it_does_not_give_back_the_other_ones(
    here: Transport, path: Path, holder: subprocess.Popen[str]
):
    async def work() -> None:
        async with hold(here, path, force=True):
            mine = path.read_bytes()
            await asyncio.get_running_loop().run_in_executor(None, holder.communicate, "")
            assert path.read_bytes() == mine

    run(work())
    assert not path.exists()


def test_of_twenty_at_once_one_wins(here: Transport, path: Path):
    async def work() -> list[str]:
        done = asyncio.Event()
        ended: list[str] = []

        async def operator() -> None:
            try:
                async with hold(here, path):
                    ended.append("won")
                    await done.wait()
            except LeaseHeldError:
                ended.append("lost")
            if len(ended) == 20:
                done.set()

        async def watch() -> None:
            while len(ended) < 20:
                await asyncio.sleep(0)
            done.set()

        await asyncio.gather(watch(), *(operator() for _ in range(20)))
        return ended

    ended = run(work())
    assert sorted(ended) == ["lost"] * 19 + ["won"]
    assert not path.exists()


class Failing(Through):
    """A transport that fails from the second command on, as a broken connection does."""

    commands = 0

    async def run(self, command: Command, *, check: bool = True) -> Outcome:
        self.commands += 1
        if self.commands > 1:
            raise CommandFailedError(self.host, str(command), None, "gone")
        return await super().run(command, check=check)


def test_work_that_is_done_counts_although_the_lease_cannot_be_renewed_or_given_back(
    here: Transport, path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "TTL", 0)  # renew at every turn of the loop

    async def work() -> str:
        transport = Failing(here)
        async with lease.hold(transport, str(path), "dask fleet up"):
            while transport.commands < 3:
                await asyncio.sleep(0)
        return "done"

    assert run(work()) == "done"


def test_it_is_renewed_while_the_work_lasts(
    here: Transport, path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def work() -> float:
        async with hold(here, path):
            os.utime(path, (1, 1))
            while path.stat().st_mtime < 2:  # pytest-timeout is the deadline
                await asyncio.sleep(0)
            return path.stat().st_mtime

    monkeypatch.setattr(lease, "TTL", 0)
    assert run(work()) == pytest.approx(time.time(), abs=60)


def test_a_directory_that_cannot_be_made_is_named(here: Transport, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailedError, match="file/fleets"):
        run(record_while_held(here, tmp_path / "file" / "fleets" / "sst.lease"))
