"""asyncssh, imported by everybody from here: without looking far for what is not installed.

When it is imported, asyncssh looks for what it can do without. For two libraries (liboqs, nettle)
the standard library asks ldconfig under five names, and then, for those that are not installed, a
C compiler and a linker. For certificates of the X.509 kind it imports those of ``cryptography``
before pyOpenSSL, without which they are of no use to it. Every command would wait for these, and
they find nothing that could be loaded.
"""

from __future__ import annotations

import ctypes.util
import os
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["asyncssh"]

_CACHE = Path("/etc/ld.so.cache")
"""What ldconfig prints: the names of all libraries stand in it as they are (ld.so(8))."""

_X509 = "asyncssh.crypto.x509"


@contextmanager
def _only_what_is_there() -> Generator[None]:
    # Nothing else of a command runs while it opens its first connection. An empty PATH would mean
    # the current directory; this one holds nothing.
    path, find = os.environ.get("PATH"), ctypes.util.find_library
    os.environ["PATH"] = os.devnull
    ctypes.util.find_library = _known(find)
    useless = find_spec("OpenSSL") is None and _X509 not in sys.modules
    if useless:
        sys.modules[_X509] = None  # type: ignore[assignment]  # "cannot be imported"
    try:
        yield
    finally:
        ctypes.util.find_library = find
        if useless:
            del sys.modules[_X509]
        if path is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = path


def _known(find: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """Return ``find``, which is not called for a library that the system's cache does not name."""
    try:
        cache = _CACHE.read_bytes()
    except OSError:  # not the GNU system's, such as macOS
        return find
    return lambda name: find(name) if f"lib{name}.".encode() in cache else None


with _only_what_is_there():
    import asyncssh
