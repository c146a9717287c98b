"""Certificates of the operator's own at the door of a fleet that is up: what is refused."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from dask_fleet.tls.authority import Authority
from dask_fleet.tls.drafts import Credentials
from tests.integration.conftest import Desk, fleet_text, free_ports, make_desk
from tests.integration.door import Knocker

NAMES = {"right": ("127.0.0.1",), "other": ("hub.example.org",)}


@dataclass(frozen=True)
class Company:
    """A fleet that is up with a good certificate of a company, and what else that has issued."""

    desk: Desk
    door: Knocker
    issued: dict[str, Credentials]

    def give(self, certificate: str, key: str) -> None:
        """Put files beside fleet.yaml."""
        (self.desk.directory / "door.pem").write_bytes(self.issued[certificate].certificate)
        (self.desk.directory / "door.key").write_bytes(self.issued[key].key.reveal())


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    place = tmp_path_factory.mktemp("company")
    now = datetime.now(timezone.utc)
    issued = dict(Authority(place / "now", "company").ensure(NAMES, now=now))
    past = Authority(place / "past", "company").ensure(
        {"ended": NAMES["right"]}, now=now - timedelta(days=400)
    )
    issued |= past
    base = free_ports(40)
    with make_desk() as desk:
        tls = "tls: {certificate: door.pem, key: door.key}"
        desk.declare(
            fleet_text("company", base, more=f"door: {{listen: {base + 5}, login: none, {tls}}}\n")
        )
        context = ssl.create_default_context(cafile=str(place / "now" / "ca.pem"))
        door = Knocker(f"https://127.0.0.1:{base + 5}", context)
        one = Company(desk, door, issued)
        one.give("right", "right")
        desk.call("up", "--yes")
        assert door.ask("/health").status == 200
        yield one
        one.give("right", "right")


WRONG = [
    (
        ("right", "other"),
        "door.tls.key: door.key does not belong to the certificate in door.pem",
        "name the key with which that certificate was asked for",
    ),
    (
        ("other", "other"),
        "door.tls.certificate: door.pem is not for 127.0.0.1, by which people reach the door, "
        "but for hub.example.org",
        "write a name that it is for as `server_name`",
    ),
    (
        ("ended", "ended"),
        "door.tls.certificate: by the clock of localhost it expired on",
        "put one that holds beside fleet.yaml",
    ),
]


@pytest.mark.parametrize(("given", "fault", "remedy"), WRONG, ids=["key", "name", "ended"])
def test_one_that_is_no_good_is_refused_before_anything_is_changed(
    company: Company, given: tuple[str, str], fault: str, remedy: str
):
    company.give(*given)
    for words in (["plan"], ["up", "--yes"]):
        said = company.desk.call(*words, status=1).err
        assert fault in said
        assert remedy in said
        assert "PRIVATE KEY" not in said
    # The door shows what it has shown before, and who only looks is not kept from it.
    assert company.door.ask("/health").status == 200
    assert company.desk.rows()["dask-door"]["state"] == "running"
    company.give("right", "right")
    assert "nothing to do" in company.desk.call("plan").out


def test_files_that_are_gone_keep_nobody_from_looking(company: Company, tmp_path: Path):
    kept = company.desk.directory / "door.key"
    away = kept.rename(tmp_path / "door.key")
    try:
        assert company.desk.rows()["dask-door"]["state"] == "running"
        assert "door.key cannot be read" in company.desk.call("plan", status=1).err
    finally:
        kept.write_bytes(away.read_bytes())
