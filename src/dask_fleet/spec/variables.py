"""``${VAR}`` and ``${VAR:-default}`` in the values of fleet.yaml; ``$$`` is a dollar sign."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dask_fleet.spec.scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BadReferenceError", "Substituted", "substitute", "unwrap"]

_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\{))", re.ASCII)


class BadReferenceError(ValueError):
    """A reference to a variable that cannot be followed; never carries a variable's value."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.fault = fault
        self.remedy = remedy


class Substituted(str):
    """Text in which variables were replaced; knows their names.

    Whether it is a number or text is for the field to say that it lands in.
    """

    __slots__ = ("variables",)

    variables: tuple[str, ...]


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with its variables replaced.

    As in a shell, ``${VAR:-default}`` takes the default also when the variable is empty.

    Parameters
    ----------
    text : str
        A scalar of the file.
    environ : Mapping
        The caller's environment.

    Returns
    -------
    str
        A `Substituted` when a variable was replaced, else plain text.

    Raises
    ------
    BadReferenceError
        When a variable is not set and has no default, or a reference is not closed.
    """
    names: list[str] = []
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        dollar, name, default, unclosed = match.groups()
        if dollar:
            return "$"
        if unclosed:
            raise BadReferenceError(
                "a reference to a variable that cannot be read",
                "write ${NAME} or ${NAME:-default}; write $${ for a dollar and a brace",
            )
        names.append(name)
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            missing.append(name)
            return ""
        return value

    result = _REFERENCE.sub(replace, text)
    if missing:
        listed = ", ".join(f'"{name}"' for name in dict.fromkeys(missing))
        raise BadReferenceError(
            f"unknown environment variable{'s' if ',' in listed else ''} {listed}",
            f"set it, or give a default: ${{{missing[0]}:-...}}",
        )
    if not names:
        return result
    marked = Substituted(result)
    marked.variables = tuple(dict.fromkeys(names))
    return marked


def unwrap(value: object) -> object:
    """Return the value that a scalar of the file stands for where any kind will do."""
    return resolve(str(value)) if isinstance(value, Substituted) else value
