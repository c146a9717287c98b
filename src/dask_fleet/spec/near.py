"""Remedies for misspelt words."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["Speller", "did_you_mean", "nearest"]

_BUDGET = 50_000
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was likely meant, if one is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a remedy that names the nearest known word, or nothing when none is near."""
    near = nearest(word, known)
    return f'did you mean "{near}"?' if near else ""


def _without_zeros(name: str) -> str:
    return _ZEROS.sub("", name.lower())


class Speller:
    """Finds the host that was meant; gives up looking when a large file has many faults.

    Parameters
    ----------
    known : collection of str
        The names that there are.
    vague : tuple of str
        Beginnings of further names, of entries that cannot be read. Whatever begins so may be
        right, and ``""`` lets everything pass.
    """

    def __init__(self, known: Collection[str], vague: tuple[str, ...] = ()) -> None:
        self.known = known
        self.vague = vague
        self._budget = _BUDGET
        self._numbered: dict[str, str] = {}

    def knows(self, name: str) -> bool:
        """Return whether there is such a host, or may be."""
        return name in self.known or name.startswith(self.vague)

    def remedy(self, word: str) -> str:
        """Return what to do about an unknown host."""
        if not self._numbered:
            self._numbered = {_without_zeros(name): name for name in self.known}
        if same := self._numbered.get(_without_zeros(word)):
            return f'did you mean "{same}"?'
        if self._budget > 0:
            self._budget -= len(self.known)
            if near := did_you_mean(word, self.known):
                return near
        if 0 < len(self.known) <= 8:
            return "hosts are " + ", ".join(f'"{name}"' for name in self.known)
        return 'add it under "hosts"'
