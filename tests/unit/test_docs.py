"""The documentation says what is so: it is generated, loaded, or compared with the code."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from dask_fleet.cli import fleet
from dask_fleet.errors import EXIT_CODES
from dask_fleet.layout import Layout, lay_out
from dask_fleet.spec import load
from dask_fleet.spec.model import (
    ContainersSpec,
    Directories,
    EnvironmentSpec,
    HostSpec,
    MountSpec,
    PortsSpec,
    Spec,
    SshSpec,
    WorkerGroup,
)
from dask_fleet.spec.model_door import AcmeSpec, DoorLoginSpec, DoorSpec, DoorTlsSpec
from dask_fleet.transports.ssh_connections import Pool
from dask_fleet.transports.ssh_opening import _BACK_OFF, KEEPALIVE_COUNT, KEEPALIVE_SECONDS
from tests.conftest import REPOSITORY
from tests.suites.catalogue import SUITES

PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")], key=lambda path: str(path)
)
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CONTEXT = click.Context(fleet, info_name="dask fleet", help_option_names=["-h", "--help"])
COMMANDS = fleet.list_commands(CONTEXT)
DOOR = (DoorSpec, DoorTlsSpec, DoorLoginSpec, AcmeSpec)


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def fenced(text: str, kind: str) -> list[str]:
    """Return the fenced blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def unfenced(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", unfenced(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    place = importlib.util.spec_from_file_location(
        "reference", REPOSITORY / "scripts" / "reference.py"
    )
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_the_reference_is_what_make_docs_writes(reference: ModuleType) -> None:
    assert reference.REFERENCE.read_text(encoding="utf-8") == reference.render(), "run `make docs`"


def test_the_reference_has_every_key_with_its_description(reference: ModuleType) -> None:
    text = reference.render()
    for model in (Spec, HostSpec, SshSpec, WorkerGroup, PortsSpec, Directories, *DOOR):
        for name, field in model.model_fields.items():
            assert re.search(
                rf"^\| `{name}` \| [^|]+ \|.*{re.escape(field.description)}", text, re.M
            )


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """README's fleet.yaml as a file."""
    (text,) = fenced(README, "yaml")
    path = tmp_path_factory.mktemp("readme") / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def layout(worked: Path) -> Layout:
    return lay_out(load(worked, {}))


def test_the_fleet_of_the_readme_has_the_ports_of_the_set_up_by_hand(layout: Layout) -> None:
    assert (layout.scheduler.port, layout.scheduler.dashboard_port) == (8786, 8787)
    assert layout.scheduler_address == "tcp://192.168.1.166:8786"
    assert layout.client_address == "tcp://80.158.2.66:8786"
    assert {worker.host: tuple(worker.ports.values()) for worker in layout.workers} == {
        "ecs-dask-worker-0001": (9010, 9011, 9012),
        "ecs-dask-worker-0002": (9020, 9021, 9022),
        "ecs-dask-worker-0003": (9030, 9031, 9032),
        "ecs-dask-worker-0004": (9040, 9041, 9042),
    }
    assert [worker.name for worker in layout.workers] == [
        f"dask-worker-000{number}" for number in (1, 2, 3, 4)
    ]
    assert layout.hosts["ecs-dask-worker-0003"].address == "192.168.1.13"


def test_the_fleet_of_the_readme_says_everything_that_can_be_said(worked: Path) -> None:
    sections = (HostSpec, SshSpec, WorkerGroup, PortsSpec, Directories, ContainersSpec, DoorSpec)
    sections += (MountSpec,)
    models = (Spec, *sections)

    def said(value: object) -> set[str]:
        if isinstance(value, models):
            own = {f"{type(value).__name__}.{key}" for key in value.model_fields_set}
            return own.union(*(said(getattr(value, key)) for key in value.model_fields_set))
        if isinstance(value, dict):
            return set().union(*(said(item) for item in value.values()))
        return set()

    sayable = {f"{model.__name__}.{key}" for model in models for key in model.model_fields}
    # Without root there are no mounts, which are shown.
    assert sayable - said(load(worked, {})) == {"ContainersSpec.rootless"}
    assert "  # rootless: /home/" in worked.read_text(encoding="utf-8")
    for key in EnvironmentSpec.model_fields:  # some exclude each other
        assert re.search(rf"^  (# )?{key}: ", worked.read_text(encoding="utf-8"), re.M)
    for model in DOOR[1:]:  # of its certificate and its login, too
        for key in model.model_fields:
            assert re.search(rf"^ .*\b{key}\b", worked.read_text(encoding="utf-8"), re.M)


def test_a_variable_of_the_readme_is_replaced(worked: Path) -> None:
    ssh = load(worked, {"DASK_USER": "anna"}).hosts["dask-scheduler"].ssh
    assert ssh is not None
    assert ssh.user == "anna"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_has_every_command(command: str) -> None:
    assert re.search(rf"^\| `{command}` \| \w", README, re.M)


def test_the_readme_has_every_exit_code_and_no_other() -> None:
    listed = re.findall(r"^\| `(\d+)` \| (.+) \|$", README, re.M)
    assert [int(code) for code, _ in listed] == [code for code, _ in EXIT_CODES]


def test_the_readme_begins_with_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", unfenced(text)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_a_page_shows_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name, rest in re.findall(r"\bdask[ -]fleet ([a-z-]+)\b([^\n`|;)\"']*)", text):
        if name not in COMMANDS:
            # Prose, such as "dask-fleet is"; in a block of code it would be a mistake.
            assert not any(f"dask fleet {name}" in block for block in fenced(text, "sh")), name
            continue
        command = fleet.get_command(CONTEXT, name)
        assert command is not None
        for word in rest.split():
            inner = command.get_command(CONTEXT, word) if isinstance(command, click.Group) else None
            if inner is None:
                break
            command = inner
        known = {option for param in command.get_params(CONTEXT) for option in param.opts}
        own = rest.partition(" -- ")[0]  # what follows is another program's
        used = set(re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", own))
        assert used <= known | {"--help"}, f"dask fleet {name}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_targets_of_make_that_a_page_shows_exist(page: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"`make ([a-z-]+)", text)
    shown += [
        one for block in fenced(text, "sh") for one in re.findall(r"^make ([a-z-]+)", block, re.M)
    ]
    begun = {name for suite in SUITES for name in (suite.name, suite.name.partition("-")[0])}
    assert set(shown) <= targets | {f"test-{name}" for name in begun}


def test_the_floors_of_the_architecture_are_those_that_are_held() -> None:
    contract = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r'^  "(dask_fleet\.[^"]+ : [^"]+|dask_fleet\.cli)",$', contract, re.M)
    held = [{one.removeprefix("dask_fleet.") for one in layer.split(" : ")} for layer in layers]
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## The floors")[2].partition("\n\nDecisions")[0]
    rows = [line.split("|") for line in table.splitlines() if "`" in line and line[0] == "|"]
    assert [set(re.findall(r"`([\w.]+)`", row[2])) for row in rows] == held


def test_what_the_page_on_vms_says_of_connections() -> None:
    text = " ".join((REPOSITORY / "docs" / "vms.md").read_text(encoding="utf-8").split())
    defaults = inspect.signature(Pool).parameters
    times = {1: "once", 2: "twice", 3: "three times"}[len(_BACK_OFF)]
    for words in (
        f"at most {defaults['limit'].default} hosts are dialled at once",
        f"A host has {defaults['connect_timeout'].default:g} s to answer, or the `ConnectTimeout`",
        f"is tried up to {times} again",
        f"given up after {KEEPALIVE_SECONDS * KEEPALIVE_COUNT} s",
    ):
        assert words in text


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    place = REPOSITORY / "docs" / "decisions"
    index = (place / "README.md").read_text(encoding="utf-8")
    files = sorted(path for path in place.glob("*.md") if path.name != "README.md")
    assert [path.name[:4] for path in files] == [f"{n:04d}" for n in range(1, len(files) + 1)]
    for path in files:
        assert f"({path.name})" in index
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]}: ")
        for part in ("Context.", "Decision.", "Consequences.", "What would change our mind."):
            assert f"**{part}**" in text, f"{path.name}: {part}"


def test_the_figures_in_readme_are_those_of_the_last_whole_benchmark() -> None:
    spec = importlib.util.spec_from_file_location("figures", REPOSITORY / "scripts" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    readme = figures.README.read_text(encoding="utf-8")
    assert readme == figures.written(readme), "run `python scripts/figures.py`"
