"""What systemd is given, and what it answers.

The service files lie in ``data/systemd``; a change of them restarts every fleet, so it is a
decision. ``DASK_FLEET_GOLDEN=write pytest tests/unit/test_systemd_runtime.py`` writes them anew.
The answers were recorded on a host of the lab (Debian 12, systemd 252): units with the names of
their states, made by the commands of this runtime and then brought into those states by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dask_fleet.command import UNBOUNDED
from dask_fleet.desired import host_target
from dask_fleet.layout import lay_out
from dask_fleet.observed import LogLine, RuntimeObserved, UnitObserved, UnitState
from dask_fleet.places import Places
from dask_fleet.runtimes.limits import NANNY_MEMORY
from dask_fleet.runtimes.systemd import SystemdRuntime
from dask_fleet.runtimes.systemd_scripts import STOP_SECONDS
from dask_fleet.runtimes.systemd_service import service_file
from dask_fleet.spec import parse
from dask_fleet.target import UnitTarget
from tests.unit.simulator import ENVIRONMENT, LAUNCHER

DATA = Path(__file__).parent / "data" / "systemd"
REWRITE = os.environ.get("DASK_FLEET_GOLDEN") == "write"
ROOT = "/var/lib/dask-fleet"
ODD_ROOT = "/srv/100% sure $HOME/é"
RUNTIME = SystemdRuntime("sst")
DIRECTORY = "/etc/systemd/system/dask-fleet.sst."

FLEET = """\
name: sst
hosts:
  head: {address: 10.77.0.11}
  node: {address: 10.77.0.12}
scheduler: {host: head}
workers:
  default: {hosts: [node], per_host: 2, nthreads: 1, %s}
"""
IPV6 = FLEET.replace("10.77.0.11", '"fd77::11"').replace("10.77.0.12", '"fd77::12"')

WORDS = (
    "a b",
    "50%",
    "e$f",
    "${HOME}",
    'g"h',
    "i'j",
    "k\\l",
    "p\\",
    "",
    "m;n",
    ";",
    "#o",
    "é",
    "*",
)
VALUES = (("ODD", "x \"y\" 'z' %h $HOME ${HOME} \\n ; # é"), ("EMPTY", ""))


@dataclass(frozen=True)
class Case:
    """A service file: the unit of a host in a fleet; ``words`` and ``values`` are added to it."""

    name: str
    host: str
    spec: str
    root: str = ROOT
    user: str = "dask-fleet"
    words: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()

    def unit(self, places: Places) -> UnitTarget:
        layout = lay_out(parse(self.spec, {}))
        target = host_target(layout, self.host, ENVIRONMENT, places, RUNTIME, LAUNCHER)
        (unit,) = target.units
        return replace(
            unit,
            digest="0123456789abcdef",  # so that only what systemd reads is compared
            command=(*unit.command, *self.words),
            variables=(*unit.variables, *self.values),
        )

    def text(self, root: str) -> str:
        places = Places.below(root, root, "sst")
        return service_file(places, "sst", self.user, self.unit(places))


CASES = [
    Case("scheduler", "head", FLEET % "memory_limit: 1 GiB"),
    Case("workers", "node", FLEET % "memory_limit: 1 GiB"),
    Case("workers-without-limit", "node", FLEET % "memory_limit: auto"),
    Case("workers-with-resources", "node", FLEET % "memory_limit: 1 GiB, resources: {GPU: 1}"),
    Case("workers-ipv6", "node", IPV6 % "memory_limit: 1 GiB"),
    Case("another-user", "head", FLEET % "memory_limit: 1 GiB", user="_dask"),
    Case("escaped", "head", FLEET % "memory_limit: 1 GiB", ODD_ROOT, words=WORDS, values=VALUES),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_files(case: Case):
    golden = DATA / f"{case.name}.service"
    text = case.text(case.root)
    if REWRITE:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), f"compare with {golden}"


def test_every_golden_file_is_of_a_case():
    assert sorted(path.stem for path in DATA.glob("*.service")) == sorted(c.name for c in CASES)


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def unquoted(text: str) -> Iterator[str]:
    """Yield the words of a line as systemd.syntax(7) has it, ``%%`` still in them."""
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|([^\s"\\]+)', text):
        yield plain or re.sub(r"\\(.)", r"\1", quoted)


# The spec refuses control characters wherever text comes from it (`spec.fields.Text`).
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20)


@given(st.lists(TEXT, max_size=5), st.lists(TEXT, max_size=3))
@example(["\\", '"', "%n", "$$", "$", "-", "@x"], ["=", "\\", '"%$'])
def test_words_and_values_arrive_as_they_are(words: list[str], values: list[str]):
    variables = tuple((f"V{number}", value) for number, value in enumerate(values))
    places = Places.below(ROOT, ROOT, "sst")
    case = replace(CASES[0], words=tuple(words), values=variables)
    found = settings(service_file(places, "sst", "dask-fleet", case.unit(places)))
    (line,) = found["ExecStart"]
    read = [word.replace("%%", "%").replace("$$", "$") for word in unquoted(line)]
    assert read == list(case.unit(places).command)
    # What is not doubled would be replaced by systemd.
    assert "%" not in line.replace("%%", "")
    assert "$" not in line.replace("$$", "")
    told = [next(unquoted(value)).replace("%%", "%") for value in found["Environment"]]
    unit = case.unit(places)
    assert told == [
        f"DASK_FLEET_DIGEST={unit.digest}",
        *(f"{name}={value}" for name, value in unit.variables),
    ]


@pytest.mark.parametrize(
    ("group", "limit", "devices"),
    [
        ("memory_limit: 1 GiB", str(2 * 2**30 + NANNY_MEMORY), "closed"),
        ("memory_limit: 1 GiB, resources: {GPU: 1}", str(2 * 2**30 + NANNY_MEMORY), "open"),
        ("memory_limit: auto", None, "closed"),
    ],
)
def test_what_the_kernel_holds_workers_to(group: str, limit: str | None, devices: str):
    found = settings(Case("", "node", FLEET % group).text(ROOT))
    assert found.get("MemoryMax") == ([limit] if limit else None)
    assert found.get("PrivateDevices") == (["yes"] if devices == "closed" else None)
    # One worker that is killed for its memory must not take the others along.
    assert found.get("OOMPolicy") == (["continue"] if limit else None)


def test_a_unit_is_restarted_whenever_it_exits_and_is_never_given_up():
    found = settings(CASES[0].text(ROOT))
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert found["WantedBy"] == ["multi-user.target"]
    assert found["Environment"][0] == '"DASK_FLEET_DIGEST=0123456789abcdef"'


def test_files_lie_where_systemd_reads_them():
    places = Places.below(ROOT, ROOT, "sst")
    (file,) = RUNTIME.files(places, "sst", [CASES[1].unit(places)])
    assert file.path == f"{DIRECTORY}dask-workers-default.service"
    assert (file.mode, file.content.decode()) == (0o644, CASES[1].text(ROOT))
    assert RUNTIME.own_files(places) == frozenset()


def recorded(name: str) -> RuntimeObserved:
    return RUNTIME.read((DATA / name).read_text(encoding="utf-8"))


def test_a_recorded_answer_of_a_host_without_a_fleet():
    assert recorded("look_absent.txt") == RuntimeObserved(
        alive=True, units={}, files={}, prepared=False, privileged=True
    )


DISABLED = "it would not start at boot (it is disabled)"
OTHER = "systemd has another definition of it in mind"
UNKNOWN = "systemd has no definition of it in mind"
UP = "active (running), success"

# Name without "dask-workers-", state, pid, detail, fault; "forgotten" is not there any more.
RECORDED: list[tuple[str, UnitState, int, str, str]] = [
    ("crashing", "crashing", 0, "activating (auto-restart), exit-code, last exit status 1", ""),
    ("disabled", "running", 273, UP, DISABLED),
    ("dropin", "running", 274, UP, ""),
    ("edited", "running", 275, UP, OTHER),
    ("missing", "crashing", 0, "activating (auto-restart), exit-code, last exit status 203", ""),
    ("removed", "running", 278, UP, f"{UNKNOWN} (not-found)"),
    ("stopped", "stopped", 0, "inactive (dead), success, last exit status 15", ""),
    ("stopping", "stopping", 280, "deactivating (stop-sigterm), success", ""),
    ("written", "stopped", 0, "inactive (dead), success", DISABLED),
]


def test_a_recorded_answer_of_units_in_every_state():
    seen = recorded("look_units.txt")
    assert (seen.alive, seen.prepared, seen.privileged) == (True, True, True)
    assert list(seen.units.values()) == [
        UnitObserved("dask-scheduler", "running", 271, UP),
        *(replace(UnitObserved(*one), name=f"dask-workers-{one[0]}") for one in RECORDED),
    ]


def test_recorded_files_and_their_drop_ins():
    seen = recorded("look_units.txt")
    there = {path.removeprefix(DIRECTORY): digest[:8] for path, digest in seen.files.items()}
    assert len(there) == 10
    assert there["dask-scheduler.service"] == "02df732e"
    assert there["dask-workers-dropin.service.d/override.conf"] == "2cfd947f"
    assert "dask-workers-removed.service" not in there


@pytest.mark.parametrize(
    ("name", "files", "fault"),
    [
        ("look_removed.txt", 0, OTHER),
        # The file was away while systemd read all of them, and is there again.
        ("look_rewritten.txt", 1, f"{UNKNOWN} (error)"),
    ],
)
def test_recorded_answers_about_a_file_that_went(name: str, files: int, fault: str):
    seen = recorded(name)
    assert len(seen.files) == files
    assert seen.units == {
        "dask-scheduler": UnitObserved("dask-scheduler", "running", 442, UP, fault)
    }


@pytest.mark.parametrize(
    ("active", "sub", "state"),
    [
        ("active", "running", "running"),
        ("activating", "start", "starting"),
        ("activating", "auto-restart", "crashing"),
        ("deactivating", "final-sigkill", "stopping"),
        ("inactive", "dead", "stopped"),
        ("failed", "failed", "stopped"),
        ("something", "new", "stopped"),
    ],
)
def test_states_in_our_words(active: str, sub: str, state: str):
    lines = ("LoadState=loaded", f"ActiveState={active}", f"SubState={sub}", "MainPID=7")
    seen = RUNTIME.read("\n".join(("Id=dask-fleet.sst.one.service", *lines)))
    assert (seen.units["one"].state, seen.units["one"].pid) == (state, 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RuntimeObserved(alive=False, prepared=False, privileged=False)),
        ("login 0", RuntimeObserved(alive=False, prepared=False, privileged=True)),
        ("login 1000\nsystemd 252", RuntimeObserved(alive=True, prepared=False, privileged=False)),
        ("systemd", RuntimeObserved(alive=True, prepared=False, privileged=False)),
    ],
    ids=["nothing", "no systemd", "not root", "a version that is not said"],
)
def test_answers_that_say_little(text: str, expected: RuntimeObserved):
    assert RUNTIME.read(text) == expected


def test_units_of_other_fleets_are_not_ours():
    text = (DATA / "look_units.txt").read_text(encoding="utf-8")
    for other in ("dask-fleet.sst2.", "dask-fleet.ss.", "sst."):
        assert RUNTIME.read(text.replace("Id=dask-fleet.sst.", f"Id={other}")).units == {}
        assert SystemdRuntime("ss").read(text).units == {}


NAMES = ("Id", "LoadState", "ActiveState", "SubState", "MainPID", "UnitFileState", "Result")
LINE = st.one_of(
    st.text(max_size=30),
    st.builds("{}={}".format, st.sampled_from(NAMES), st.text(max_size=12)),
    st.builds("Id=dask-fleet.sst.{}.service".format, st.text(max_size=8)),
    st.builds("{} {}".format, st.sampled_from(["file", "login", "systemd"]), st.text(max_size=12)),
)


@given(st.lists(LINE, max_size=30))
@example(["Id=dask-fleet.sst..service", "MainPID=²"])
@example(["Id=dask-fleet.sst.a.service", "MainPID=-1", "MainPID=[not set]"])
def test_no_text_makes_it_fall_over(lines: list[str]):
    seen = RUNTIME.read("\n".join(lines))
    assert all(name == unit.name for name, unit in seen.units.items())
    assert all(unit.pid >= 0 for unit in seen.units.values())


@given(st.integers(0, 4000))
def test_an_answer_that_breaks_off_invents_no_unit(length: int):
    whole = recorded("look_units.txt")
    text = (DATA / "look_units.txt").read_text(encoding="utf-8")
    seen = RUNTIME.read(text[:length])
    names = list(whole.units)[: len(seen.units)]
    # The last one may be half of a name or of its properties; those before it are as they were.
    assert [whole.units[name] for name in names[:-1]] == list(seen.units.values())[:-1]


def test_commands_name_the_services():
    places = Places.below(ROOT, ROOT, "sst")
    services = ("dask-fleet.sst.a.service", "dask-fleet.sst.b.service")
    assert RUNTIME.restart(places, ["a", "b"]).argv == ("systemctl", "restart", *services)
    update = RUNTIME.update(places, ["a", "b"])
    assert update.argv[-3:] == ("/etc/systemd/system", *services)
    assert RUNTIME.end(places).argv[-2:] == ("/etc/systemd/system", "dask-fleet.sst.")
    # Whoever stops a unit waits at least as long as systemd does before it kills it.
    for command in (RUNTIME.restart(places, ["a"]), update, RUNTIME.end(places)):
        assert command.timeout > STOP_SECONDS


@pytest.mark.parametrize(("follow", "timeout"), [(False, 60.0), (True, UNBOUNDED)])
def test_one_command_for_the_logs_of_all_units(follow: bool, timeout: float):
    places = Places.below(ROOT, ROOT, "sst")
    command = RUNTIME.log(places, ("a", "b"), lines=5, follow=follow, after="s=1;i=2")
    how = "follow" if follow else "print"
    services = ("--unit=dask-fleet.sst.a.service", "--unit=dask-fleet.sst.b.service")
    assert command.argv == ("sh", "-s", "--", how, "5", "s=1;i=2", *services)
    assert command.timeout == timeout
    assert str(command) == f"{how} the log"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '{"__CURSOR": "s=1", "MESSAGE": "w | hi", "_SYSTEMD_UNIT": "dask-fleet.sst.a.service"}',
            LogLine("a", "w | hi", "s=1"),
        ),
        (  # systemd on a unit
            '{"UNIT": "dask-fleet.sst.a.service", "MESSAGE": "Stopped",'
            ' "_SYSTEMD_UNIT": "init.scope"}',
            LogLine("a", "Stopped"),
        ),
        (
            '{"MESSAGE": [104, 255, 105], "_SYSTEMD_UNIT": "dask-fleet.sst.a.service"}',
            LogLine("a", "h\ufffdi"),
        ),
        ('{"MESSAGE": ["x", "y"], "UNIT": "dask-fleet.sst.a.service"}', LogLine("a", "x\ny")),
        ('{"MESSAGE": "x", "_SYSTEMD_UNIT": "cron.service"}', LogLine("", "x")),
        ('{"MESSAGE": "x", "_SYSTEMD_UNIT": "dask-fleet.other.a.service"}', LogLine("", "x")),
        ('{"__CURSOR": "s=1"}', LogLine("", "", "s=1")),
        ("No journal files were found.", LogLine("", "No journal files were found.")),
        ("[1]", LogLine("", "[1]")),
    ],
)
def test_what_an_entry_of_the_journal_says(line: str, expected: LogLine):
    assert RUNTIME.read_log(line) == expected


def test_a_host_is_prepared_for_the_user_of_its_units():
    places = Places.below(ROOT, ROOT, "sst", work="/data/dask")
    argv = SystemdRuntime("sst", "_dask").prepare(places).argv
    assert argv[3] == "_dask"
    assert argv[-2:] == (f"{ROOT}/fleets/sst/run", "/data/dask/sst")


def test_systemd_itself_is_never_started():
    with pytest.raises(AssertionError, match="not ours to start"):
        RUNTIME.begin(Places.below(ROOT, ROOT, "sst"))
