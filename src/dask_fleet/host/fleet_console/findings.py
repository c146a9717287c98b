"""What a scheduler can see that is wrong: findings as the doctor has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

__all__ = ["findings"]

Row = Mapping[str, Any]

_GIB = 1 << 30
#: From here on Dask pauses a worker, if it is not configured otherwise.
_MEMORY_SHARE = 0.8
_HOST_MEMORY_SHARE = 0.05
_DISK_WARNING, _DISK_ERROR = 2 * _GIB, _GIB // 4
_CLOCK_WARNING, _CLOCK_ERROR = 1.0, 60.0
_CERTIFICATE = timedelta(days=30)
_BUSY_SCHEDULER = 90
_NAMES = 4
_UP = "`dask fleet up` writes it again"


def findings(
    rows: Sequence[Row], hosts: Sequence[Row], last_change: Row | None, faults: Iterable[str]
) -> list[dict[str, str]]:
    """Return every finding, errors first.

    Parameters
    ----------
    rows, hosts
        Every process and every host.
    last_change
        The last entry of the history.
    faults
        Why files of the fleet cannot be read.
    """
    found = [
        *(
            _finding("inventory", "warning", "dask-scheduler", one, "dask fleet up")
            for one in faults
        ),
        *_absent(rows),
        *_wrong(rows),
        *_versions(rows),
        *_memory(rows, hosts),
        *_disks(hosts),
        *_clocks(hosts),
        *_certificates(hosts),
        *_change(last_change),
    ]
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda one: rank[one["severity"]])


def _finding(check: str, severity: str, place: str, fault: str, remedy: str) -> dict[str, str]:
    return {
        "check": check,
        "severity": severity,
        "place": place,
        "fault": fault,
        "remedy": remedy,
    }


def _named(rows: Sequence[Row]) -> str:
    names = [row["name"] for row in rows]
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _by(rows: Iterable[Row], key: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def _absent(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    for host, missing in _by((r for r in rows if r["state"] == "missing"), "host").items():
        yield _finding(
            "workers",
            "error",
            host,
            f"{_named(missing)}: declared and not registered",
            "`dask fleet status` says why, `dask fleet up` brings them back",
        )
    for host, silent in _by((r for r in rows if r["state"] == "silent"), "host").items():
        yield _finding(
            "workers",
            "error",
            host,
            f"nothing was heard of {_named(silent)} for {max(r['silent'] for r in silent)} s",
            "see whether the host answers: `dask fleet status`",
        )


def _wrong(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    for row in rows:
        if row["state"] == "undeclared":
            yield _finding(
                "workers",
                "warning",
                row["host"] or row["address"],
                f"{row['name']} at {row['address']}: {row['fault']}",
                "it computes for whoever started it; declare it, or end it there",
            )
        elif row["fault"] and row["state"] != "missing":
            yield _finding(
                "ports", "error", row["name"], row["fault"], f"`dask fleet restart {row['name']}`"
            )
    for state, alike in _by((r for r in rows if r["role"] == "worker"), "state").items():
        if state not in ("running", "missing", "silent", "undeclared", "wrong"):
            remedy = (
                "it goes on when memory is free; a higher `memory_limit` helps"
                if state == "paused"
                else "it leaves, or comes; wait"
            )
            yield _finding("workers", "warning", _named(alike), f"state is {state}", remedy)


def _versions(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    skewed: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        for one in row["skew"]:
            skewed.setdefault((one["package"], one["has"], one["wanted"]), []).append(row)
    for (package, has, wanted), alike in skewed.items():
        yield _finding(
            "versions",
            "error",
            _named(alike),
            f"{package} is {has}, {wanted} is declared or what the scheduler has",
            "`dask fleet up` makes them the same",
        )
    outdated = [row for row in rows if row["outdated"]]
    if outdated:
        yield _finding(
            "versions",
            "warning",
            _named(outdated),
            f"runs in the environment {outdated[0]['environment']}, another is declared",
            "`dask fleet up` replaces it",
        )


def _memory(rows: Sequence[Row], hosts: Sequence[Row]) -> Iterator[dict[str, str]]:
    for row in rows:
        limit = row["memory_limit"]
        if limit and row["memory"] > _MEMORY_SHARE * limit:
            yield _finding(
                "memory",
                "warning",
                row["name"],
                f"it has {row['memory'] / limit:.0%} of its memory in use",
                "smaller chunks, fewer threads, or a higher `memory_limit`",
            )
        if row["role"] == "scheduler" and row["cpu"] >= _BUSY_SCHEDULER:
            yield _finding(
                "scheduler",
                "warning",
                row["name"],
                f"it uses {row['cpu']} % of a CPU, and has one",
                "fewer and larger tasks",
            )
    spilling = [row for row in rows if row["spilled"]]
    if spilling:
        size = sum(row["spilled"] for row in spilling)
        yield _finding(
            "spill",
            "note",
            _named(spilling),
            f"{size / _GIB:.2f} GiB are spilled to disk, which is slow",
            "smaller chunks, more workers, or a higher `memory_limit`",
        )
    for host in hosts:
        free = host["memory"] - host["memory_used"]
        if host["memory"] and free < _HOST_MEMORY_SHARE * host["memory"]:
            yield _finding(
                "memory",
                "warning",
                host["name"],
                f"the host has {free / _GIB:.1f} GiB of memory left",
                "lower `memory_limit` or `per_host`, or see what else runs there",
            )


def _disks(hosts: Sequence[Row]) -> Iterator[dict[str, str]]:
    for host in hosts:
        if host["disk"] and host["disk_free"] < _DISK_WARNING:
            yield _finding(
                "disk",
                "error" if host["disk_free"] < _DISK_ERROR else "warning",
                host["name"],
                f"{host['disk_free'] / _GIB:.2f} GiB are free where workers spill",
                "free some, or name another disk with `directories: {work: ...}`",
            )


def _clocks(hosts: Sequence[Row]) -> Iterator[dict[str, str]]:
    for host in hosts:
        ahead = host["clock"]
        if ahead is not None and abs(ahead) >= _CLOCK_WARNING:
            yield _finding(
                "clocks",
                "error" if abs(ahead) >= _CLOCK_ERROR else "warning",
                host["name"],
                f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the "
                "scheduler's",
                "have both keep time: `timedatectl set-ntp true`, or install chrony",
            )


def _certificates(hosts: Sequence[Row]) -> Iterator[dict[str, str]]:
    now = datetime.now(timezone.utc)
    for host in hosts:
        if host["certificate"] is None:
            continue
        ends = datetime.fromisoformat(host["certificate"])
        if ends - now <= _CERTIFICATE:
            over = ends <= now
            yield _finding(
                "certificates",
                "error" if over else "warning",
                host["name"],
                f"its certificate {'has expired' if over else 'expires'} on {ends:%Y-%m-%d}",
                "`dask fleet up` renews it",
            )


def _change(last: Row | None) -> Iterator[dict[str, str]]:
    if last is not None and last["result"] == "failed":
        yield _finding(
            "history",
            "warning",
            ", ".join(last["hosts"][:_NAMES]) or "dask-scheduler",
            f"the last `{last['what']}` failed: {last['fault']}",
            "`dask fleet up` goes on from there",
        )
