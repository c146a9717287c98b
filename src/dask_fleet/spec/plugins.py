"""Keeps pydantic from looking for plug-ins while a file is checked."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["without_plugins"]

_LOADER = "pydantic.plugin._loader"


@contextmanager
def without_plugins() -> Generator[None]:
    """Keep pydantic from looking for plug-ins of its own in every installed distribution.

    Models put off building their validators until they are first used (``defer_build``); then it
    looks, and that takes longer than reading the file. Its setting against it
    (``PYDANTIC_DISABLE_PLUGINS``) is read too late: what would look is imported by then, and with
    it all that reads the metadata of distributions.
    """
    if _LOADER in sys.modules:  # a program that uses pydantic itself has paid for it
        yield
        return
    nothing = ModuleType(_LOADER)
    vars(nothing)["get_plugins"] = tuple
    sys.modules[_LOADER] = nothing
    try:
        yield
    finally:
        del sys.modules[_LOADER]
