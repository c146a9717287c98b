"""asyncssh, imported by everybody from here: without asking a compiler.

When it is imported, asyncssh looks for libraries that it can do without (liboqs, nettle). The
standard library asks ldconfig for them, and then, for those that are not installed, a C compiler
and a linker. Every command would wait for these, and they find nothing that could be loaded.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["asyncssh"]


@contextmanager
def _without_programs() -> Generator[None]:
    # Nothing else of a command runs while it opens its first connection. An empty PATH would mean
    # the current directory; this one holds nothing.
    path = os.environ.get("PATH")
    os.environ["PATH"] = os.devnull
    try:
        yield
    finally:
        if path is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = path


with _without_programs():
    import asyncssh
