"""What supervisord is given, and what it answers.

Golden files lie in ``data/golden``; a change of them restarts every fleet, so it is a decision.
"""

from __future__ import annotations

import configparser
import shlex
import xmlrpc.client
from pathlib import Path

import pytest
from supervisor.datatypes import dict_of_key_value_pairs

from dask_fleet.command import UNBOUNDED
from dask_fleet.errors import FleetError
from dask_fleet.observed import LogLine
from dask_fleet.places import Places
from dask_fleet.runtimes.supervisor import SupervisorRuntime
from dask_fleet.target import UnitTarget
from tests.unit.simulator import target_of

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden"
RUNTIME = SupervisorRuntime("/opt/tool/bin/python", (("HOME", "/home/o p"), ("LANG", "C.UTF-8")))
PLACES = Places.below("/home/operator/state", "/home/operator/data", "sst")
ODD = Places.below("/srv/100 sure; 'really'", "/srv/data", "sst", logs="/var/log/a b#c")
ANSWER = (DATA / "look_up.txt").read_text(encoding="utf-8").split("#### runtime\n")[1]


def unit(places: Places, name: str = "dask-scheduler") -> UnitTarget:
    return UnitTarget(
        name=name,
        role="scheduler",
        digest="0123456789abcdef",
        command=(places.interpreter("feed"), "-u", f"{places.deployed}/launcher/launch.py", "u"),
        variables=(("DASK_CONFIG", f"{places.deployed}/dask.yaml"), ("PYTHONUNBUFFERED", "1")),
        path=f"{places.deployed}/units/{name}.json",
        declared={},
        ports=(),
        processes=(name,),
    )


def written(places: Places, *units: UnitTarget) -> dict[str, str]:
    return {
        file.path.removeprefix(f"{places.deployed}/"): file.content.decode()
        for file in RUNTIME.files(places, "sst", units)
    }


@pytest.mark.parametrize(("name", "places"), [("plain", PLACES), ("odd", ODD)])
def test_golden_files(name: str, places: Places):
    files = written(places, unit(places))
    assert list(files) == ["supervisord.conf", "programs/dask-scheduler.conf"]
    for path, text in files.items():
        golden = GOLDEN / f"{name}-{Path(path).name}"
        assert text == golden.read_text(encoding="utf-8"), f"compare with {golden}"


@pytest.mark.parametrize("state", ["/srv/a ;b", "/srv/a #b", "/srv/a%b", '/srv/a"b', "/srv/[ab]"])
def test_a_path_that_supervisord_would_read_otherwise_is_refused(state: str):
    with pytest.raises(FleetError, match="supervisord cannot be told of a path with"):
        written(Places.below(state, "/data", "sst"), unit(PLACES))


def read_by_supervisord(text: str) -> dict[str, dict[str, str]]:
    """Return the sections as supervisord's own parser reads them, ``%`` expanded."""
    from supervisor.options import UnhosedConfigParser

    parser = UnhosedConfigParser()
    parser.read_string(text)
    parser.expansions = {"here": "/nowhere"}
    return {s: {k: parser.saneget(s, k) for k in parser.options(s)} for s in parser.sections()}


def test_supervisord_reads_the_paths_that_we_mean():
    files = written(ODD, unit(ODD))
    main = read_by_supervisord(files["supervisord.conf"])
    assert main["unix_http_server"]["file"] == f"{ODD.state}/control.sock"
    assert main["supervisord"]["directory"] == ODD.state
    assert main["supervisord"]["logfile"] == f"{ODD.logs}/supervisord.log"
    # Patterns are parted at spaces, without quotes, and begin in the file's own directory.
    assert main["include"]["files"] == "programs/*.conf"
    program = read_by_supervisord(files["programs/dask-scheduler.conf"])["program:dask-scheduler"]
    assert tuple(shlex.split(program["command"])) == unit(ODD).command
    assert program["stdout_logfile"] == f"{ODD.logs}/dask-scheduler.log"
    assert dict_of_key_value_pairs(program["environment"]) == {
        "DASK_FLEET_DIGEST": "0123456789abcdef",
        **dict(unit(ODD).variables),
    }


def test_a_unit_is_restarted_whenever_it_exits_and_is_never_given_up():
    text = written(PLACES, unit(PLACES))["programs/dask-scheduler.conf"]
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    program = parser["program:dask-scheduler"]
    assert program["autorestart"] == "true"
    assert int(program["startretries"]) >= 1_000_000
    assert program["environment"].startswith('DASK_FLEET_DIGEST="0123456789abcdef",')


def test_any_change_of_a_unit_changes_its_definition():
    one, two = target_of(), target_of(launcher={"launch.py": b"other"})
    for path in ("dask-scheduler", "dask-workers-default"):
        name = f"programs/{path}.conf"
        (before,) = [f.digest for f in one.files if f.path.endswith(name)]
        (after,) = [f.digest for f in two.files if f.path.endswith(name)]
        assert before != after


def test_only_its_own_configuration_needs_a_restart_of_supervisord():
    assert RUNTIME.own_files(PLACES) == {f"{PLACES.deployed}/supervisord.conf"}


@pytest.mark.parametrize(("length", "fits"), [(98, True), (99, True), (100, False), (150, False)])
def test_a_socket_whose_path_is_too_long(length: int, fits: bool):
    # supervisord binds PATH.PID first; 107 bytes are what Linux takes.
    fixed = len("/fleets/sst/control.sock")
    root = "/" + "é" * ((length - fixed - 1) // 2) + "x" * ((length - fixed - 1) % 2)
    places = Places.below(root, "/data", "sst")
    assert len(f"{places.state}/control.sock".encode()) == length
    if fits:
        assert RUNTIME.files(places, "sst", ())
        return
    with pytest.raises(FleetError, match="too long") as caught:
        RUNTIME.files(places, "sst", ())
    assert f"{places.state}/control.sock" in str(caught.value)
    assert "XDG_STATE_HOME" in caught.value.remedy


def test_a_recorded_answer():
    seen = RUNTIME.read(ANSWER)
    assert (seen.alive, seen.pid) == (True, 6386)
    assert {name: (u.state, u.pid, u.detail) for name, u in seen.units.items()} == {
        "dask-scheduler": ("running", 6395, "pid 6395, uptime 0:00:02"),
        "dask-workers-default": ("running", 6396, "pid 6396, uptime 0:00:02"),
    }


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("STOPPED", "stopped"),
        ("STARTING", "starting"),
        ("RUNNING", "running"),
        ("BACKOFF", "crashing"),
        ("STOPPING", "stopping"),
        ("EXITED", "stopped"),
        ("FATAL", "crashing"),
        ("UNKNOWN", "stopped"),
        ("SOMETHING NEW", "stopped"),
    ],
)
def test_states_in_our_words(word: str, state: str):
    seen = RUNTIME.read(ANSWER.replace("RUNNING", word, 1))
    assert seen.units["dask-scheduler"].state == state
    assert seen.units["dask-workers-default"].state == "running"


def test_why_a_unit_cannot_start_goes_before_its_description():
    empty = "<name>spawnerr</name>\n<value><string>"
    seen = RUNTIME.read(ANSWER.replace(empty, empty + "can't find command", 1))
    assert seen.units["dask-scheduler"].detail == "can't find command"


FAULT = xmlrpc.client.dumps(xmlrpc.client.Fault(6, "SHUTDOWN_STATE"))


@pytest.mark.parametrize(
    ("text", "pid"),
    [
        ("", 0),
        ("pid 77", 77),
        ("pid 77\n", 77),
        ("pid 77\nHTTP/1.0 500 Internal Server Error\n", 77),
        (ANSWER[:2000], 6386),
        (ANSWER[: ANSWER.index("</array>")], 6386),
        (f"pid 77\nHTTP/1.0 200 OK\n\n<?xml version='1.0'?>\n{FAULT}", 77),
    ],
    ids=["nothing", "pid", "no answer", "refused", "cut off", "cut off late", "shutting down"],
)
def test_an_answer_that_says_nothing(text: str, pid: int):
    seen = RUNTIME.read(text)
    assert (seen.alive, seen.pid, seen.units) == (False, pid, {})


def test_an_answer_although_the_pid_file_is_gone():
    seen = RUNTIME.read(ANSWER.partition("\n")[2])
    assert (seen.alive, seen.pid, len(seen.units)) == (True, 0, 2)


def test_supervisord_starts_from_its_own_variables_only():
    begin = RUNTIME.begin(PLACES)
    assert begin.argv[-7:] == (
        "HOME=/home/o p",
        "LANG=C.UTF-8",
        "/opt/tool/bin/python",
        "-m",
        "supervisor.supervisord",
        "-c",
        f"{PLACES.deployed}/supervisord.conf",
    )
    assert b"env -i" in begin.stdin


def test_commands_name_the_configuration_and_the_units():
    for command in (RUNTIME.restart(PLACES, ["a", "b"]),):
        assert f"{PLACES.deployed}/supervisord.conf" in command.argv
        assert command.argv[-2:] == ("a", "b")
    assert RUNTIME.update(PLACES, ["a"]).argv[-2:] == (f"{PLACES.deployed}/supervisord.conf", "a")


def test_one_command_for_the_logs_of_all_units():
    command = RUNTIME.log(PLACES, ("a", "b"), lines=5, follow=True)
    assert command.argv == ("sh", "-s", "--", "follow", "5", PLACES.logs, "a", "b")
    assert command.timeout == UNBOUNDED
    assert RUNTIME.read_log("a\tb | c\td") == LogLine("a", "b | c\td")


def test_what_tail_itself_says_is_nobodys():
    assert RUNTIME.read_log("sh: 1: tail: not found") == LogLine("", "sh: 1: tail: not found")
