"""What every transport does, whatever carries the commands."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dask_fleet.command import Command, script
from dask_fleet.errors import CommandFailedError, FleetError
from dask_fleet.transports.base import Transport

T = TypeVar("T")
MIB = 1 << 20


def run(work: Coroutine[Any, Any, T]) -> T:
    async def with_deadline() -> T:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(with_deadline())


async def lines_of(transport: Transport, command: Command) -> list[str]:
    return [line async for line in transport.lines(command)]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe: whoever reads it learns that a command runs, and when its last copy ended."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


async def ended(pipe: Path, act: Callable[[], object]) -> str:
    """Return what a command wrote to the pipe until every process that holds it was gone."""
    loop = asyncio.get_running_loop()
    reader = await loop.run_in_executor(None, pipe.open)  # waits for the first writer
    act()
    with reader:
        return await loop.run_in_executor(None, reader.read)


# Two processes that nobody but their process group unites, and both hold the pipe open.
FAMILY = """\
exec 3>"$1"
sleep 20 &
echo begun >&3
sleep 20
"""

# The same, but the one that was started itself ends at once.
ORPHANS = """\
exec 3>"$1"
sleep 20 &
echo begun >&3
"""


def test_it_knows_its_host(transport: Transport):
    assert transport.host == "vm-1"


def test_output_and_status(transport: Transport):
    outcome = run(transport.run(Command(("sh", "-c", "echo out; echo err >&2"))))
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "out\n", "err\n")


@pytest.mark.parametrize("status", [1, 3, 255])
def test_a_status_is_an_error_unless_it_is_asked_for(transport: Transport, status: int):
    command = Command(("sh", "-c", f"echo out; echo why >&2; exit {status}"))
    outcome = run(transport.run(command, check=False))
    assert (outcome.status, outcome.stdout, outcome.stderr) == (status, "out\n", "why\n")
    with pytest.raises(CommandFailedError) as caught:
        run(transport.run(command))
    assert (caught.value.host, caught.value.status) == ("vm-1", status)
    text = str(caught.value)
    assert "vm-1" in text
    assert f"ended with status {status}" in text
    assert "| why" in text


@pytest.mark.parametrize(
    "end", ["exit 1", "exit 255", "kill -KILL $$", "echo 'Connection reset by peer' >&2; exit 255"]
)
def test_a_command_that_fails_is_run_once(transport: Transport, tmp_path: Path, end: str):
    begun = tmp_path / "begun"
    command = script(f'echo x >>"$1"; {end}', str(begun))
    with pytest.raises(CommandFailedError):
        run(transport.run(command))
    with pytest.raises(CommandFailedError):
        run(lines_of(transport, command))
    assert begun.read_text() == "x\nx\n"


def test_a_command_that_outruns_its_time_is_run_once(transport: Transport, tmp_path: Path):
    begun = tmp_path / "begun"
    with pytest.raises(CommandFailedError):
        run(transport.run(script('echo x >>"$1"; exec sleep 20', str(begun), timeout=1)))
    assert begun.read_text() == "x\n"


def test_what_it_wrote_to_standard_output_is_told_when_there_is_nothing_else(transport: Transport):
    with pytest.raises(CommandFailedError, match=r"\| only this"):
        run(transport.run(Command(("sh", "-c", "echo only this; exit 1"))))


def test_arguments_arrive_as_they_are(transport: Transport):
    words = (
        "",
        " ",
        "two words",
        "$HOME",
        "it's",
        '"',
        "a;b|c&d",
        "*",
        "é \u2028",
        "-n",
        "line\nfeed",
    )
    outcome = run(transport.run(Command(("printf", "%s\\0", *words))))
    assert tuple(outcome.stdout.split("\0")[:-1]) == words


def test_a_script_and_its_parameters(transport: Transport):
    outcome = run(transport.run(script('echo "$1|$2"\n', "a b", "$(c)")))
    assert outcome.stdout == "a b|$(c)\n"


def test_standard_input_arrives_byte_by_byte(transport: Transport):
    every = bytes(range(256)) * 10
    outcome = run(transport.run(Command(("sha256sum",), every)))
    assert outcome.stdout.split()[0] == hashlib.sha256(every).hexdigest()


def test_without_input_standard_input_is_at_its_end(transport: Transport):
    assert run(transport.run(Command(("cat",)))).stdout == ""


def test_a_lot_of_data_both_ways_at_once(transport: Transport):
    content = b"0123456789abcde\n" * (10 * MIB // 16)
    outcome = run(transport.run(Command(("tee", "/dev/stderr"), content)))
    assert outcome.stdout.encode() == content
    assert outcome.stderr.encode() == content


def test_a_command_that_does_not_read_its_input(transport: Transport):
    outcome = run(transport.run(Command(("echo", "done"), b"x" * 10 * MIB)))
    assert (outcome.status, outcome.stdout) == (0, "done\n")


def test_output_that_is_no_text(transport: Transport):
    printed = ("printf", "a\\377\\376\\n\\303\\251\\n")
    assert run(transport.run(Command(printed))).stdout == "a\ufffd\ufffd\né\n"
    assert run(lines_of(transport, Command(printed))) == ["a\ufffd\ufffd", "é"]


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program"])
def test_a_program_that_is_missing(transport: Transport, program: str):
    with pytest.raises(CommandFailedError) as caught:
        run(transport.run(Command((program, "--flag"))))
    assert "vm-1" in caught.value.message
    assert f"{program} --flag" in caught.value.message
    assert program in caught.value.remedy
    with pytest.raises(CommandFailedError):
        run(lines_of(transport, Command((program,))))


@pytest.mark.parametrize("text", [FAMILY, ORPHANS], ids=["family", "orphans"])
def test_out_of_time_ends_the_whole_family_and_says_so(transport: Transport, pipe: Path, text: str):
    async def work() -> tuple[str, CommandFailedError]:
        command = Command(("sh", "-c", text, "patient", str(pipe)), timeout=0.2)
        running = asyncio.ensure_future(transport.run(command))
        said = await ended(pipe, lambda: None)
        with pytest.raises(CommandFailedError) as caught:
            await running
        return said, caught.value

    said, error = run(work())
    assert said == "begun\n"
    assert error.status is None
    assert "patient" in error.message
    assert "after 0.2 s" in error.message
    assert error.remedy


@pytest.mark.parametrize("text", [FAMILY, ORPHANS], ids=["family", "orphans"])
def test_cancelling_ends_the_whole_family(transport: Transport, pipe: Path, text: str):
    async def work() -> str:
        command = Command(("sh", "-c", text, "patient", str(pipe)))
        running = asyncio.ensure_future(transport.run(command))
        said = await ended(pipe, running.cancel)
        with pytest.raises(asyncio.CancelledError):
            await running
        return said

    assert run(work()) in ("begun\n", "")  # it may be over before the first word


def test_a_command_that_is_killed(transport: Transport):
    with pytest.raises(CommandFailedError) as caught:
        run(transport.run(Command(("sh", "-c", "kill -KILL $$"))))
    assert caught.value.status == -signal.SIGKILL


def test_many_at_once(transport: Transport):
    async def work() -> list[str]:
        commands = [Command(("sh", "-c", f"cat; echo {n}"), b"x" * 100_000) for n in range(20)]
        outcomes = await asyncio.gather(*(transport.run(command) for command in commands))
        return [outcome.stdout.lstrip("x").strip() for outcome in outcomes]

    assert run(work()) == [str(n) for n in range(20)]


# Lines.


def test_lines_come_one_by_one_as_they_are_written(transport: Transport, pipe: Path):
    # The command writes its second line only when it was told that the first has arrived.
    command = Command(
        ("sh", "-c", 'echo first; read -r word <"$1"; echo "$word"', "lines", str(pipe))
    )

    async def work() -> list[str]:
        seen: list[str] = []
        async for line in transport.lines(command):
            seen.append(line)
            if line == "first":
                await asyncio.get_running_loop().run_in_executor(None, pipe.write_text, "go\n")
        return seen

    assert run(work()) == ["first", "go"]


def test_lines_of_both_outputs_and_of_the_input(transport: Transport):
    command = Command(("sh", "-c", "cat; echo err >&2; printf 'no end'"), b"in\n\n  kept  \n")
    assert run(lines_of(transport, command)) == ["in", "", "  kept  ", "err", "no end"]


def test_lines_of_a_command_that_fails_end_with_the_error(transport: Transport):
    seen: list[str] = []

    async def work() -> None:
        command = Command(("sh", "-c", "echo one; echo two >&2; exit 12"))
        async for line in transport.lines(command):
            seen.append(line)  # noqa: PERF401 - the error comes after them

    with pytest.raises(CommandFailedError) as caught:
        run(work())
    assert seen == ["one", "two"]
    assert (caught.value.host, caught.value.status) == ("vm-1", 12)
    assert "| two" in str(caught.value)


def test_lines_with_much_input(transport: Transport):
    content = b"0123456789abcde\n" * (10 * MIB // 16)
    assert len(run(lines_of(transport, Command(("cat",), content)))) == 10 * MIB // 16


def test_a_very_long_line(transport: Transport):
    text = f'{sys.executable} -c \'print("x" * {3 * MIB}); print("end")\''
    seen = run(lines_of(transport, Command(("sh", "-c", text))))
    assert "".join(seen[:-1]) == "x" * 3 * MIB
    assert seen[-1] == "end"


def test_whoever_stops_reading_lines_ends_the_command(transport: Transport, pipe: Path):
    command = Command(("sh", "-c", "echo begun; " + FAMILY, "patient", str(pipe)))

    async def work() -> str:
        lines = transport.lines(command)
        assert await anext_(lines) == "begun"
        loop = asyncio.get_running_loop()
        reader = await loop.run_in_executor(None, pipe.open)
        await lines.aclose()  # type: ignore[attr-defined]
        with reader:
            return await loop.run_in_executor(None, reader.read)

    assert run(work()) in ("begun\n", "")


async def anext_(lines: Any) -> str:
    return await lines.__anext__()


def test_a_port_is_reached(transport: Transport):
    async def work() -> bytes:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(*await transport.reach("127.0.0.1", port))
        said = await reader.read()
        writer.close()
        server.close()
        await transport.close()
        return said

    assert run(work()) == b"hello"


def test_lines_of_a_command_that_outruns_its_time_end_with_an_error(transport: Transport) -> None:
    async def read() -> list[str]:
        seen: list[str] = []
        command = Command(("sh", "-c", "echo one; exec sleep 60"), timeout=0.3)
        with pytest.raises(CommandFailedError, match=r"0\.3 s"):  # noqa: PT012
            async for line in transport.lines(command):
                seen.append(line)  # noqa: PERF401 - what came before the error counts
        return seen

    assert run(read()) == ["one"]


# Files of the operator as input.


def test_files_follow_standard_input(transport: Transport, tmp_path: Path):
    small, large = tmp_path / "small file", tmp_path / "large"
    small.write_bytes(b"small\n")
    large.write_bytes(bytes(range(256)) * (5 * MIB // 256))
    command = Command(("sha256sum",), b"first\n", files=(str(small), str(large), str(small)))
    content = b"first\nsmall\n" + large.read_bytes() + b"small\n"
    expected = hashlib.sha256(content).hexdigest()
    assert run(transport.run(command)).stdout.split()[0] == expected
    assert run(lines_of(transport, command))[0].split()[0] == expected


def test_files_that_cannot_be_read_are_named_before_anything_is_started(
    transport: Transport, tmp_path: Path
):
    there = tmp_path / "there"
    there.write_text("content")
    missing = (str(tmp_path / "one"), str(there), str(tmp_path / "two"), str(tmp_path))
    command = Command(("touch", str(tmp_path / "begun")), files=missing)
    for attempt in (transport.run(command), lines_of(transport, command)):
        with pytest.raises(FleetError) as caught:
            run(attempt)
        text = str(caught.value)
        assert f"{tmp_path}/one cannot be read" in text
        assert f"{tmp_path}/two cannot be read" in text
        assert f"{tmp_path} is a directory" in text
        assert "there cannot" not in text
        assert caught.value.remedy
    assert not (tmp_path / "begun").exists()


def test_a_command_that_ends_before_it_has_read_its_files(transport: Transport, tmp_path: Path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(200 * MIB)  # sparse
    command = Command(("head", "-c", "3"), b"yes", files=(str(large),))
    assert run(transport.run(command)).stdout == "yes"
    assert run(lines_of(transport, command)) == ["yes"]


def test_output_of_any_size_goes_into_a_file_byte_for_byte(transport: Transport, tmp_path: Path):
    content = os.urandom(3 * MIB) + b"\r\n\0\xff"
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.write_bytes(content)
    command = Command(
        ("sh", "-c", "cat; echo why >&2; exit 3"), files=(str(given),), output=str(taken)
    )
    outcome = run(transport.run(command, check=False))
    assert (outcome.status, outcome.stdout, outcome.stderr) == (3, "", "why\n")
    assert taken.read_bytes() == content


def test_nothing_is_run_whose_output_cannot_be_written(transport: Transport, tmp_path: Path):
    begun = tmp_path / "begun"
    output = str(tmp_path / "missing" / "taken")
    with pytest.raises(FleetError, match="cannot be written: No such file"):
        run(transport.run(Command(("touch", str(begun)), output=output)))
    assert not begun.exists()
