"""How a command is wrapped for SSH, and how a jump host is read."""

from __future__ import annotations

import errno
import shlex

import pytest

from dask_fleet.ssh_host import SshHost, parse_jump
from dask_fleet.transports.ssh_errors import unreachable
from dask_fleet.transports.ssh_settings import Settings
from dask_fleet.transports.ssh_wrapping import Begun, begun, kill_line, wrap

ODD = ("printf", "%s", "it's", "a b", "$HOME", "-n", "", "line\nfeed", "é")


@pytest.mark.parametrize("merged", [False, True])
def test_an_argv_is_quoted_once(merged: bool):
    words = shlex.split(wrap(ODD, "mark", sudo=False, merged=merged))
    assert words[:3] == ["exec", "sh", "-c"]
    assert words[4:] == ["dask-fleet", "mark", "yes" if merged else "no", *ODD]


def test_with_sudo_the_same_is_run_by_root():
    plain = shlex.split(wrap(ODD, "mark", sudo=False, merged=False))
    words = shlex.split(wrap(ODD, "mark", sudo=True, merged=False))
    assert 'sudo -n -H -- "$@"' in words[3]
    assert words[5:] == plain[1:]


@pytest.mark.parametrize(
    ("line", "said", "target"),
    [(b"m 12 12", Begun(12, 12), "-12"), (b"m 12 0", Begun(12, 0), "12")],
)
def test_what_is_killed(line: bytes, said: Begun, target: str):
    assert begun(line) == said
    assert shlex.split(kill_line(said, sudo=False))[-1] == target


def test_a_program_that_is_missing():
    assert begun(b"m missing 7").pid is None


def settings() -> Settings:
    where = {"name": "vm-1", "lookup": "vm-1", "address": "10.0.0.2", "known_as": "vm-1"}
    files = {"keys": (), "user_known": (), "system_known": (), "config": ()}
    return Settings(
        **where, user="ann", port=22, jump="", proxy_command=False, timeout=10, agent=False, **files
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "10.0.0.2 port 22 did not answer within 10 s"),
        (OSError(errno.EHOSTUNREACH, "x"), "10.0.0.2 port 22 did not answer: no machine has that"),
        (OSError(errno.ENETUNREACH, "x"), "this machine has no route to 10.0.0.2 port 22"),
        (ConnectionRefusedError(), "10.0.0.2 port 22 refused the connection"),
        (ConnectionResetError(), "10.0.0.2 port 22 broke the connection before anything"),
    ],
)
def test_each_cause_has_its_words_and_a_host_that_is_off_has_one_beginning(
    error: OSError, said: str
):
    """A neighbour that is off does not answer, or the kernel knows that nobody is there."""
    found = unreachable(settings(), error, 10)
    assert found.message.startswith(f"vm-1: {said}")
    assert found.remedy


@pytest.mark.parametrize(
    ("text", "user", "address", "port"),
    [
        ("door", None, "door", None),
        ("ann@door", "ann", "door", None),
        ("ann@door:2222", "ann", "door", 2222),
        ("a@b@door", None, None, None),
        ("[fd00::1]:2222", None, "fd00::1", 2222),
        ("ann@fd00::1", "ann", "fd00::1", None),
        ("door:0", None, None, None),
        ("door:70000", None, None, None),
        ("door:x", None, None, None),
        ("two words", None, None, None),
        ("", None, None, None),
    ],
)
def test_jump_hosts(text: str, user: str | None, address: str | None, port: int | None):
    found = parse_jump(text)
    if address is None:
        assert found is None
    else:
        assert found == SshHost(found.name if found else "", address, user, port)
