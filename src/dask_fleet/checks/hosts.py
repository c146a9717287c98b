"""What the doctor finds about hosts: facts of hosts in, findings out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dask_fleet.checks.certificates import certificate_findings
from dask_fleet.checks.findings import Examined, Finding
from dask_fleet.runtimes.compose import ComposeRuntime
from dask_fleet.spec.ranges import fold
from dask_fleet.wheels.interpreters import choose, missing_python, unsuitable

if TYPE_CHECKING:
    from dask_fleet.environment import Environment
    from dask_fleet.layout import Layout
    from dask_fleet.observed import HostObserved, ProcessRecord

__all__ = ["declared_names", "host_findings", "scheduler_place"]

_SKEW_WARNING, _SKEW_ERROR = 1.0, 60.0
_FAR_SECONDS = 0.05
_GIB = 1 << 30
_STATE_BYTES, _WORK_BYTES, _ENVIRONMENT_BYTES = _GIB // 4, 2 * _GIB, 4 * _GIB
_FILES_SPARE, _FILES_PER_WORKER = 256, 10


def declared_names(layout: Layout) -> tuple[str, ...]:
    """Return the addresses of hosts that are names and not numbers, each once."""
    addresses = dict.fromkeys(
        address for host in layout.hosts.values() for address in (host.address, host.listen)
    )
    return tuple(address for address in addresses if not _is_number(address))


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def host_findings(
    layout: Layout, environment: Environment, hosts: Sequence[Examined]
) -> Iterator[Finding]:
    """Yield what is wrong with hosts, apart from ports and connections.

    Parameters
    ----------
    layout : Layout
        What is declared.
    environment : Environment
        What processes are to run in.
    hosts : sequence of Examined
        Those that answer.
    """
    yield from _clocks(layout, hosts)
    yield from _versions(environment, hosts)
    yield from _environments(environment, hosts)
    for host in hosts:
        yield from _disk(environment, host)
        yield from _memory(layout, host)
        yield from _files(layout, host)
        yield from _distance(host)
        yield from _systemd(layout, host)
        yield from _engine(layout, host)
        yield from certificate_findings(layout, host.seen)
    yield from _names(layout, hosts)


def _clocks(layout: Layout, hosts: Sequence[Examined]) -> Iterator[Finding]:
    centre = {one.host: one for one in hosts}.get(layout.scheduler.host)
    for one in hosts if centre is not None else ():
        if centre is None or one is centre:
            continue
        # The lower bounds are the tight ones: after a reading comes the way back alone, before
        # it the start of the program. The interval says whether there need be a skew at all.
        skew = one.clock[0] - centre.clock[0]
        certain = one.clock[0] > centre.clock[1] or one.clock[1] < centre.clock[0]
        if certain and abs(skew) >= _SKEW_WARNING:
            way = "ahead of" if skew > 0 else "behind"
            yield Finding(
                "clocks",
                "error" if abs(skew) >= _SKEW_ERROR else "warning",
                one.host,
                f"its clock is {abs(skew):.1f} s {way} that of {centre.host}",
                "have both keep time: `timedatectl set-ntp true`, or install chrony",
            )


def _alive(one: Examined) -> Iterator[ProcessRecord]:
    return (record for record in one.seen.records.values() if record.alive)


def _versions(environment: Environment, hosts: Sequence[Examined]) -> Iterator[Finding]:
    running = [(one, record) for one in hosts for record in _alive(one)]
    # What the scheduler has is what all others must have; without one, the first process.
    first = next(
        (r for _, r in running if r.role == "scheduler"), running[0][1] if running else None
    )
    for one, record in running:
        python = record.versions.get("python", "")
        declared = environment.python  # an image does not say which Python it has
        if python and declared and not _within(declared, python):
            yield Finding(
                "versions",
                "error",
                one.host,
                f"{record.name} runs Python {python}, declared is {declared}",
                "`dask fleet up` replaces it",
            )
        for package in ("dask", "distributed"):
            wanted = first.versions.get(package) if first else None
            if wanted and (has := record.versions.get(package)) != wanted:
                yield Finding(
                    "versions",
                    "error",
                    one.host,
                    f"{record.name} runs {package} {has or 'unknown'},"
                    f" {first.name if first else ''} runs {package} {wanted}",
                    "`dask fleet up` makes them the same",
                )
    for one in hosts:
        if not environment.image and not one.seen.has(environment):
            yield from _interpreters(environment, one)


def _interpreters(environment: Environment, one: Examined) -> Iterator[Finding]:
    """Yield why the environment cannot be made on a host, by what `up` would refuse it for."""
    software = one.seen.software
    if software is None:  # this machine, where uv brings along a Python that is missing
        if not (_within(environment.python, one.answer.python) or one.answer.other_python):
            yield Finding(
                "versions",
                "note",
                one.host,
                f"its own Python is {one.answer.python}, the environment has {environment.python}",
                f"if no other can be shipped, install python{environment.python}, or declare"
                " `environment: {python: ...}` with a version that all hosts have",
            )
        return
    errors = [unsuitable(one.host, software)]
    if choose(software.interpreters, environment.python) is None:
        errors.append(missing_python(one.host, environment.python, software.interpreters))
    for error in errors:
        if error is not None:
            fault = error.message.removeprefix(f"{one.host}: ")
            yield Finding("versions", "error", one.host, fault, error.remedy)


def _within(declared: str, version: str) -> bool:
    return version == declared or version.startswith(f"{declared}.")


def _environments(environment: Environment, hosts: Sequence[Examined]) -> Iterator[Finding]:
    have = [one for one in hosts if one.seen.has(environment)]
    for one in hosts:
        if have and one not in have:
            yield Finding(
                "versions",
                "warning",
                one.host,
                f"{environment.shown} is not there; {have[0].host} has it",
                "`dask fleet up` brings it" if environment.image else "`dask fleet up` ships it",
            )
        deployed = {str(unit.get("release")) for unit in one.seen.unit_files.values()}
        for digest in sorted(deployed - {environment.digest}):
            yield Finding(
                "versions",
                "warning",
                one.host,
                f"deployed is the environment {digest}, declared is {environment.digest}",
                "`dask fleet up` replaces it",
            )


def _bytes(seen: HostObserved, name: str) -> int | None:
    text = seen.facts.get(f"{name}_kib", "")
    return int(text) * 1024 if text.isdecimal() else None


def _disk(environment: Environment, one: Examined) -> Iterator[Finding]:
    state, shelf = _bytes(one.seen, "disk_free"), _bytes(one.seen, "environments_free")
    if state is not None and state < _WORK_BYTES:
        yield Finding(
            "disk",
            "error" if state < _STATE_BYTES else "warning",
            one.host,
            f"{state / _GIB:.2f} GiB are free where the fleet keeps its files and spills",
            "free some, or name another disk with `directories: {work: ...}`",
        )
    there = one.seen.has(environment)
    if shelf is not None and not there and shelf < _ENVIRONMENT_BYTES:
        yield Finding(
            "disk",
            "warning",
            one.host,
            f"{shelf / _GIB:.2f} GiB are free where the environment is yet to be made",
            f"free some: an environment may need {_ENVIRONMENT_BYTES // _GIB} GiB",
        )


def _memory(layout: Layout, one: Examined) -> Iterator[Finding]:
    there = _bytes(one.seen, "memory")
    limits = [w.memory_limit for w in layout.workers if w.host == one.host and w.memory_limit]
    if there is not None and sum(limits) > there:
        yield Finding(
            "memory",
            "error",
            one.host,
            f"its {len(limits)} workers may use {sum(limits) / _GIB:.1f} GiB,"
            f" it has {there / _GIB:.1f} GiB",
            "lower `memory_limit` or `per_host`, or say `memory_limit: auto`",
        )


def _files(layout: Layout, one: Examined) -> Iterator[Finding]:
    """Yield limits that are too low: Dask reckons with ten connections for each worker."""
    wanted = _FILES_SPARE + _FILES_PER_WORKER * len(layout.workers)
    alike: dict[tuple[int, int], list[str]] = {}
    for name, limit in one.answer.files.items():
        needs = wanted if name == layout.scheduler.name else _FILES_SPARE + 2 * len(layout.workers)
        if limit is not None and limit < needs:
            alike.setdefault((limit, needs), []).append(name)
    for (limit, needs), names in alike.items():
        fault = f"{', '.join(fold(names))} may open {limit} files, and may need {needs}"
        yield _too_few(one.host, fault)
    declared = layout.hosts[one.host].runtime == "supervisor"
    hard = one.answer.own_files
    if declared and not one.answer.files and hard is not None and hard < wanted:
        yield _too_few(one.host, f"a process may open {hard} files at most, and may need {wanted}")


def _too_few(host: str, fault: str) -> Finding:
    remedy = "raise `nofile` in /etc/security/limits.conf (LimitNOFILE of a unit), then restart"
    return Finding("files", "warning", host, fault, remedy)


def scheduler_place(layout: Layout) -> tuple[str, int]:
    """Return address and port at which workers reach the scheduler."""
    return layout.scheduler.contact, layout.scheduler.port


def _distance(one: Examined) -> Iterator[Finding]:
    seconds = one.answer.distance
    if seconds is not None and seconds >= _FAR_SECONDS:
        yield Finding(
            "distance",
            "warning",
            one.host,
            f"a connection to the scheduler takes {seconds * 1000:.0f} ms",
            "put the host nearer; Dask wants some milliseconds (a busy host answers late too)",
        )


def _engine(layout: Layout, one: Examined) -> Iterator[Finding]:
    runtime = one.seen.runtime
    if layout.hosts[one.host].runtime != "compose":
        return
    lacking = runtime.unfit or (() if runtime.alive else (ComposeRuntime.absent,))
    for fault, remedy in lacking:
        yield Finding("engine", "error", one.host, fault, remedy)


def _systemd(layout: Layout, one: Examined) -> Iterator[Finding]:
    state = one.answer.systemd
    if layout.hosts[one.host].runtime != "systemd":
        return
    if not one.seen.runtime.privileged:
        yield Finding(
            "systemd",
            "error",
            one.host,
            "units need root, and commands there do not run as root",
            "log in as root (`ssh: {user: root}`) or with sudo (`ssh: {sudo: true}`)",
        )
    if state == "running":
        return
    if state == "degraded":
        yield Finding(
            "systemd",
            "note",
            one.host,
            "systemd runs, but some unit of the host has failed",
            "`systemctl --failed` lists it",
        )
    elif state in ("starting", "initializing"):
        fault, remedy = "systemd is still starting the host", "wait, then run the doctor again"
        yield Finding("systemd", "warning", one.host, fault, remedy)
    else:
        yield Finding(
            "systemd",
            "error",
            one.host,
            f"systemd does not run as it should: {state}",
            "declare `runtime: supervisor`, or mend what `systemctl status` shows",
        )


def _names(layout: Layout, hosts: Sequence[Examined]) -> Iterator[Finding]:
    for one in hosts:
        if not one.answer.own_resolves:
            yield Finding(
                "names",
                "warning",
                one.host,
                f"its own name {one.answer.own_name} does not resolve there",
                f"put `127.0.1.1 {one.answer.own_name}` into its /etc/hosts",
            )
    unknown: dict[str, list[str]] = {}
    for name in declared_names(layout):
        by_answer: dict[tuple[str, ...], list[str]] = {}
        for one in hosts:
            by_answer.setdefault(one.answer.names.get(name, ()), []).append(one.host)
        for host in by_answer.pop((), []):
            unknown.setdefault(host, []).append(name)
        # A host's own 127.0.1.1 (Debian's /etc/hosts) counts: nobody else reaches what listens
        # there by that name.
        others = sorted(by_answer.items(), key=lambda entry: -len(entry[1]))
        for addresses, names in others[1:]:
            yield Finding(
                "names",
                "warning",
                ", ".join(names),
                f"{name} is {', '.join(addresses)} there,"
                f" but {', '.join(others[0][0])} on {others[0][1][0]}",
                "make DNS and /etc/hosts of all hosts agree, or declare the address as a number",
            )
    for host, names in unknown.items():
        yield Finding(
            "names",
            "error",
            host,
            f"{', '.join(fold(names))} cannot be resolved there",
            "mend its DNS or /etc/hosts, or declare addresses as numbers",
        )
