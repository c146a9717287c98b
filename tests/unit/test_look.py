"""A look at a host: what real output says, and that no output makes the reading fall over.

The recordings in ``data`` are those of the real script on a real fleet with one worker; only
paths and names were made anonymous and listeners of others left out.
"""

# ruff: noqa: E501 - cases are data, one to a line

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_fleet.look import look_script, read_look
from dask_fleet.observed import HostObserved, Listener
from dask_fleet.places import Places
from dask_fleet.runtimes.supervisor import SupervisorRuntime

DATA = Path(__file__).parent / "data"
STATE = "/home/operator/.local/state/dask-fleet/fleets/rec"
RUNTIME = SupervisorRuntime("/usr/bin/python3")
UP = (DATA / "look_up.txt").read_text(encoding="utf-8")
KILLED = (DATA / "look_killed.txt").read_text(encoding="utf-8")
ABSENT = (DATA / "look_absent.txt").read_text(encoding="utf-8")
PORTS = {47786, 47787, 47010, 47011, 47012}
NAMES = ["dask-scheduler", "dask-worker-0001", "dask-workers-default"]


def read(text: str) -> HostObserved:
    return read_look("here", text, RUNTIME)


def test_a_fleet_that_is_up():
    seen = read(UP)
    assert seen.host == "here"
    assert seen.exists
    assert seen.facts["cpus"] == "2"
    assert seen.facts["memory_kib"] == "24684092"
    assert seen.environments == {"533efdd057cbb983"}
    assert sorted(path.removeprefix(f"{STATE}/etc/") for path in seen.files) == [
        "dask.yaml",
        "launcher/launch.py",
        "programs/dask-scheduler.conf",
        "programs/dask-workers-default.conf",
        "supervisord.conf",
        "units/dask-scheduler.json",
        "units/dask-workers-default.json",
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in seen.files.values())
    assert {path: unit["name"] for path, unit in seen.unit_files.items()} == {
        f"{STATE}/etc/units/{name}.json": name for name in ("dask-scheduler", NAMES[2])
    }
    assert {listener.port for listener in seen.listeners} == PORTS
    assert {listener.address for listener in seen.listeners} == {"127.0.0.1"}


def test_the_script_reads_what_identifies_a_host():
    places = Places.below("/nowhere", "/nowhere", "sst")
    command = look_script(places, RUNTIME)
    said = subprocess.run(command.argv, input=command.stdin, capture_output=True, check=True)
    facts = read(said.stdout.decode()).facts
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert facts["boot_id"] == boot_id
    python = shutil.which("/usr/bin/python3") or "python3"
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
    assert f"Python {facts['python']}\n" == version


def test_what_processes_say_of_themselves():
    records = read(UP).records
    assert list(records) == NAMES
    assert all(record.alive for record in records.values())
    worker = records["dask-worker-0001"]
    assert (worker.unit, worker.role, worker.digest) == (NAMES[2], "worker", "4f049c875887650e")
    assert worker.versions["xcube-core"] == "1.14.1"
    assert worker.memory == 18116 * 4096
    digests = {name: records[name].digest for name in ("dask-scheduler", NAMES[2])}
    units = read(UP).unit_files.values()
    assert digests == {unit["name"]: unit["digest"] for unit in units}


def test_what_supervisord_says():
    runtime = read(UP).runtime
    assert (runtime.alive, runtime.pid) == (True, 6386)
    assert [(u.name, u.state, u.pid) for u in runtime.units.values()] == [
        ("dask-scheduler", "running", 6395),
        ("dask-workers-default", "running", 6396),
    ]
    assert {unit.pid for unit in runtime.units.values()} <= {
        record.pid for record in read(UP).records.values()
    }


def test_a_host_without_the_fleet():
    seen = read(ABSENT)
    assert not seen.exists
    assert (seen.files, seen.unit_files, seen.records) == ({}, {}, {})
    assert (seen.runtime.alive, seen.runtime.pid, seen.runtime.units) == (False, 0, {})
    assert seen.environments == {"533efdd057cbb983"}
    assert float(seen.facts["clock"]) > float(seen.facts["boot_time"])


def test_supervisord_was_killed_and_its_units_live_on():
    seen = read(KILLED)
    assert (seen.runtime.alive, seen.runtime.pid, seen.runtime.units) == (False, 0, {})
    assert [name for name, record in seen.records.items() if record.alive] == NAMES
    assert {listener.port for listener in seen.listeners} == PORTS


def with_lines(section: str, *lines: str) -> HostObserved:
    """Return the look of a fleet that is up, one section replaced."""
    head, rest = UP.split(f"#### {section}\n")
    tail = rest[rest.index("#### ") :] if "#### " in rest else ""
    return read("\n".join([head + f"#### {section}", *lines, tail]))


RECORD = {
    "name": "dask-worker-0001",
    "unit": "dask-workers-default",
    "role": "worker",
    "digest": "4f049c875887650e",
    "versions": {},
    "pid": 6477,
    "started": 1795438954.9,
    "start_ticks": 341880,
    "restarts": 0,
}


def stat(state: str = "S", began: int = 341880, name: str = "dask-worker-000") -> str:
    """Return a line of /proc/PID/stat (proc(5)) with 100 pages in memory."""
    fields = [state, *"0" * 18, str(began), "0", "100", *"0" * 28]
    return f"stat 6477 ({name}) {' '.join(fields)}"


@pytest.mark.parametrize(
    ("record", "kernel", "alive"),
    [
        ({}, stat(), True),
        ({}, stat("R"), True),
        ({}, stat("T"), True),
        ({}, stat("Z"), False),
        ({}, stat("X"), False),
        ({}, "", False),
        ({}, stat(began=341881), False),
        ({}, stat(name="a) S 1 (b"), True),
        ({}, "stat 6477 (dask", False),
        ({}, "stat 6477 (dask-worker-000) S 1 2", False),
        # The clock was set by a day after the start: that changes no ticks.
        ({"started": 1795438954.9 - 86400}, stat(), True),
        # A record without ticks: it must have begun before it was written.
        ({"start_ticks": None}, stat(), True),
        ({"start_ticks": None}, stat(began=342700), False),
        ({"start_ticks": None, "started": 1795438954.9 - 60}, stat(), False),
    ],
    ids=[
        "sleeps", "runs", "is stopped", "zombie", "dead", "no process", "pid of a later process", "odd name",
        "cut line", "short line", "clock was set", "no ticks", "no ticks, later process", "no ticks, much later",
    ],
)  # fmt: skip
def test_a_record_is_alive_only_with_its_own_process(
    record: dict[str, object], kernel: str, alive: bool
):
    seen = with_lines("records", json.dumps(RECORD | record), kernel)
    found = seen.records["dask-worker-0001"]
    assert found.alive is alive
    assert found.memory == (409600 if alive else 0)


@pytest.mark.parametrize("key", [key for key in RECORD if key not in ("versions", "start_ticks")])
@pytest.mark.parametrize("value", ["missing", None, [], "x y"])
def test_a_record_that_lacks_something_counts_as_absent(key: str, value: object):
    broken = {name: v for name, v in RECORD.items() if name != key}
    if value != "missing":
        broken[key] = value  # type: ignore[assignment]
    other = RECORD | {"name": "dask-scheduler", "pid": 6395}
    seen = with_lines("records", json.dumps(broken), stat(), "", json.dumps(other), stat())
    assert "dask-scheduler" in seen.records
    if value == "missing" or key in ("pid", "started", "restarts"):
        assert list(seen.records) == ["dask-scheduler"]


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "null", '"text"', "{}", '{"name": "dask-w', "stat", "\x00\ufffd", json.dumps(RECORD)[:80], "stat cpu 1 2 3"],
)  # fmt: skip
@pytest.mark.parametrize("section", ["records", "units", "files", "listeners", "facts"])
def test_a_corrupted_line_spoils_no_other(section: str, line: str):
    seen = with_lines(section, line)
    for other in {"records", "files", "units", "listeners"} - {section}:
        name = "unit_files" if other == "units" else other
        assert getattr(seen, name) == getattr(read(UP), name) or section == "facts"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["/a/units/x.json", '{"digest": "1"}'], {"/a/units/x.json": {"digest": "1"}}),
        (["/a/units/x.json", "", "", "/a/units/y.json", "{}"], {"/a/units/x.json": {}, "/a/units/y.json": {}}),
        (["/a/units/x.json", "{", '  "digest": "1"', "}"], {"/a/units/x.json": {}}),
        (["/a/units/x.json", "[1]"], {"/a/units/x.json": {}}),
        (["/a/units/x.json"], {"/a/units/x.json": {}}),
    ],
    ids=["whole", "empty", "over several lines", "a list", "cut off"],
)  # fmt: skip
def test_unit_files_that_somebody_edited(lines: list[str], expected: dict[str, object]):
    assert with_lines("units", *lines).unit_files == expected


def test_paths_with_odd_characters():
    digest = "ab" * 32
    seen = with_lines(
        "files",
        f"{digest}  /x/two  spaces",
        f"{digest}  /x/\u2028 and \x85 and \x0c",
        f"\\{digest}  /x/line\\nfeed and back\\\\slash",
        f"{digest} */x/binary",
        f"{digest[:20]}",
        f"{digest}",
    )
    assert list(seen.files) == [
        "/x/two  spaces",
        "/x/\u2028 and \x85 and \x0c",
        "/x/line\nfeed and back\\slash",
        "/x/binary",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0100007F:2332 1", Listener("127.0.0.1", 9010, 1)),
        ("00000000:0016 2", Listener("0.0.0.0", 22, 2)),
        ("A601A8C0:2252 3", Listener("192.168.1.166", 8786, 3)),
        (f"{'0' * 32}:2253 4", Listener("::", 8787, 4)),
        (f"{'0' * 24}01000000:2253 5", Listener("::1", 8787, 5)),
        ("0000000000000000FFFF00000100007F:2253 6", Listener("127.0.0.1", 8787, 6)),
        ("B80D01200000000000000000010000FF:FFFF 7", Listener("2001:db8::ff00:1", 65535, 7)),
        ("0100007F:2332", None),
        ("0100007F 1", None),
        ("0100:2332 1", None),
        ("", None),
    ],
)
def test_listeners(line: str, expected: Listener | None):
    assert with_lines("listeners", line).listeners == ((expected,) if expected else ())


def test_output_that_is_cut_off_anywhere_is_read():
    whole = read(UP)
    for end in range(0, len(UP), 97):
        seen = read(UP[:end])
        assert set(seen.records) <= set(whole.records)
        assert set(seen.files.values()) <= set(whole.files.values())
        assert not seen.runtime.alive


@given(st.text())
def test_any_output_is_read(text: str):
    read(text)
    sections = ("facts", "files", "units", "environments", "records", "listeners", "runtime")
    read("".join(f"#### {section}\n{text}\n" for section in sections))


def test_the_script_asks_in_the_right_places_whatever_their_names():
    places = Places.below('/it\'s a "home" $HOME', "/data;rm -rf", "sst")
    text = look_script(places, RUNTIME).stdin.decode()
    assert """state='/it'"'"'s a "home" $HOME/fleets/sst'""" in text
    assert "environments='/data;rm -rf/environments'" in text


def test_reading_does_not_depend_on_the_order_of_sections():
    parts = ["#### " + part for part in UP.split("#### ")[1:]]
    assert read("".join(reversed(parts))) == replace(read(UP))


def test_addresses_of_interfaces():
    seen = read(
        UP + "\n#### interfaces\n"
        "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n"
        "2: host0@if7    inet 10.77.0.11/24 brd 10.77.0.255 scope global host0\n"
        "2: host0@if7    inet6 fe80::5054:ff:fe12:3456/64 scope link\n"
    )
    assert seen.addresses == {
        "lo": ("127.0.0.1",),
        "host0": ("10.77.0.11", "fe80::5054:ff:fe12:3456"),
    }
