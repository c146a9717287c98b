"""Which files of a folder an engine is not given: ``.dockerignore``, read as Docker reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["IGNORE_FILE", "Ignored"]

IGNORE_FILE = ".dockerignore"
"""Name of the file that says so."""


class Ignored:
    """The patterns of a ``.dockerignore``.

    The last one that fits decides; ``!`` before a pattern takes what it names back in. A pattern
    that fits a folder fits all that is below it
    (https://docs.docker.com/reference/dockerfile/#dockerignore-file).

    Parameters
    ----------
    text : str
        What the file says.
    """

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for raw in text.splitlines():
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            kept = line.startswith("!")
            pattern = _clean(line.removeprefix("!").strip())
            if pattern:
                self._rules.append((kept, re.compile(_expression(pattern))))

    def __call__(self, path: str) -> bool:
        """Return whether a path, relative to the folder, is left out."""
        parts = path.split("/")
        prefixes = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        ignored = False
        for kept, pattern in self._rules:
            if any(pattern.fullmatch(prefix) for prefix in prefixes):
                ignored = not kept
        return ignored

    @property
    def takes_back(self) -> bool:
        """Whether something below a folder that is left out may be kept."""
        return any(kept for kept, _ in self._rules)


def _clean(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    cleaned: list[str] = []
    for part in parts:
        if part == ".." and cleaned:
            cleaned.pop()
        elif part != "..":
            cleaned.append(part)
    return "/".join(cleaned)


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern of Go's ``filepath.Match`` with ``**``."""
    words: list[str] = []
    parts: Iterable[str] = re.findall(r"\*\*/?|\*|\?|\[[^\]]+\]|\\.|.", pattern)
    for part in parts:
        if part.startswith("**"):
            words.append("(?:.*/)?" if part.endswith("/") else ".*")
        elif part == "*":
            words.append("[^/]*")
        elif part == "?":
            words.append("[^/]")
        elif len(part) > 1 and part.startswith("["):
            words.append(part)
        else:
            words.append(re.escape(part[-1]))
    return "".join(words)
