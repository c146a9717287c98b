"""Problems of a spec, gathered with the place, the key and plain words for the value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TypeAlias, cast

from dask_fleet.errors import Problem
from dask_fleet.masking import looks_secret
from dask_fleet.spec.positions import Document, Mark
from dask_fleet.spec.variables import Substituted

__all__ = ["Path", "Report", "format_path"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the root of the file."""

_SIMPLE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def format_path(path: Path) -> str:
    """Return a path as people write it.

    Examples
    --------
    >>> format_path(("workers", "default", "hosts", 2))
    'workers.default.hosts[2]'
    >>> format_path(("hosts", "vm-[1-4]", "address"))
    'hosts["vm-[1-4]"].address'
    """
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _SIMPLE.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{json.dumps(step, ensure_ascii=False)}]")
    return "".join(parts)


class Report:
    """Gathers the problems of one spec.

    Parameters
    ----------
    source : str
        Name of the file, or of whatever the spec came from.
    document : Document
        Its values and where they stand.
    """

    def __init__(self, source: str, document: Document) -> None:
        self.source = source
        self.document = document
        self._broken: set[Path] = set()
        self._once: set[Path] = set()
        self._found: dict[tuple[Path, str], tuple[int, Problem]] = {}

    def add(
        self,
        path: Path,
        fault: str,
        remedy: str = "",
        *,
        line: int | None = None,
        at_key: bool = False,
    ) -> None:
        """Add a problem.

        Parameters
        ----------
        path : Path
            What it is about; its place is its line, or that of the nearest that has one.
        fault, remedy : str
            As in `Problem`.
        line : int, optional
            The line, when it is not the path's.
        at_key : bool
            Whether the key is at fault and not its value.
        """
        if line is None:
            mark = self.mark(path)
            line = (mark.key_line if at_key else mark.line) if mark else 0
        place = f"{self.source}:{line}" if line else self.source
        problem = Problem(place, format_path(path), fault, remedy)
        self._found.setdefault((path, fault), (line, problem))

    def add_once(self, path: Path, fault: str, remedy: str = "") -> None:
        """Add a problem unless one was added for this path in this way: the first of many."""
        if path not in self._once:
            self._once.add(path)
            self.add(path, fault, remedy)

    def spoil(self, path: Path) -> None:
        """Note that the value at a path cannot be believed: it is bad, and has a stand-in."""
        self._broken.add(path)

    def is_broken(self, *path: str | int) -> bool:
        """Return whether the value at a path cannot be believed, or one that it lies in."""
        broken = self._broken
        return bool(broken) and any(path[: end + 1] in broken for end in range(len(path)))

    def is_sound(self, path: Path, *keys: str) -> bool:
        """Return whether the values of all these keys of a mapping can be believed."""
        return not any(self.is_broken(*path, key) for key in keys)

    def mark(self, path: Path) -> Mark | None:
        """Return the mark of a path, or of the nearest above it that the file has."""
        marks = self.document.marks
        for length in range(len(path), -1, -1):
            if (mark := marks.get(path[:length])) is not None:
                # What is missing is missing from the mapping that its key opens.
                return mark if length == len(path) else Mark(mark.key_line, mark.key_line, None)
        return None

    def value(self, path: Path) -> object:
        """Return the value that the file has at a path; ``None`` when it has none."""
        value = self.document.value
        for step in path:
            if isinstance(value, dict):
                value = cast("dict[str | int, object]", value).get(step)
            elif isinstance(value, list) and isinstance(step, int):
                items = cast("list[object]", value)
                value = items[step] if step < len(items) else None
            else:
                return None
        return value

    def shown(self, path: Path, text: str | None = None) -> str:
        """Return a value for a message; never what came from a variable or may be a secret.

        Parameters
        ----------
        path : Path
            Where the value stands.
        text : str, optional
            What to show for a value that came from no variable; the value itself by default.
        """
        value = self.value(path)
        if isinstance(value, Substituted):
            return "the value of " + " and ".join(f"${{{name}}}" for name in value.variables)
        plain = value is not None and not isinstance(value, (Mapping, list))
        if plain and path[:1] in (("variables",), ("config",)) and any(map(looks_secret, path)):
            return "what is not shown"
        if text is not None:
            return f'"{text}"'
        if isinstance(value, str):
            return json.dumps(value if len(value) < 80 else value[:77] + "...", ensure_ascii=False)
        if value is None:
            return "nothing"
        if isinstance(value, Mapping):
            return "a mapping"
        if isinstance(value, list):
            return "a list"
        mark = self.document.marks.get(path)
        return mark.text if mark and mark.text is not None else str(value)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem, in the order of the file."""
        ordered = sorted(self._found.values(), key=lambda entry: entry[0])
        return tuple(problem for _, problem in ordered)
