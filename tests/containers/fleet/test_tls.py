"""Containers that speak TLS: who gets in, what is renewed, and that a drain has certificates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from lab import Lab

from dask_fleet.tls.authority import Authority
from tests.clients import begun
from tests.containers.conftest import CONTAINED
from tests.vms.door.test_tls import (
    deploy_as_they_are,
    test_dashboards_answer,
    test_every_port_speaks_tls_and_asks_for_a_certificate,
    test_status_and_doctor_tell_how_long_certificates_hold,
)
from tests.vms.operator import COMPUTE, RIGHT, Operator, all_run, eventually
from tests.vms.secure import REFUSED, SCHEDULER, age, fingerprint, of_host, ports

pytestmark = pytest.mark.timeout(900)
"""Several hosts are changed one after the other, and the machine may be busy."""

__all__ = [
    "test_dashboards_answer",
    "test_every_port_speaks_tls_and_asks_for_a_certificate",
    "test_status_and_doctor_tell_how_long_certificates_hold",
]

TLS = CONTAINED + "tls: true\nconfig: {fleet.certificates.interval: 500ms}\n"
# It holds a result over whatever happens to workers, and computes on every one of them at last.
HOLDS = (
    "from distributed import Client, wait\n"
    "import sys\n"
    "holder = Client(timeout=20)\n"
    "held = holder.map(lambda n: n * n, range(40), pure=False)\n"
    "wait(held)\n"
    "print('begun', flush=True)\n"
    "sys.stdin.readline()\n"
    "print(sum(holder.gather(held)), flush=True)\n"
)


def client(configuration: Path | str, body: str, **variables: str) -> str:
    """Run a client where the operator is: an ordinary one, from outside of all containers."""
    given = os.environ | {"DASK_CONFIG": str(configuration)} | variables
    done = subprocess.run(
        [sys.executable, "-c", body], env=given, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def secure(operator: Operator) -> Iterator[Operator]:
    """The fleet of containers with TLS, and with a client's bundle."""
    operator.write(TLS)
    operator.call("up", "--yes", "--all-at-once")
    operator.call("client-config", "bundle")
    yield operator
    operator.call("down", "--yes", status=None)
    operator.write(CONTAINED)


def containers(lab: Lab) -> list[str]:
    return [host.run(["docker", "ps", "-q", "--no-trunc"]).stdout for host in lab.hosts]


def test_a_client_with_the_bundle_computes_and_others_are_refused(lab: Lab, secure: Operator):
    assert all_run(secure.rows())
    assert secure.plan()["empty"]
    bundle = secure.folder / "bundle"
    assert client(bundle, COMPUTE) == RIGHT
    stranger = Authority(secure.folder / "stranger", "sst").client(now=datetime.now(timezone.utc))
    other = secure.folder / "other"
    other.mkdir(exist_ok=True)
    text = (bundle / "dask.yaml").read_text(encoding="utf-8").replace(str(bundle), str(other))
    (other / "dask.yaml").write_text(text, encoding="utf-8")
    (other / "ca.pem").write_bytes((bundle / "ca.pem").read_bytes())
    (other / "client.pem").write_bytes(stranger.certificate)
    (other / "client-key.pem").write_bytes(stranger.key.reveal())
    assert client(other, REFUSED) == "refused"
    plain = SCHEDULER.replace("tls:", "tcp:")
    assert client("/nowhere", REFUSED, DASK_SCHEDULER_ADDRESS=plain) == "refused"
    for host in lab.hosts:
        said = host.run("stat -c '%a %u:%g' /var/lib/dask-fleet/fleets/sst/etc/tls/*").stdout
        assert said.splitlines() == ["640 0:8786"] * 3


def test_renewal_and_a_rolling_restart_lose_nothing(lab: Lab, secure: Operator):
    before = containers(lab)
    age(secure, 10)
    deploy_as_they_are(lab, secure)
    places = ports()
    old = {place: of_host(lab, place) for place in places}
    eventually(
        "every port shows the certificate that is to end soon",
        lambda: all(fingerprint(secure, place) == old[place] for place in places),
        30,
    )
    given = os.environ | {"DASK_CONFIG": str(secure.folder / "bundle")}
    with begun([sys.executable, "-c", HOLDS], env=given) as process:
        said = secure.call("up", "--yes").stdout
        assert "processes take the new one over as they run" in said
        new = {place: of_host(lab, place) for place in places}
        assert not set(new.values()) & set(old.values())
        eventually(
            "every port shows the new certificate",
            lambda: all(fingerprint(secure, place) == new[place] for place in places),
            30,
        )
        assert containers(lab) == before
        secure.call("restart", "--rolling", "--yes", timeout=300)
        out, _ = process.communicate("\n", timeout=60)
    assert out == f"{sum(n * n for n in range(40))}\n"
    assert secure.plan()["empty"]
    assert client(secure.folder / "bundle", COMPUTE) == RIGHT
