"""How fast workers that run are replaced."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How workers that run are replaced.

    Attributes
    ----------
    batch : int or None
        How many hosts at once; ``None`` is all of them, undrained.
    drain : float
        Seconds that the workers of a batch have to end what runs and to hand over what they hold.
    """

    batch: int | None = 1
    drain: float = 300.0
