"""What a word of the file means: a number, a truth value, nothing, or text.

These are the rules of YAML 1.2, which editors follow, with the truth values of YAML 1.1, which
Dask's own files use. What YAML 1.1 makes of ``0010`` (8) or of ``12:30`` (750) helps nobody.
"""

from __future__ import annotations

import re

__all__ = ["resolve"]

_WORDS: dict[str, bool | None] = {
    form: value
    for word, value in (
        ("true", True),
        ("yes", True),
        ("on", True),
        ("false", False),
        ("no", False),
        ("off", False),
        ("null", None),
    )
    for form in (word, word.capitalize(), word.upper())
} | {"": None, "~": None}
_WHOLE = re.compile(r"[-+]?[0-9]{1,4000}", re.ASCII)
_OTHER_BASE = re.compile(r"0x[0-9a-fA-F]{1,4000}|0o[0-7]{1,4000}", re.ASCII)
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FIRST = frozenset("0123456789+-.")


def resolve(text: str) -> object:
    """Return the value of a scalar that is written without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST:
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _REAL.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return float("nan") if match[3] else float(match[1] + "inf")
    return text
