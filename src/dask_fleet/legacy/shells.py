"""Finds Dask's command in what a container runs, whatever shell and wrappers stand around it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dask_fleet.legacy.variables import interpolate

__all__ = ["DaskCommand", "find_command"]

_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh"))
_BETWEEN = frozenset(("&&", "||", ";", "|", "&", "(", ")", ";;"))
_WRAPPERS = frozenset(
    ("exec", "nohup", "time", "tini", "dumb-init", "prepare.sh", "env", "command")
)
_RUNNERS = frozenset(("conda", "mamba", "micromamba"))
_ENVIRONMENTS = ("-n", "--name", "-p", "--prefix")
_ACTIVATING = frozenset((("source", "activate"), (".", "activate"), ("conda", "activate")))
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.ASCII | re.DOTALL)
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*(?::?-[^}]*)?\})", re.ASCII)
_MODULE = re.compile(r"(?:distributed\.cli\.)?dask_(scheduler|worker)")
_DEEPEST = 5


@dataclass(slots=True)
class DaskCommand:
    """A scheduler's or a worker's command line.

    Attributes
    ----------
    role : str
        ``scheduler`` or ``worker``; empty if nothing of Dask's was found.
    arguments : list of str
        What follows the command.
    environment : str
        The conda environment that is activated for it.
    variables : dict
        What the shell sets before it.
    others : list of str
        Other commands that the shell runs.
    unread : str
        Why a script could not be read; empty if it could.
    """

    role: str = ""
    arguments: list[str] = field(default_factory=list[str])
    environment: str = ""
    variables: dict[str, str] = field(default_factory=dict[str, str])
    others: list[str] = field(default_factory=list[str])
    unread: str = ""


def find_command(argv: Sequence[str], get: Callable[[str], str | None]) -> DaskCommand:
    """Return Dask's command in an argv.

    Parameters
    ----------
    argv : sequence of str
        What the container runs, entry point and command.
    get : callable
        Returns a variable of the container's environment, for shells in it.
    """
    found = DaskCommand()
    _search(list(argv), found, get, 0)
    if not found.role:
        # A script of the image, such as an entry point, may run what stands behind it.
        for index in range(1, len(argv)):
            role, arguments = _dask(argv[index].rpartition("/")[2], list(argv[index + 1 :]))
            if role:
                return DaskCommand(role, arguments, others=[shlex.join(argv[:index])])
    return found


def _search(
    words: list[str], found: DaskCommand, get: Callable[[str], str | None], depth: int
) -> None:
    words = _unwrapped(words, found)
    if not words or depth > _DEEPEST:
        return
    name = words[0].rpartition("/")[2]
    if name in _SHELLS:
        script = _script(words[1:])
        if script is not None:
            _search_script(script, found, get, depth)
        elif len(words) > 1:
            found.others.append(shlex.join(words))
        return
    role, arguments = _dask(name, words[1:])
    if role and not found.role:
        found.role, found.arguments = role, arguments
    elif tuple(words[:2]) in _ACTIVATING and len(words) > 2:
        found.environment = words[2]
    elif name != ":":
        found.others.append(shlex.join(words))


def _search_script(
    script: str, found: DaskCommand, get: Callable[[str], str | None], depth: int
) -> None:
    def value(variable: str) -> str | None:
        return found.variables.get(variable, get(variable))

    try:
        commands = list(_commands(script))
    except ValueError as error:
        found.unread = f"{error}".lower()
        return
    for words in commands:
        _search([one for word in words for one in _expanded(word, value)], found, get, depth + 1)


def _expanded(word: str, get: Callable[[str], str | None]) -> list[str]:
    """Return what a shell makes of a word: one that is a variable alone may be several."""
    text = interpolate(word, get)
    return text.split() if _VARIABLE.fullmatch(word) and "$" not in text else [text]


def _script(words: Sequence[str]) -> str | None:
    """Return what a shell is told with ``-c``, such as ``-lc``."""
    for index, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and "c" in word[1:]:
            return words[index + 1] if index + 1 < len(words) else ""
        if not word.startswith("-"):
            return None
    return None


def _commands(script: str) -> Iterator[list[str]]:
    """Yield the simple commands of a script, without what only leads their output elsewhere."""
    joined = script.replace("\\\n", " ")
    lexer = shlex.shlex(joined.replace("\n", " ; "), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    skip = False
    for token in lexer:
        if token in _BETWEEN:
            if words:
                yield words
            words = []
        elif set(token) <= set("<>&|"):
            if words and words[-1] in ("1", "2"):
                words.pop()
            skip = True
        elif skip:
            skip = False
        else:
            words.append(token)
    if words:
        yield words


def _unwrapped(words: list[str], found: DaskCommand) -> list[str]:
    """Return a command without assignments and programs that only run it."""
    while words:
        name = words[0].rpartition("/")[2]
        if name == "export":
            for word in words[1:]:
                if match := _ASSIGNMENT.fullmatch(word):
                    found.variables[match[1]] = match[2]
            return []
        if match := _ASSIGNMENT.fullmatch(words[0]):
            found.variables[match[1]] = match[2]
            words = words[1:]
        elif name in _WRAPPERS:
            words = words[1:]
            while words and words[0].startswith("-"):
                words = words[1:]
        elif name in _RUNNERS and words[1:2] == ["run"]:
            words = words[2:]
            while words and words[0].startswith("-"):
                takes = words[0] in _ENVIRONMENTS
                if takes and len(words) > 1:
                    found.environment = words[1]
                words = words[2 if takes else 1 :]
        else:
            break
    return words


def _dask(name: str, rest: list[str]) -> tuple[str, list[str]]:
    if name in ("dask-scheduler", "dask-worker"):
        return name.removeprefix("dask-"), rest
    if name == "dask" and rest[:1] in (["scheduler"], ["worker"]):
        return rest[0], rest[1:]
    if name.startswith("python") and rest[:1] == ["-m"] and len(rest) > 1:
        if match := _MODULE.fullmatch(rest[1]):
            return match[1], rest[2:]
        if rest[1] == "dask" and rest[2:3] in (["scheduler"], ["worker"]):
            return rest[2], rest[3:]
    return "", []
