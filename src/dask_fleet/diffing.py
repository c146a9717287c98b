"""What files would change, line by line."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from dask_fleet.actions import Action, Plan, RemoveDoor, UpdateDoor, WriteFiles
from dask_fleet.command import script
from dask_fleet.masking import masked, masked_lines
from dask_fleet.proxy.door_files import CERTIFICATE, KEY, SITE, door_directory
from dask_fleet.proxy.door_look import read_door

if TYPE_CHECKING:
    from dask_fleet.fleet import Fleet
    from dask_fleet.target import ManagedFile

__all__ = ["differences"]

_MARK = "#### "

_READ = """\
for path in "$@"; do
  printf '#### %s\\n' "$path"
  if [ -f "$path" ]; then cat "$path"; fi
  echo
done
"""


async def differences(fleet: Fleet, plan: Plan) -> str:
    """Return a unified diff of every file that a plan writes or removes.

    Keys are left out, and so are unit files, which hold the values of environment variables: both
    may be secret. The plan itself says what differs in a unit. Of settings, the values whose names
    tell that they are secret are masked. Who may come in at a door is no part of a plan.
    """
    every = [action for phase in plan.phases for action in phase]
    texts = await asyncio.gather(*(_action(fleet, action) for action in every))
    return "".join(texts)


async def _action(fleet: Fleet, action: Action) -> str:
    if isinstance(action, WriteFiles):
        return await _files(fleet, action)
    if isinstance(action, UpdateDoor):
        return await _door(fleet, action.host, dict(action.door.files))
    return await _door(fleet, action.host, {}) if isinstance(action, RemoveDoor) else ""


async def _door(fleet: Fleet, host: str, will: Mapping[str, ManagedFile]) -> str:
    """Return the diff of the files of a door; nothing if ``will`` is what is there."""
    access = fleet.hosts[host]
    places, transport = access.places, access.transport
    seen = await transport.run(script(access.proxy.look(places, wanted=False)))
    there = read_door(seen.stdout.splitlines()).files
    wanted = {name: file.digest for name, file in will.items()}
    names = [name for name in {**wanted, **there} if wanted.get(name) != there.get(name)]
    lines: list[str] = []
    for name in names:
        path, text = f"{door_directory(places)}/{name}", _text(will.get(name))
        if name in (CERTIFICATE, KEY):  # somebody may have put both into one file
            becomes = "differs" if name in will else "is removed"
            lines.append(f"# {host}:{path} {becomes}; it may hold secrets\n")
        elif name == SITE:
            outcome = await transport.run(access.proxy.site(places))
            path, _, was = outcome.stdout.partition("\n")
            lines.extend(_shown(host, path, was, text))
        else:
            outcome = await transport.run(script(_READ, path))
            lines.extend(_shown(host, path, _contents(outcome.stdout, [path])[path], text))
    return "".join(lines)


def _text(file: ManagedFile | None) -> str:
    return file.content.decode(errors="replace") if file else ""


async def _files(fleet: Fleet, action: WriteFiles) -> str:
    shown = [file for file in action.files if not _hidden(file)]
    paths = [*(file.path for file in shown), *(p for p in action.removed if not _secret_path(p))]
    outcome = await fleet.hosts[action.host].transport.run(script(_READ, *paths))
    there = _contents(outcome.stdout, paths)
    will = {file.path: _text(file) for file in shown}
    lines: list[str] = []
    for path in paths:
        lines.extend(_shown(action.host, path, there.get(path, ""), will.get(path, "")))
    hidden = [file.path for file in action.files if _hidden(file)]
    lines.extend(f"# {action.host}:{path} differs; it may hold secrets\n" for path in hidden)
    gone = [path for path in action.removed if _secret_path(path)]
    lines.extend(f"# {action.host}:{path} is removed; it may hold secrets\n" for path in gone)
    return "".join(lines)


def _hidden(file: ManagedFile) -> bool:
    return file.secret or _secret_path(file.path)


def _secret_path(path: str) -> bool:
    return "/units/" in path or path.endswith("-key.pem")


def _contents(text: str, paths: Iterable[str]) -> dict[str, str]:
    """Return what the script printed, by path; a file may hold a line that looks like a mark."""
    found: dict[str, str] = {}
    awaited = list(paths)
    path = ""
    for line in text.splitlines(keepends=True):
        if awaited and line == f"{_MARK}{awaited[0]}\n":
            path = awaited.pop(0)
            found[path] = ""
        elif path:
            found[path] += line
    # The script ends each file with one more line end.
    return {path: content.removesuffix("\n") for path, content in found.items()}


def _shown(host: str, path: str, was: str, will: str) -> Iterator[str]:
    """Yield the lines of a diff of what may be shown; at least one if the contents differ."""
    if was == will:
        return
    both = _settings(was, will) if path.endswith("/dask.yaml") else _texts(path, was, will)
    if both is None:
        yield f"# {host}:{path} differs; it cannot be read, and may hold secrets\n"
        return
    lines = list(_diff(host, path, *both))
    yield from lines or [f"# {host}:{path} differs in what is not shown\n"]


def _settings(was: str, will: str) -> tuple[str, str] | None:
    """Return Dask configuration of both sides without secrets; None if a side is none."""
    import yaml

    try:
        old, new = (yaml.safe_load(text) if text else None for text in (was, will))
    except yaml.YAMLError:
        return None
    if not all(side is None or isinstance(side, dict) for side in (old, new)):
        return None
    before, after = (
        "" if side is None else yaml.safe_dump(side, sort_keys=False)
        for side in (masked(old), masked(new, old))
    )
    return before, after


def _texts(path: str, was: str, will: str) -> tuple[str, str]:
    if "/launcher/" in path or path.endswith(".pem"):
        return was, will  # ours, and public
    return masked_lines(was), masked_lines(will)


def _diff(host: str, path: str, was: str, will: str) -> Iterator[str]:
    lines = difflib.unified_diff(
        was.splitlines(keepends=True),
        will.splitlines(keepends=True),
        f"{host}:{path}" if was else "/dev/null",
        f"{host}:{path}" if will else "/dev/null",
    )
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n"
