"""The authority of a fleet on booted hosts: who has it, who does not, and how it is replaced."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from lab import Lab

from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import CA_FILE
from tests.vms.operator import COMPUTE, RIGHT, WORKERS, Operator, all_run
from tests.vms.person import Person, person
from tests.vms.secure import (
    DEPLOYED,
    REFUSED,
    TLS,
    authority_folder,
    client,
    copied,
    fingerprint,
    of_host,
    ports,
)


@pytest.fixture
def second(lab: Lab, secure: Operator, tmp_path: Path) -> Person:
    """Another operator of the same fleet, on a machine that has nothing of it but the file."""
    one = person(lab, tmp_path)
    one.home.know(lab.hosts)
    one.write(TLS)
    return one


def tree(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def deployed(lab: Lab) -> set[str]:
    """Return the digests of the authority's certificate on all hosts."""
    said = (host.run(["sha256sum", f"{DEPLOYED}/tls/{CA_FILE}"]).stdout for host in lab.hosts)
    return {line.split()[0] for line in said}


def own(operator: Operator) -> set[str]:
    return {hashlib.sha256((authority_folder(operator) / "ca.pem").read_bytes()).hexdigest()}


def clients_are_served(lab: Lab, operator: Operator) -> None:
    """Let a client with a bundle of now compute, and see whose certificates all ports show."""
    operator.call("client-config", "bundle")
    copied(lab.scheduler, operator.folder / "bundle")
    assert client(lab.scheduler, operator.folder / "bundle", COMPUTE) == RIGHT
    assert all(fingerprint(operator, place) == of_host(lab, place) for place in ports())


def test_a_first_plan_says_that_an_authority_is_made_and_makes_none(
    lab: Lab, bare: Operator, tmp_path: Path
):
    one = person(lab, tmp_path)
    one.home.know(lab.hosts)
    one.write(TLS)
    said = one.call("plan", status=2).stdout
    assert "create  certificate authority on this machine: the fleet has none" in said
    one.call("plan", "--diff", status=2)
    refused = one.call("client-config", "bundle", status=1).stderr
    assert "no authority on this machine" in refused
    assert "dask fleet up" in refused
    assert not authority_folder(one).exists()
    assert not (one.folder / "bundle").exists()


def test_a_second_operator_is_told_and_changes_nothing(lab: Lab, secure: Operator, second: Person):
    before = deployed(lab)
    assert before == own(secure)
    pids = {name: row["pid"] for name, row in secure.rows().items()}
    limited = ("up", "--yes", "--limit", "dask-worker-0001")
    for words in (("plan",), ("up", "--yes"), limited, ("restart", "--yes")):
        refused = second.call(*words, status=1).stderr
        assert "dask-scheduler" in refused or "dask-worker-0001" in refused
        assert f"there is no {authority_folder(second)}" in refused
        assert "copy that folder" in refused
        assert "--new-authority" in refused
    assert "no authority on this machine" in second.call("client-config", "x", status=1).stderr
    assert not authority_folder(second).exists()
    assert deployed(lab) == before
    # To look needs no certificate, and nothing was restarted.
    assert {name: row["pid"] for name, row in second.rows().items()} == pids

    shutil.copytree(authority_folder(secure), authority_folder(second))
    assert second.plan()["empty"]
    assert "nothing to do; 4 workers registered" in second.call("up", "--yes").stdout
    clients_are_served(lab, second)


def test_a_second_operator_with_an_authority_of_his_own_does_not_lock_clients_out(
    lab: Lab, secure: Operator, second: Person
):
    before, folder = deployed(lab), authority_folder(second)
    # As one who has brought up a fleet of that name somewhere else.
    Authority(folder, "sst").ensure({}, now=datetime.now(timezone.utc))
    refused = second.call("up", "--yes", status=1).stderr
    assert f"is not the one in {folder}" in refused
    assert deployed(lab) == before


def test_a_new_authority_replaces_the_old_one_everywhere(
    lab: Lab, secure: Operator, second: Person
):
    old = secure.folder / "old-bundle"
    shutil.copytree(secure.folder / "bundle", old)
    text = (old / "dask.yaml").read_text(encoding="utf-8")
    (old / "dask.yaml").write_text(text.replace(str(secure.folder / "bundle"), str(old)))
    copied(lab.scheduler, old)
    assert client(lab.scheduler, old, COMPUTE) == RIGHT
    shutil.copytree(authority_folder(secure), authority_folder(second))
    before, pids = deployed(lab), {name: row["pid"] for name, row in secure.rows().items()}

    limited = ("up", "--yes", "--new-authority", "--limit", WORKERS[0])
    assert "without --limit" in secure.call(*limited, status=1).stderr
    said = secure.call("up", "--yes", "--new-authority").stdout
    assert "change  certificate authority on this machine" in said
    assert "the certificate authority changed" in said
    assert "4 workers registered" in said

    rows = secure.rows()
    assert all_run(rows)
    assert all(rows[name]["pid"] != pids[name] for name in rows)
    assert deployed(lab) == own(secure)
    assert not deployed(lab) & before
    assert secure.plan()["empty"]
    assert client(lab.scheduler, old, REFUSED) == "refused"
    clients_are_served(lab, secure)
    last = json.loads(secure.call("history", "--json").stdout)[-1]
    assert (last["what"], last["result"]) == ("up --new-authority", "done")
    # Who still has the old one signs for nobody, and does not put it back.
    refused = second.call("client-config", "stale", status=1).stderr
    assert "dask-scheduler: the authority that signed their certificates" in refused
    assert f"is not the one in {authority_folder(second)}" in refused
    assert "copy that folder" in refused
    assert not (second.folder / "stale").exists()
    assert "is not the one in" in second.call("up", "--yes", status=1).stderr
    assert deployed(lab) == own(secure)


def test_a_new_authority_that_is_killed_is_gone_on_with(lab: Lab, secure: Operator):
    before, folder = deployed(lab), authority_folder(secure)
    asides = set(folder.parent.glob("sst.until-*"))
    process = secure.begin("up", "--yes", "--new-authority")
    deadline = time.monotonic() + 60
    while set(folder.parent.glob("sst.until-*")) == asides or not folder.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert own(secure) != before
    assert "4 workers registered" in secure.call("up", "--yes").stdout
    assert deployed(lab) == own(secure)
    assert secure.plan()["empty"]
    clients_are_served(lab, secure)
