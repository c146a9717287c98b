"""A value that must not be seen: it prints masked, and nothing serialises it by accident."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn, final

__all__ = ["Secret"]

_MASK = "****"


@final
class Secret:
    """Bytes that are shown to nobody but the one who calls `reveal`.

    It is neither ``str`` nor ``bytes``, so that it cannot be joined to a text, written to a file
    or put into an argv unseen. ``repr``, ``str`` and ``format`` print a mask; pickle, JSON and
    YAML refuse it. A copy of it is itself.

    Parameters
    ----------
    value : bytes or str
        What is to be kept; text is kept in UTF-8.
    """

    __slots__ = ("__value",)

    __value: bytes

    def __init__(self, value: bytes | str) -> None:
        content = value.encode() if isinstance(value, str) else bytes(value)
        object.__setattr__(self, "_Secret__value", content)

    def reveal(self) -> bytes:
        """Return what is kept. Only what ships or writes it has a reason to ask."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, _: str) -> str:
        # A width or a precision would only tell something about the mask.
        return _MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value, other.__value)

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __setattr__(self, name: str, _: object) -> NoReturn:
        raise AttributeError(f"a secret does not change: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a secret does not change: {name}")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Secret:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not serialised")

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a secret is not serialised")
