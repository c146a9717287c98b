"""What happens during an apply, as values; the front decides how they look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ActionDone", "ActionFailed", "ActionStarted", "Event", "Note", "Registered", "Sink"]


@dataclass(frozen=True, slots=True)
class ActionStarted:
    """An action began."""

    host: str
    text: str


@dataclass(frozen=True, slots=True)
class ActionDone:
    """An action ended well after ``seconds``."""

    host: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """An action failed; the error itself is reported at the end with all others."""

    host: str
    text: str
    fault: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line of progress inside an action, such as what uv says."""

    host: str
    text: str


@dataclass(frozen=True, slots=True)
class Registered:
    """The scheduler lists ``count`` of ``total`` workers; ``missing`` names the rest."""

    count: int
    total: int
    missing: tuple[str, ...]


Event = ActionStarted | ActionDone | ActionFailed | Note | Registered
Sink = Callable[[Event], None]
