"""What is shown of settings and files in which passwords may stand.

`variables` and `config` of fleet.yaml may hold them under any name; a name tells that it is one.
Values under such a name are never shown, only that they are there or that they differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

__all__ = ["HIDDEN", "looks_secret", "masked", "masked_lines"]

HIDDEN = "(not shown)"
_CHANGED = "(not shown, another one)"

_WORDS = r"pass(?:word|wd|phrase)|pwd|secret|token|key|credential"
_NAME = re.compile(_WORDS, re.IGNORECASE)
_SETTING = re.compile(
    rf"([\w.-]*(?:{_WORDS})[\w.-]*[\"']?\s*[=:]\s*)(?=\S)(.*)", re.IGNORECASE | re.ASCII
)
_IN_ADDRESS = re.compile(r"(://[^\s/:@]*:)[^\s/@]+@")
"""``scheme://user:password@host``."""

_MISSING = object()


def looks_secret(name: object) -> bool:
    """Return whether what has this name may be a secret; rather one too many than one too few.

    Examples
    --------
    >>> [looks_secret(name) for name in ("S3_SECRET_KEY", "apiToken", "OMP_NUM_THREADS")]
    [True, True, False]
    """
    return bool(_NAME.search(str(name)))


def masked(value: object, before: object = _MISSING, *, secret: bool = False) -> object:
    """Return settings without their secrets, to be shown.

    Parameters
    ----------
    value : object
        Nested mappings and lists.
    before : object, optional
        Earlier settings: what differs from them is said to.
    secret : bool
        Whether the name of the value tells that all of it is secret.
    """
    if isinstance(value, Mapping):
        new = cast("Mapping[object, object]", value)
        return {
            key: masked(item, _of(before, key), secret=secret or looks_secret(key))
            for key, item in new.items()
        }
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [
            masked(item, _of(before, number), secret=secret) for number, item in enumerate(items)
        ]
    if secret and value is not None and not isinstance(value, bool):
        return HIDDEN if before is _MISSING or before == value else _CHANGED
    return _IN_ADDRESS.sub(rf"\1{HIDDEN}@", value) if isinstance(value, str) else value


def _of(before: object, key: object) -> object:
    """Return what stands under a key or a number in earlier settings."""
    if isinstance(before, Mapping):
        return cast("Mapping[object, object]", before).get(key, _MISSING)
    if isinstance(before, list) and isinstance(key, int):
        items = cast("list[object]", before)
        return items[key] if key < len(items) else _MISSING
    return _MISSING


def masked_lines(text: str) -> str:
    """Return a text in which ``name = value`` and ``name: value`` show no secret."""
    shown = "".join(_SETTING.sub(rf"\1{HIDDEN}", line) for line in text.splitlines(keepends=True))
    return _IN_ADDRESS.sub(rf"\1{HIDDEN}@", shown)
