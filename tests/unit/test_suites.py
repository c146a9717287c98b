"""Which suite holds a test, what a change touches, what starts next, what is said at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.suites.__main__ import Order
from tests.suites.catalogue import QUICK, SHARDS, SUITES, of_path, shard
from tests.suites.jobs import Job, choose
from tests.suites.preparation import prepare
from tests.suites.report import Result, Test, failures, read, table
from tests.suites.touched import FEATURES, SHARED, features_of, module_of, touched

LABS = {suite.name for suite in SUITES if suite.lab is not None and not suite.quick}
FILES = sorted(
    str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests").rglob("test_*.py")
)
SOURCES = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (REPOSITORY / "src").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)


# -- the catalogue -------------------------------------------------------------------------------


def test_every_file_of_tests_is_in_one_suite():
    holders = {
        file: [
            suite.name
            for suite in SUITES
            for place in suite.paths
            if file == place or file.startswith(f"{place}/")
        ]
        for file in FILES
    }
    assert {file: names for file, names in holders.items() if len(names) != 1} == {}
    assert all((REPOSITORY / place).exists() for suite in SUITES for place in suite.paths)


def test_shards_hold_every_suite_that_is_not_quick_once_and_are_of_a_size():
    parts = [shard(number) for number in range(SHARDS)]
    names = [suite.name for part in parts for suite in part]
    assert sorted(names) == sorted(suite.name for suite in SUITES if suite not in QUICK)
    assert shard(SHARDS + 1) == parts[1]
    seconds = [sum(suite.seconds for suite in part) for part in parts]
    assert max(seconds) - min(seconds) <= max(suite.seconds for suite in SUITES)


def test_a_path_leads_to_its_suite_and_a_strange_one_to_none():
    assert of_path("tests/unit/spec/test_spec_load.py").name == "unit"
    assert of_path("tests/guests/test_podman.py::test_x").name == "guests-podman"
    with pytest.raises(KeyError):
        of_path("tests/unity/test_x.py")


def test_readme_of_the_tests_says_what_each_suite_proves():
    text = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [suite.name for suite in SUITES]
    assert all(
        suite.proves in row and all(f"`{place}`" in row for place in suite.paths)
        for suite, row in zip(SUITES, rows, strict=True)
    )


def test_what_a_suite_needs_is_prepared_and_what_that_needs_before_it():
    names = {suite.name: {job.name for job in prepare([suite])} for suite in SUITES}
    assert names["unit"] == set()
    assert names["journey-podman"] == {
        *("debian", "wheels", "base", "layer", "base-podman", "store-podman"),
    }
    jobs = prepare(SUITES)
    known = {job.name for job in jobs}
    assert known.isdisjoint(names)
    assert all(job.needs <= known for job in jobs)
    assert {need for suite in SUITES for need in suite.needs} <= known


def test_the_machine_emulator_is_installed_only_for_guests():
    def packages(name: str) -> tuple[str, ...]:
        (suite,) = (suite for suite in SUITES if suite.name == name)
        return next(job for job in prepare([suite]) if job.name == "debian").argv

    assert "qemu-system-x86" in packages("guests-docker")
    assert "qemu-system-x86" not in packages("journey-docker")


# -- what a change touches -----------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES)
def test_every_file_of_the_sources_is_mapped(path: str):
    assert features_of(module_of(path))


@pytest.mark.parametrize("pattern", [*FEATURES, *SHARED])
def test_every_pattern_still_fits_a_file(pattern: str):
    from fnmatch import fnmatchcase

    assert any(fnmatchcase(module_of(path), pattern) for path in SOURCES)


def test_no_suite_is_mapped_that_there_is_not():
    known = {suite.name for suite in SUITES}
    assert {name for names in FEATURES.values() for name in names} <= known


@pytest.mark.parametrize(
    ("path", "suites"),
    [
        ("src/dask_fleet/proxy/nginx.py", {"vms-door", "containers-fleet"}),
        ("src/dask_fleet/images/layers.py", {"containers-images", "podman"}),
        ("src/dask_fleet/executor.py", LABS),
        ("src/dask_fleet/spec/model.py", {*LABS, "local"}),
        ("src/dask_fleet/host/launch.py", LABS),
        ("src/dask_fleet/host/fleet_console/assets/gone.css", LABS),
        ("src/dask_fleet/environments/xcube.lock", {"vms-fleet"}),
        ("uv.lock", LABS),
        ("docs/door.md", set()),
        ("tests/guests/test_docker.py", {"guests-docker"}),
        ("tests/unit/test_layout.py", {"unit"}),
        ("tests/podman/test_gone.py", {"podman"}),
    ],
)
def test_what_a_change_touches(path: str, suites: set[str]):
    assert touched([path]) == suites


def test_who_imports_a_feature_is_touched_too():
    # The door's model is read by the doctor.
    assert touched(["src/dask_fleet/door.py"]) > touched(["src/dask_fleet/proxy/nginx.py"])


@pytest.mark.parametrize("path", ["lab/base.py", "tests/vms/operator.py", "tests/vms/conftest.py"])
def test_what_booted_hosts_share_touches_all_that_use_it(path: str):
    assert touched([path]) >= LABS


def test_a_change_of_fixtures_touches_the_suites_below_them():
    assert touched(["tests/contract/conftest.py"]) == {"contract"}
    assert touched(["tests/conftest.py"]) == {suite.name for suite in SUITES}


# -- what starts next ----------------------------------------------------------------------------

FIRST = Job("first", (), stage=-1, seconds=1)
LONG = Job("long", (), frozenset({"first"}), seconds=90)
SHORT = Job("short", (), frozenset({"first"}), seconds=10)
WIDE = Job("wide", (), weight=9, seconds=500)
MAY = Job("may", (), seconds=900, stage=-9, optional=True)


@pytest.mark.parametrize(
    ("waiting", "passed", "free", "busy", "chosen"),
    [
        ([SHORT, LONG], ["first"], 1, True, LONG),
        ([SHORT, LONG], [], 4, True, None),
        ([LONG, FIRST], [], 4, False, FIRST),
        ([SHORT, LONG], ["first"], 0, True, None),
        ([WIDE, SHORT], ["first"], 4, True, SHORT),
        ([WIDE], [], 4, True, None),
        ([WIDE], [], 4, False, WIDE),
        ([], [], 4, False, None),
        ([MAY, WIDE], [], 4, True, None),
        ([MAY, FIRST], [], 4, True, FIRST),
        ([MAY], [], 4, True, MAY),
    ],
    ids=[
        *("the longest", "not before its needs", "stages in turn", "no place"),
        *("one that fits", "too wide beside others", "too wide but alone", "nothing left"),
        *("optional waits for what must run", "what must run first", "optional at last"),
    ],
)
def test_which_job_starts_next(
    waiting: list[Job], passed: list[str], free: int, busy: bool, chosen: Job | None
):
    assert choose(waiting, passed, free, busy) is chosen


@pytest.mark.parametrize(
    ("order", "words", "said"),
    [
        (Order("random", 7), ("-p", "randomly", "--randomly-seed=7"), "seed 7"),
        (Order("reverse", 7), ("-p", "no:randomly", "--reverse"), "reverse order"),
        (Order("written", 7), ("-p", "no:randomly"), "written order"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_order_is_said_and_handed_to_pytest(order: Order, words: tuple[str, ...], said: str):
    assert order.words == words
    assert said in str(order)


# -- what is said at the end ---------------------------------------------------------------------

XML = """\
<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_good" time="1.5"/>
<testcase classname="tests.unit.test_a" name="test_bad" time="20.25">
<failure>no</failure></testcase>
</testsuite></testsuites>
"""


def test_a_table_of_suites_the_slowest_tests_and_a_last_line_that_counts(tmp_path: Path):
    (tmp_path / "unit.xml").write_text(XML)
    (tmp_path / "unit.profile.json").write_text('{"waiting": 2.4, "hosts boot": 12.0}')
    unit = read(tmp_path, "unit", "failed", 22.0)
    other = read(tmp_path, "podman", "not run: the time was used up", 0.0)
    assert unit.tests == [
        Test("unit.test_a::test_good", 1.5, True),
        Test("unit.test_a::test_bad", 20.25, False),
    ]
    said = table([unit, other], 30.0).splitlines()
    assert said[1].split() == ["unit", "2", "22", "failed"]
    assert said[2].strip() == "hosts boot 12 s, waiting 2 s"
    assert said[3].split()[:3] == ["podman", "0", "0"]
    assert "the time was used up" in said[3]
    assert [line.split()[-1] for line in said if "test_a" in line] == [
        "unit.test_a::test_bad",
        "unit.test_a::test_good",
    ]
    assert said[-1] == "1 passed, 1 failed"


def test_ten_tests_and_no_more_are_listed_as_the_slowest():
    tests = [Test(f"test_{number}", number, True) for number in range(30)]
    said = table([Result("unit", "passed", 1.0, tests)], 1.0)
    assert said.count(" s  test_") == 10
    assert said.index("test_29") < said.index("test_20")
    assert "test_19" not in said


def test_of_a_red_suite_the_failures_are_shown_or_else_the_last_lines(tmp_path: Path):
    log = tmp_path / "log"
    assert failures(log) == ""
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    assert failures(log).splitlines()[0] == "line 60"
    log.write_text("collected\n===== FAILURES =====\n___ test_bad ___\nE  no\n")
    assert failures(log).splitlines()[0] == "===== FAILURES ====="
    assert "test_bad" in failures(log)
