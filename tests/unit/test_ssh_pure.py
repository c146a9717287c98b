"""How a command is wrapped for SSH, and how a jump host is read."""

from __future__ import annotations

import shlex

import pytest

from dask_fleet.ssh_host import SshHost, parse_jump
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
