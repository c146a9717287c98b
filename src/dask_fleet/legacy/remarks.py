"""What is to be said of a set-up by hand: to decide, not taken over, or taken over otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Kind", "Place", "Remark", "Remarks"]

Kind: TypeAlias = Literal["decide", "lost", "changed"]
"""A human must decide; it is not taken over; it is taken over in another form."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file; 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that is not simply taken over.

    Attributes
    ----------
    kind : Kind
        What is asked of the reader.
    place : Place
        Where it stands.
    what : str
        What stands there.
    why : str
        Why it matters.
    becomes : str
        What becomes of it.
    """

    kind: Kind
    place: Place
    what: str
    why: str
    becomes: str


@dataclass(slots=True)
class Remarks:
    """Gathers remarks, each once."""

    found: dict[Remark, None] = field(default_factory=dict[Remark, None])

    def decide(self, place: Place, what: str, why: str, becomes: str) -> None:
        """Note what a human must decide."""
        self.found[Remark("decide", place, what, why, becomes)] = None

    def lost(self, place: Place, what: str, why: str, becomes: str = "") -> None:
        """Note what is not taken over."""
        self.found[Remark("lost", place, what, why, becomes or "it is left out")] = None

    def changed(self, place: Place, what: str, why: str, becomes: str) -> None:
        """Note what is taken over in another form."""
        self.found[Remark("changed", place, what, why, becomes)] = None
