"""Variables as compose and shells have them: ``.env`` files, and references in values.

The rules are those of https://docs.docker.com/reference/compose-file/interpolation/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Assignment", "interpolate", "read_env"]

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*(?:=(.*))?", re.ASCII | re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(
    rf"\$(?:(?P<dollar>\$)|(?P<bare>{_NAME})|\{{(?P<name>{_NAME})"
    r"(?:(?P<how>:?[-?+])(?P<word>(?:[^{}$]|\$\$|\$?\{[^{}]*\})*))?\})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A line of a ``.env`` file; the value of a name alone is ``None``: a shell has it."""

    name: str
    value: str | None
    line: int


def read_env(text: str, known: Mapping[str, str] | None = None) -> Iterator[Assignment | int]:
    """Yield the assignments of a ``.env`` file, and the numbers of lines that are none.

    Parameters
    ----------
    text : str
        The file.
    known : Mapping, optional
        Values that references in values may be to, beside earlier lines.
    """
    values = dict(known or {})
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ASSIGNMENT.fullmatch(line)
        if found is None:
            yield number
            continue
        name, raw = found.groups()
        value = None if raw is None else _value(raw.strip(), values)
        if value is not None:
            values[name] = value
        yield Assignment(name, value, number)


def _value(raw: str, values: Mapping[str, str]) -> str:
    quote = raw[:1]
    if quote in ("'", '"') and (end := _closing(raw, quote)):
        inner = raw[1:end]
        if quote == "'":
            return inner
        inner = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), inner)
        return interpolate(inner, values.get)
    plain = re.split(r"\s+#", raw, maxsplit=1)[0].rstrip()
    return interpolate(plain, values.get)


def _closing(raw: str, quote: str) -> int:
    """Return where a quoted value ends; 0 where it does not."""
    end = 1
    while end < len(raw) and raw[end] != quote:
        end += 2 if raw[end] == "\\" and quote == '"' else 1
    return end if end < len(raw) else 0


def interpolate(
    text: str, get: Callable[[str], str | None], missing: dict[str, None] | None = None
) -> str:
    """Return a text with its references replaced; those that nobody can follow stay as they are.

    Parameters
    ----------
    text : str
        What has ``$NAME``, ``${NAME}``, ``${NAME:-word}``, ``${NAME:+word}`` or ``${NAME:?word}``.
    get : callable
        Returns the value of a variable, or ``None``.
    missing : dict, optional
        Takes the names of variables that are not set and have no default.

    Examples
    --------
    >>> interpolate("${HOST:-vm}:$PORT costs $$5", {"PORT": "8786"}.get)
    'vm:8786 costs $5'
    """

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name, how = match["bare"] or match["name"], match["how"] or ""
        value = get(name)
        there = value is not None and (value != "" or not how.startswith(":"))
        if how.endswith("+"):
            return interpolate(match["word"], get, missing) if there else ""
        if there and value is not None:
            return value
        if how.endswith("-"):
            return interpolate(match["word"], get, missing)
        if value is None and missing is not None:
            missing[name] = None
        return match[0] if value is None else value

    return _REFERENCE.sub(replace, text)
