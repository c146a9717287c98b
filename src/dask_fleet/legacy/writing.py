"""A fleet that was read from folders as the text of fleet.yaml, with what is to be decided."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from dask_fleet.spec.ranges import fold

if TYPE_CHECKING:
    from dask_fleet.legacy.grouping import Group
    from dask_fleet.legacy.joined import Joined

__all__ = ["fleet_text"]

_BARE = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null"))


def fleet_text(name: str, joined: Joined, folders: Iterable[str]) -> str:
    """Return the text of fleet.yaml.

    Parameters
    ----------
    name : str
        Name of the fleet.
    joined : Joined
        What was found.
    folders : iterable of str
        Where it was found, to be said in the text.
    """
    return "\n".join((*_head(folders), f"name: {_scalar(name)}", *_body(joined))) + "\n"


def _head(folders: Iterable[str]) -> Iterator[str]:
    yield "# Written by `dask fleet import` from:"
    yield from (f"#   {folder}" for folder in folders)
    yield '# Lines with "decide" wait for you. Then: dask fleet check, dask fleet plan.'


def _body(joined: Joined) -> Iterator[str]:
    yield from _hosts(joined)
    yield ""
    if not joined.scheduler:
        yield "# decide: no scheduler was found in the folders; which host has it?"
    yield "scheduler:"
    yield f"  host: {_scalar(joined.scheduler or next(iter(joined.addresses)))}"
    yield f"  port: {joined.port}"
    yield f"  dashboard: {joined.dashboard}"
    yield ""
    if not joined.groups:
        yield "# decide: no worker was found in the folders."
        yield "workers: {}"
    else:
        yield "workers:"
        for one in joined.groups:
            yield from _group(one, joined.named)
    yield ""
    yield "runtime: compose"
    yield "environment:"
    if joined.software.build:
        yield f"  build: {json.dumps(joined.software.build)}"
    else:
        yield f"  image: {json.dumps(joined.software.image)}"
    if joined.software.interpreter:
        yield "  # decide: where the Python of the conda environment lies in the image."
        yield f"  interpreter: {_scalar(joined.software.interpreter)}"
    yield from _containers(joined)
    if joined.directory:
        yield ""
        yield "directories:"
        yield f"  work: {_scalar(joined.directory)}"
    yield from _mapping("config", joined.config)
    yield from _mapping("variables", joined.variables)
    if joined.tls:
        yield ""
        yield "tls: true"


def _hosts(joined: Joined) -> Iterator[str]:
    yield ""
    yield "# decide: how each host is reached with SSH, if ~/.ssh/config does not say it, such as"
    yield "# `ssh: {user: debian, sudo: true}`. Who may call docker there needs root or sudo."
    yield "hosts:"
    for host, address in joined.addresses.items():
        yield f"  {_scalar(host)}:"
        if not address:
            yield "    # decide: the address that the other hosts dial; a name must be known in"
            yield "    # containers too. Nothing in the folders says it."
        yield f"    address: {_scalar(address or host)}"
        yield "    ssh: {}"


def _group(group: Group, named: tuple[str, int] | None) -> Iterator[str]:
    yield f"  {group.name}:"
    yield f"    hosts: [{', '.join(json.dumps(one) for one in fold(group.hosts))}]"
    if group.per_host > 1:
        yield f"    per_host: {group.per_host}"
    yield f"    nthreads: {group.nthreads or 'auto'}"
    memory = json.dumps(_size(group.memory)) if group.memory else "auto"
    yield f"    memory_limit: {memory}"
    if group.resources:
        pairs = ", ".join(f"{json.dumps(k)}: {_number(v)}" for k, v in group.resources.items())
        yield f"    resources: {{{pairs}}}"
    if named is not None:
        yield f"    prefix: {_scalar(named[0])}"
    first = group.first + (named[1] - 1 if named is not None else 0)
    if first != 1:
        yield f"    first: {first}"
    worker, nanny, dashboard = group.ports
    ports = f"worker: {worker}, nanny: {nanny}, dashboard: {dashboard}"
    yield f"    ports: {{{ports}, step: {group.step}, per: {group.per}}}"


def _size(number: int) -> str:
    """Return a size that is read as exactly this number of bytes."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("GB", 10**9), ("MB", 10**6)):
        if number % factor == 0:
            return f"{number // factor} {unit}"
    return str(number)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _containers(joined: Joined) -> Iterator[str]:
    if not (joined.user or joined.nofile or joined.volumes or joined.limit_cpus):
        return
    yield ""
    yield "containers:"
    if joined.user:
        yield f"  user: {json.dumps(joined.user)}"
    if joined.nofile:
        yield f"  nofile: {joined.nofile}"
    if joined.volumes:
        yield "  volumes:"
        yield from (f"    - {_quoted(one)}" for one in joined.volumes)
    if joined.mounts:
        yield "  mounts:"
        for name, (kind, device, options) in joined.mounts.items():
            what = f"type: {_quoted(kind)}, device: {_quoted(device)}, options: {_quoted(options)}"
            yield f"    {_scalar(name)}: {{{what}}}"
    if joined.limit_cpus:
        yield "  limit_cpus: true"


def _mapping(key: str, values: Mapping[str, object]) -> Iterator[str]:
    if values:
        yield ""
        yield f"{key}:"
        for name, value in values.items():
            if isinstance(value, str):
                yield f"  {_scalar(name)}: {_quoted(value)}"
            else:
                yield f"  {_scalar(name)}: {json.dumps(value)}"


def _quoted(text: str) -> str:
    """Return text in quotes; a reference that was made on purpose stays one."""
    if re.fullmatch(r"\$\{[A-Za-z_]\w*:-\}", text):
        return json.dumps(text)
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)


def _scalar(text: str) -> str:
    """Return text with quotes where YAML needs them."""
    if _BARE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text)
