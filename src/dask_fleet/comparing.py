"""What differs between two versions of a unit, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

__all__ = ["differences"]


def differences(was: Mapping[str, object], will: Mapping[str, object]) -> list[str]:
    """Return each key whose value differs, as ``key old -> new``, in the order of the keys.

    What differs in the same way for several workers stands once, with their number, and the name
    of a worker is left out where there is no other. Values of environment variables are not shown:
    they may be secrets.
    """
    old, new = dict(_flat(was)), dict(_flat(will))
    only = len({owner for owner, _ in [*old, *new] if owner}) == 1
    lines: dict[str, list[str]] = {}
    for path in dict.fromkeys([*old, *new]):
        if old.get(path) == new.get(path):
            continue
        owner, key = path
        if owner and key == "name":
            lines.setdefault(f"{owner} is {'new' if path in new else 'gone'}", [])
        elif owner and ((owner, "name") in old) != ((owner, "name") in new):
            continue  # said with its name
        elif key.startswith("environment."):
            lines.setdefault(f"variable {key.partition('.')[2]} changed", [])
        else:
            text = f"{key} {_shown(key, old.get(path))} -> {_shown(key, new.get(path))}"
            lines.setdefault(text, []).append("" if only else owner)
    return [_counted(text, owners) for text, owners in lines.items()]


def _shown(key: str, value: object) -> str:
    if value is None:
        return "nothing"
    if key == "memory_limit" and isinstance(value, int):
        return f"{value / 2**30:.3g} GiB"
    return str(value)


def _counted(text: str, owners: list[str]) -> str:
    if len(owners) > 1:
        return f"{text} ({len(owners)} workers)"
    return f"{owners[0]}.{text}" if owners and owners[0] else text


def _flat(
    value: Mapping[str, object], owner: str = "", prefix: str = ""
) -> Iterable[tuple[tuple[str, str], object]]:
    """Yield every value with its path: the worker that it belongs to, if any, and its key."""
    for key, item in value.items():
        path = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flat(cast("Mapping[str, object]", item), owner, f"{path}.")
        elif isinstance(item, (list, tuple)) and key == "workers":
            for element in cast("list[Mapping[str, object]]", item):
                yield from _flat(element, str(element.get("name")))
        else:
            yield (owner, path), item
