"""Commands side by side, as `make test` runs its parts: no line and no failure is lost."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

PROGRAM = REPOSITORY / "scripts" / "beside.py"


def beside(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(PROGRAM), *words], capture_output=True, text=True)


def of(name: str, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of one command, without the last, which says how it ended."""
    lines = [line.partition(" | ") for line in done.stdout.splitlines()]
    said = [text for lane, _, text in lines if lane.strip() == name]
    assert said[-1].startswith("exit status ")
    return said[:-1]


def test_each_line_has_its_name_and_all_do_well():
    done = beside("one", "echo a; echo b >&2", "two", "printf c")
    assert done.returncode == 0
    assert (of("one", done), of("two", done)) == (["a", "b"], ["c"])


def test_one_that_fails_ends_it_with_a_failure_and_the_other_goes_on_to_its_end(tmp_path):
    failed = tmp_path / "failed"
    done = beside(
        "one",
        f"mkfifo {failed}; echo done; cat {failed}",
        "two",
        f"until [ -p {failed} ]; do :; done; echo it failed >{failed}; exit 3",
    )
    assert done.returncode == 1
    assert of("one", done) == ["done", "it failed"]
    assert "two        | exit status 3 after " in done.stdout


def test_a_command_without_a_name_is_refused():
    done = beside("one")
    assert done.returncode == 2
    assert "NAME COMMAND" in done.stderr


def test_an_interrupt_is_not_ignored_by_what_it_starts():
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert of("one", beside("one", f"{sys.executable} -c '{code}'")) == ["True"]
