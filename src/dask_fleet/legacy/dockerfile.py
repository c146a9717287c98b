"""What a Dockerfile says: its base, what it adds, and what its containers run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from dask_fleet.legacy.variables import interpolate

__all__ = ["Dockerfile", "Instruction", "read_dockerfile"]

_ADDING = frozenset(("RUN", "COPY", "ADD", "ONBUILD"))
_WORDS = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_HEREDOC = re.compile(r"<<-?(['\"]?)(\w+)\1")


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction, in capitals, with what follows it and its line."""

    word: str
    rest: str
    line: int


@dataclass(slots=True)
class Dockerfile:
    """The last stage of a Dockerfile.

    Attributes
    ----------
    base : str
        Image that it begins with; empty if there is none. Of several stages the last counts.
    adds : list of Instruction
        What makes its image another one than the base, files and commands.
    entrypoint, command : tuple of str or None
        As an argv; the shell form is one of ``/bin/sh -c``.
    variables : dict
        Environment that it sets.
    others : list of Instruction
        What else it says.
    """

    base: str = ""
    base_line: int = 0
    adds: list[Instruction] = field(default_factory=list[Instruction])
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    variables: dict[str, str] = field(default_factory=dict[str, str])
    others: list[Instruction] = field(default_factory=list[Instruction])


def read_dockerfile(text: str, arguments: Mapping[str, str]) -> Dockerfile:
    """Read a Dockerfile.

    Parameters
    ----------
    text : str
        The file.
    arguments : Mapping
        Build arguments that compose gives.
    """
    known: dict[str, str] = {}
    stages: dict[str, Dockerfile] = {}
    result = Dockerfile()
    begun = False
    for one in _instructions(text):
        rest = interpolate(one.rest, {**known, **result.variables}.get)
        if one.word == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            before = stages.get(words[0].lower()) if words else None
            result = Dockerfile(base=words[0] if words else "", base_line=one.line)
            if before is not None:
                # A stage goes on from an earlier one: what that adds is added here too.
                result = Dockerfile(**{k: getattr(before, k) for k in Dockerfile.__slots__})
                result.adds = list(before.adds)
            if len(words) == 3 and words[1].upper() == "AS":
                stages[words[2].lower()] = result
            begun = True
        elif one.word == "ARG":
            name, equals, default = rest.partition("=")
            if value := arguments.get(name.strip(), default.strip("\"'") if equals else ""):
                known[name.strip()] = value
        elif not begun:
            result.others.append(one)
        elif one.word in _ADDING:
            result.adds.append(one)
        elif one.word == "ENV":
            result.variables.update(_pairs(rest))
        elif one.word == "ENTRYPOINT":
            result.entrypoint, result.command = _argv(rest), None
        elif one.word == "CMD":
            result.command = _argv(rest)
        else:
            result.others.append(one)
    return result


def _instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions, with lines that are continued joined."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        first = at + 1
        parts: list[str] = []
        while at < len(lines):
            line = lines[at]
            at += 1
            if line.lstrip().startswith("#"):
                continue
            parts.append(line.rstrip().removesuffix("\\"))
            if not line.rstrip().endswith("\\"):
                break
        found = _WORDS.fullmatch(" ".join(parts).rstrip())
        if found is None:
            continue
        if found[1].upper() in ("RUN", "COPY", "ADD") and (begin := _HEREDOC.search(found[2])):
            while at < len(lines) and lines[at].strip() != begin[2]:
                at += 1
            at += 1
        yield Instruction(found[1].upper(), found[2].strip(), first)


def _argv(rest: str) -> tuple[str, ...]:
    if rest.startswith("["):
        try:
            value = json.loads(rest)
        except ValueError:
            value = None
        if isinstance(value, list):
            return tuple(str(one) for one in cast("list[object]", value))
    return ("/bin/sh", "-c", rest)


def _pairs(rest: str) -> dict[str, str]:
    """Return what ``ENV`` sets: ``NAME=value ...``, or ``NAME value`` of old."""
    if "=" not in rest.split(maxsplit=1)[0]:
        name, _, value = rest.partition(" ")
        return {name: value.strip()}
    try:
        words = shlex.split(rest)
    except ValueError:
        words = rest.split()
    return dict(word.split("=", 1) for word in words if "=" in word)
