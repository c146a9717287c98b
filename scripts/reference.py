"""Write docs/reference.md from the models of fleet.yaml and from the commands.

``make docs`` runs it; a unit test fails when the committed file is not what it would write.
"""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from typing_extensions import get_type_hints

from dask_fleet.cli import fleet
from dask_fleet.errors import EXIT_CODES
from dask_fleet.spec import fields as f
from dask_fleet.spec import fields_containers as c
from dask_fleet.spec import fields_door as d
from dask_fleet.spec import model_door as door
from dask_fleet.spec.model import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

__all__ = ["REFERENCE", "render"]

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"

_HEAD = """\
# Reference

<!-- Written by `make docs` from src/dask_fleet/spec/model.py and src/dask_fleet/cli. -->

[fleet.yaml](#fleetyaml) · [commands](#commands) · [exit codes](#exit-codes)

## fleet.yaml

The file is YAML. Unknown keys, keys that stand twice and values of the wrong kind are errors.
`dask fleet check` lists them with file, line, key, fault and remedy; `dask fleet schema` prints a
JSON Schema for editors.

**Values.** A value may be `${VAR}` or `${VAR:-default}` from the environment of whoever runs the
command; `$$` is a dollar sign. Sizes are a number with a unit: `4 GiB` (2^30 bytes each), `500 MB`
(10^6 bytes each). `0010` is ten and `12:30` is text; versions and values of variables stand in
quotes.

**Ranges.** `dask-worker-[0001-0004]` stands for four names and `vm-[1-3,7]` for `vm-1`, `vm-2`,
`vm-3` and `vm-7`. The width of the numbers is kept. Put a range in quotes where YAML would take
the brackets for a list.

**What a change needs** of a fleet that is up:

| word | meaning |
| --- | --- |
| nothing | the next command simply sees the new value |
| reload | files are written; no process restarts |
| restart | the units concerned are restarted |
| machine | it is another host, or another fleet |
"""

_WORDS: tuple[tuple[Any, str], ...] = (
    (f.Text, "text"),
    (f.Flag, "true or false"),
    (f.Whole, "whole number"),
    (f.FleetName, "name"),
    (f.GroupName, "name"),
    (f.Prefix, "name"),
    (f.UserName, "name"),
    (f.HostPattern, "host or range"),
    (f.AddressPattern, "address or range"),
    (f.Address, "address"),
    (f.Size, "size"),
    (f.MemoryLimit, "size or `auto`"),
    (f.Threads, "whole number, 1 to 1024, or `auto`"),
    (f.PortRange, "first and last port"),
    (f.Resources, "numbers by name"),
    (f.VariableName, "name"),
    (f.EnvironmentVariable, "text"),
    (f.Directory, "directory"),
    (f.Version, "version in quotes"),
    (f.Requirement, "package"),
    (f.Settings, "settings"),
    (door.DoorSection, "true, false or section"),
    (door.TlsSection, "`fleet`, `false` or section"),
    (door.LoginSection, "`none`, `users` or section"),
    (d.Listen, "port, or address and port"),
    (d.Network, "network or address"),
    (d.Url, "URL"),
    (d.Email, "e-mail address"),
    (c.Image, "name of an image"),
    (c.Owner, "`UID:GID`"),
    (c.Volume, "volume"),
    (c.VolumeName, "name"),
    (c.Folder, "absolute directory"),
)
"""Types of fields, and what people call them."""


def render() -> str:
    """Return the text of the reference."""
    parts = [_HEAD, *_sections(Spec, "")]
    parts.append(_commands())
    parts.append("## Exit codes\n")
    parts.append(_table(("code", "meaning"), [(f"`{code}`", text) for code, text in EXIT_CODES]))
    return "\n".join(parts)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the section of a model, then those of the models in it."""
    hints = get_type_hints(model, include_extras=True)
    title = f"`{path}`" if path else "The file"
    yield f"### {title}\n"
    yield f"{inspect.getdoc(model)}\n"
    rows = []
    inner: list[tuple[type[BaseModel], str]] = []
    for name, info in model.model_fields.items():
        below = _model_in(hints[name])
        if below is not None:
            dotted = f"{path}.{name}" if path else name
            keyed = get_origin(_plain(hints[name])) is dict
            inner.append((below, f"{dotted}.NAME" if keyed else dotted))
        extra = info.json_schema_extra
        needs = extra["needs"] if isinstance(extra, dict) else ""
        kind = _kind(hints[name]) + _bounds(info)
        rows.append((f"`{name}`", kind, _default(info), str(needs), info.description or ""))
    yield _table(("key", "type", "default", "a change needs", "meaning"), rows)
    for below, dotted in inner:
        yield from _sections(below, dotted)


def _plain(hint: Any) -> Any:
    """Return a type without ``None`` and without what only validates it."""
    if get_origin(hint) in (Union, types.UnionType):
        kept = [one for one in get_args(hint) if one is not type(None)]
        if len(kept) == 1:
            return _plain(kept[0])
    return hint


def _model_in(hint: Any) -> type[BaseModel] | None:
    hint = _plain(hint)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    return next(
        (found for one in get_args(hint) if (found := _model_in(one)) is not None),
        None,
    )


def _kind(hint: Any) -> str:
    hint = _plain(hint)
    for known, word in _WORDS:
        if hint == known:
            return word
    origin = get_origin(hint)
    if origin is Annotated:
        return _kind(get_args(hint)[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(hint))
    if origin is tuple:
        return f"list: {_kind(get_args(hint)[0])}"
    if origin is dict:
        key, value = get_args(hint)
        return f"{_kind(value)}, by {_kind(key)}"
    if _model_in(hint) is not None:
        return "section"
    raise TypeError(f"the reference has no word for {hint!r}: give it one in _WORDS")


def _bounds(info: FieldInfo) -> str:
    least = next((one.ge for one in info.metadata if hasattr(one, "ge")), None)
    most = next((one.le for one in info.metadata if hasattr(one, "le")), None)
    if least is None:
        return ""
    return f", {least} to {most}" if most is not None else f", {least} or more"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is None or value == ():
        return ""
    if isinstance(value, BaseModel):
        return "as below"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """Return a default as it would stand on one line of the file."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _commands() -> str:
    parent = click.Context(fleet, info_name="dask fleet", help_option_names=["-h", "--help"])
    parts = [
        "## Commands\n",
        "`dask fleet COMMAND` and `dask-fleet COMMAND` are the same. Options stand after the"
        " command.\n",
    ]
    for name in fleet.list_commands(parent):
        command = fleet.get_command(parent, name)
        if command is None:
            raise LookupError(f"the command line lists {name} and does not know it")
        parts.extend(_command(command, click.Context(command, info_name=name, parent=parent)))
    return "\n".join(parts)


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the section of a command, then those of the commands below it."""
    path = context.command_path
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"### `{path.removeprefix('dask fleet ')}`\n"
    yield f"```\n{path} {usage}\n```\n"
    yield _help(command.help or "")
    records = [
        record
        for param in command.get_params(context)
        if isinstance(param, click.Option)
        and (record := param.get_help_record(context)) is not None
    ]
    rows: list[tuple[str, ...]] = [(f"`{option}`", text) for option, text in records]
    yield _table(("option", "meaning"), rows)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _command(below, click.Context(below, info_name=name, parent=context))


def _help(text: str) -> str:
    """Return a help text in Markdown; what click must not wrap becomes a block of code."""
    parts: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        first, _, rest = paragraph.partition("\n")
        if first.strip() in ("\b", "\\b"):
            parts.append(f"```\n{inspect.cleandoc(rest)}\n```\n")
        else:
            parts.append(f"{paragraph}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    REFERENCE.write_text(render(), encoding="utf-8")
    click.echo(f"wrote {REFERENCE.relative_to(Path.cwd())}")
