"""Who may come in at the door: users and tokens, as values and as the files that nginx reads.

nginx compares the keys of a ``map`` without regard to case and, as it is installed, takes keys of
46 characters at most (``map_hash_bucket_size`` 64). Secrets are therefore written in small letters
and have just that length, and no two users differ in case alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dask_fleet.errors import FleetError
from dask_fleet.secret import Secret

__all__ = [
    "ALPHABET",
    "COOKIES",
    "LENGTH",
    "PASSWORDS",
    "SESSIONS",
    "TOKENS",
    "Accounts",
    "Token",
    "User",
    "check_name",
    "check_password",
]

PASSWORDS = "htpasswd"
"""Users and the bcrypt of their passwords; the workers of nginx read it at each login."""
SESSIONS = "sessions.map"
"""Which user a cookie belongs to."""
COOKIES = "cookies.map"
"""Which cookie a user is given."""
TOKENS = "tokens.map"
"""Which program a token belongs to."""

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
"""Letters of secrets: those of base32, small."""
LENGTH = 46
"""Letters of a secret; of five bits each, which makes 230 bits."""

SHORTEST = 10
"""Characters of a password; online guesses are limited by the door."""
LONGEST = 72
"""Bytes of a password that bcrypt takes."""

_WORD = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,39}"
_SECRET = rf"[a-z2-7]{{{LENGTH}}}"
_NAME = re.compile(_WORD)
_USER = re.compile(rf"({_WORD}):([^:\s]+)(?::(\S*))?")
_SESSION = re.compile(rf'({_SECRET}) "({_WORD})";')
_TOKEN = re.compile(rf'({_SECRET}) "({_WORD})"; # (\S*)')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class User:
    """A person who comes in with a password.

    Attributes
    ----------
    name : str
        What they type.
    password : Secret
        bcrypt of their password, or what another program has written into ``htpasswd``.
    session : Secret or None
        What the cookie holds that they are given after a good password; ``None`` if another
        program has added them. A new one ends their sessions.
    since : str
        When they were added or their password was changed, as ISO 8601; empty if nobody knows.
    """

    name: str
    password: Secret
    session: Secret | None
    since: str


@dataclass(frozen=True, slots=True)
class Token:
    """A program that comes in with a bearer token."""

    name: str
    value: Secret
    since: str


@dataclass(frozen=True, slots=True)
class Accounts:
    """Everybody who may come in, in the order of their names."""

    users: tuple[User, ...] = ()
    tokens: tuple[Token, ...] = ()

    @classmethod
    def parse(cls, files: Mapping[str, str], place: str) -> Accounts:
        """Return what the files say; one that is missing is empty.

        Parameters
        ----------
        files : Mapping
            Their texts by name.
        place : str
            Where they are, for a message.

        Raises
        ------
        FleetError
            Lines cannot be read. They are named by number: what stands in them is secret.
        """
        faults: list[str] = []

        def fields(file: str, pattern: re.Pattern[str]) -> Iterable[tuple[str | None, ...]]:
            for number, line in enumerate(files.get(file, "").splitlines(), start=1):
                if not line.strip() or line.startswith("#"):
                    continue
                found = pattern.fullmatch(line)
                if found:
                    yield found.groups()
                else:
                    faults.append(f"line {number} of {file}")

        sessions = {name: Secret(value or "") for value, name in fields(SESSIONS, _SESSION)}
        users = [
            User(name or "", Secret(password or ""), sessions.get(name), since or "")
            for name, password, since in fields(PASSWORDS, _USER)
        ]
        tokens = [
            Token(name or "", Secret(value or ""), since or "")
            for value, name, since in fields(TOKENS, _TOKEN)
        ]
        if faults:
            raise FleetError(
                f"{place}: nobody can read {', '.join(faults)}",
                "remove these lines there, and add who stood in them anew",
            )
        return cls(tuple(users), tuple(tokens))

    def files(self) -> dict[str, bytes]:
        """Return the files by name; every one of them holds secrets."""
        head = "# Written by `dask fleet door`; changes of other programs may be lost."
        with_session = [(user.name, user.session) for user in self.users if user.session]
        return {
            PASSWORDS: _lines(
                head,
                (
                    f"{user.name}:{_text(user.password)}" + (f":{user.since}" if user.since else "")
                    for user in self.users
                ),
            ),
            SESSIONS: _lines(head, (f'{_text(value)} "{name}";' for name, value in with_session)),
            COOKIES: _lines(
                head, (f'"user:{name}" {_text(value)};' for name, value in with_session)
            ),
            TOKENS: _lines(
                head, (f'{_text(one.value)} "{one.name}"; # {one.since}' for one in self.tokens)
            ),
        }

    def with_user(self, name: str, password: Secret, session: Secret, since: str) -> Accounts:
        """Return it with a new user, or with a new password and session of one.

        Raises
        ------
        FleetError
            The name cannot be one, or differs from another in case alone.
        """
        check_name(name, "user", (user.name for user in self.users))
        new = User(name, password, session, since)
        others = [user for user in self.users if user.name != name]
        return replace(self, users=tuple(sorted((*others, new), key=lambda user: user.name)))

    def with_sessions(self, fresh: Iterable[Secret]) -> Accounts:
        """Return it with a session for each user that has none."""
        supply = iter(fresh)
        users = tuple(
            user if user.session else replace(user, session=next(supply)) for user in self.users
        )
        return replace(self, users=users)

    def with_token(self, name: str, value: Secret, since: str) -> Accounts:
        """Return it with a new token.

        Raises
        ------
        FleetError
            The name cannot be one, or there is a token of that name.
        """
        names = [token.name for token in self.tokens]
        check_name(name, "token", names)
        if name in names:
            raise FleetError(
                f"there is a token {name}; nobody can see it again",
                f"`dask fleet door token rm {name}` first, or choose another name",
            )
        new = Token(name, value, since)
        return replace(self, tokens=tuple(sorted((*self.tokens, new), key=lambda one: one.name)))

    def without_user(self, name: str) -> Accounts:
        """Return it without a user; their sessions end."""
        _check_there(name, "user", [user.name for user in self.users])
        return replace(self, users=tuple(user for user in self.users if user.name != name))

    def without_token(self, name: str) -> Accounts:
        """Return it without a token."""
        _check_there(name, "token", [token.name for token in self.tokens])
        return replace(self, tokens=tuple(token for token in self.tokens if token.name != name))


def check_name(name: str, kind: str, others: Iterable[str] = ()) -> None:
    """Raise the error that says why something cannot be the name of a user or a token."""
    if not _NAME.fullmatch(name):
        raise FleetError(
            f"{name!r} cannot be the name of a {kind}",
            "use letters, digits and . _ @ + -, beginning with a letter or digit, 40 at most",
        )
    for other in others:
        if other != name and other.lower() == name.lower():
            raise FleetError(
                f"there is a {kind} {other}, and nginx does not tell {name} from it",
                "choose a name that differs in more than its case",
            )


def check_password(password: Secret) -> None:
    """Raise the error that says why something cannot be a password."""
    content = password.reveal()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise FleetError("the password is not UTF-8", "type another one") from None
    if len(text) < SHORTEST:
        raise FleetError(
            f"the password has fewer than {SHORTEST} characters",
            "take a longer one: three or four words that do not belong together will do",
        )
    if len(content) > LONGEST:
        raise FleetError(
            f"the password has more than {LONGEST} bytes, and bcrypt would not see the rest",
            "take a shorter one",
        )
    if _CONTROL.search(text):
        raise FleetError(
            "the password has control characters, which no browser sends", "type another one"
        )


def _check_there(name: str, kind: str, names: list[str]) -> None:
    if name in names:
        return
    import difflib

    near = difflib.get_close_matches(name, names, 1)
    if near:
        remedy = f"did you mean {near[0]}?"
    elif names:
        remedy = f"there are {', '.join(names)}"
    else:
        remedy = f"there is none at all; `dask fleet door {kind} add NAME` makes one"
    raise FleetError(f"there is no {kind} {name}", remedy)


def _text(secret: Secret) -> str:
    return secret.reveal().decode()


def _lines(head: str, lines: Iterable[str]) -> bytes:
    return "\n".join((head, *lines, "")).encode()
