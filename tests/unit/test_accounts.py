"""Who may come in at the door: names, passwords, and the files that nginx reads."""

from __future__ import annotations

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.account_secrets import COST, hashed, new_secret
from dask_fleet.errors import FleetError
from dask_fleet.proxy.accounts import (
    ALPHABET,
    COOKIES,
    LENGTH,
    PASSWORDS,
    SESSIONS,
    TOKENS,
    Accounts,
    User,
    check_name,
    check_password,
)
from dask_fleet.secret import Secret

ANN = Secret("a" * LENGTH)
BOB = Secret("b" * LENGTH)
PROMETHEUS = Secret("p" * LENGTH)
HASH = Secret("$2b$08$" + "x" * 53)
SINCE = "2026-08-01T12:00:00+0200"

SOME = (
    Accounts()
    .with_user("bob", HASH, BOB, SINCE)
    .with_user("ann", HASH, ANN, SINCE)
    .with_token("prometheus", PROMETHEUS, SINCE)
)


def texts(accounts: Accounts) -> dict[str, str]:
    return {name: content.decode() for name, content in accounts.files().items()}


def lines(accounts: Accounts, name: str) -> list[str]:
    return [line for line in texts(accounts)[name].splitlines() if not line.startswith("#")]


def test_files() -> None:
    assert lines(SOME, PASSWORDS) == [
        f"ann:$2b$08${'x' * 53}:{SINCE}",
        f"bob:$2b$08${'x' * 53}:{SINCE}",
    ]
    assert lines(SOME, SESSIONS) == [f'{"a" * LENGTH} "ann";', f'{"b" * LENGTH} "bob";']
    assert lines(SOME, COOKIES) == [f'"user:ann" {"a" * LENGTH};', f'"user:bob" {"b" * LENGTH};']
    assert lines(SOME, TOKENS) == [f'{"p" * LENGTH} "prometheus"; # {SINCE}']


def test_what_is_written_is_read() -> None:
    assert Accounts.parse(texts(SOME), "there") == SOME
    assert Accounts.parse({}, "there") == Accounts()
    assert Accounts.parse(texts(Accounts()), "there") == Accounts()


names = st.from_regex(r"[a-z0-9][a-z0-9._@+-]{0,39}", fullmatch=True)
values = st.text(alphabet=ALPHABET, min_size=LENGTH, max_size=LENGTH)


@given(st.dictionaries(names, values, max_size=4), st.dictionaries(names, values, max_size=4))
def test_whatever_is_written_is_read(users: dict[str, str], tokens: dict[str, str]) -> None:
    accounts = Accounts()
    for name, value in users.items():
        accounts = accounts.with_user(name, HASH, Secret(value), SINCE)
    for name, value in tokens.items():
        accounts = accounts.with_token(name, Secret(value), SINCE)
    assert Accounts.parse(texts(accounts), "there") == accounts


def test_a_new_password_ends_the_sessions() -> None:
    changed = SOME.with_user("ann", Secret("$2b$08$other"), PROMETHEUS, "later")
    assert lines(changed, SESSIONS) == [f'{"p" * LENGTH} "ann";', f'{"b" * LENGTH} "bob";']
    assert "a" * LENGTH not in "".join(texts(changed).values())
    assert [user.since for user in changed.users] == ["later", SINCE]


def test_a_user_who_is_removed_has_no_session() -> None:
    left = "".join(texts(SOME.without_user("ann")).values())
    assert "ann" not in left
    assert "a" * LENGTH not in left
    assert "bob" in left


def test_a_token_is_removed() -> None:
    assert lines(SOME.without_token("prometheus"), TOKENS) == []


def test_a_user_whom_another_program_has_added() -> None:
    files = texts(SOME) | {PASSWORDS: "# by hand\n\neve:$apr1$x$y\nann:$2y$05$z:comment\n"}
    read = Accounts.parse(files, "there")
    assert read.users == (
        User("eve", Secret("$apr1$x$y"), None, ""),
        User("ann", Secret("$2y$05$z"), ANN, "comment"),
    )
    mended = read.with_sessions([BOB])
    assert mended.users[0].session == BOB
    assert mended.users[1].session == ANN
    assert lines(read, SESSIONS) == [f'{"a" * LENGTH} "ann";']
    assert lines(read, PASSWORDS)[0] == "eve:$apr1$x$y"


def test_lines_that_cannot_be_read_are_named_and_not_shown() -> None:
    files = {
        PASSWORDS: "ann:secret-hash\nno colon here-secret\n",
        SESSIONS: 'short-secret "ann";\n',
        TOKENS: f'{"p" * LENGTH} "a b-secret"; # x\n',
    }
    with pytest.raises(FleetError) as caught:
        Accounts.parse(files, "door: /there")
    assert caught.value.message == (
        "door: /there: nobody can read line 1 of sessions.map, line 2 of htpasswd,"
        " line 1 of tokens.map"
    )
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["ann", "Ann.B", "a@example.org", "4", "a-b_c+d", "x" * 40])
def test_names(name: str) -> None:
    check_name(name, "user")


@pytest.mark.parametrize(
    "name",
    ["", "a:b", "a b", "a\nb", "a\n", "a;b", 'a"b', "$a", "a{", "a#b", "-a", "~a", "é", "x" * 41],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(FleetError, match="cannot be the name of a user"):
        check_name(name, "user")


def test_names_that_differ_in_case_alone() -> None:
    with pytest.raises(FleetError, match="nginx does not tell Ann from it"):
        SOME.with_user("Ann", HASH, PROMETHEUS, SINCE)


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("short", "fewer than 10 characters"),
        ("", "fewer than 10 characters"),
        ("x" * 73, "more than 72 bytes"),
        ("é" * 37, "more than 72 bytes"),
        ("ten\tor more", "control characters"),
        (b"\xff" * 12, "not UTF-8"),
    ],
)
def test_what_is_no_password(password: str | bytes, fault: str) -> None:
    with pytest.raises(FleetError, match=fault):
        check_password(Secret(password))


def test_a_password_is_known_by_its_hash() -> None:
    made = hashed(Secret("correct hörse: battery")).reveal()
    assert bcrypt.checkpw("correct hörse: battery".encode(), made)
    assert not bcrypt.checkpw(b"another one", made)
    assert made.startswith(f"$2b$0{COST}$".encode())


def test_secrets_are_those_that_nginx_can_tell_apart() -> None:
    made = {new_secret().reveal().decode() for _ in range(100)}
    assert len(made) == 100
    assert {len(one) for one in made} == {LENGTH}
    assert set("".join(made)) <= set(ALPHABET)
    assert all(one == one.lower() for one in made)


def test_whoever_is_not_there_is_not_removed() -> None:
    with pytest.raises(FleetError, match="there is no user bab") as caught:
        SOME.without_user("bab")
    assert caught.value.remedy == "did you mean bob?"
    with pytest.raises(FleetError, match="there is no token x") as caught:
        SOME.without_token("x")
    assert caught.value.remedy == "there are prometheus"
    with pytest.raises(FleetError) as caught:
        Accounts().without_user("ann")
    assert caught.value.remedy == "there is none at all; `dask fleet door user add NAME` makes one"


def test_a_token_is_not_made_twice() -> None:
    with pytest.raises(FleetError, match="there is a token prometheus"):
        SOME.with_token("prometheus", ANN, SINCE)
