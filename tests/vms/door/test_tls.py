"""A fleet that speaks TLS on booted hosts: who gets in, what is renewed, what nobody may see."""

from __future__ import annotations

import json
import signal
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from urllib.request import urlopen

import pytest
from lab import Lab

from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from tests.clients import begun
from tests.vms.operator import COMPUTE, RIGHT, WORKERS, Operator, all_run, eventually
from tests.vms.recovery import WORKERS_UNIT
from tests.vms.secure import (
    DEPLOYED,
    DIALS,
    REFUSED,
    SCHEDULER,
    age,
    authority_folder,
    client,
    copied,
    fingerprint,
    of_host,
    ports,
    python,
)

JOB = """\
import sys
from distributed import Client, Event
client = Client(timeout=20)
waiting = client.map(lambda n: Event('go').wait(240) and n, range(4))
print('begun', flush=True)
sys.stdin.readline()
Event('go').set()
print(sum(client.gather(waiting)))
"""


def pids(operator: Operator) -> dict[str, int]:
    return {name: row["pid"] for name, row in operator.rows().items()}


# -- up, and who gets in -----------------------------------------------------------------


def test_a_second_up_is_empty_and_a_client_with_the_bundle_computes(lab: Lab, secure: Operator):
    assert all_run(secure.rows())
    assert "nothing to do; 4 workers registered" in secure.call("up", "--yes").stdout
    assert secure.plan()["empty"]
    assert client(lab.scheduler, secure.folder / "bundle", COMPUTE) == RIGHT


def test_who_is_not_of_the_fleet_is_refused(lab: Lab, secure: Operator):
    host, bundle = lab.scheduler, secure.folder / "bundle"
    stranger = Authority(secure.folder / "stranger", "sst").client(now=datetime.now(timezone.utc))
    other = secure.folder / "other"
    other.mkdir(exist_ok=True)
    text = (bundle / "dask.yaml").read_text(encoding="utf-8").replace(str(bundle), str(other))
    (other / "dask.yaml").write_text(text, encoding="utf-8")
    (other / "ca.pem").write_bytes((bundle / "ca.pem").read_bytes())
    (other / "client.pem").write_bytes(stranger.certificate)
    (other / "client-key.pem").write_bytes(stranger.key.reveal())
    copied(host, other)
    assert client(host, other, REFUSED) == "refused"
    plain = SCHEDULER.replace("tls:", "tcp:")
    assert client(host, "/nowhere", REFUSED, DASK_SCHEDULER_ADDRESS=plain) == "refused"
    assert client(host, bundle, COMPUTE) == RIGHT


def test_every_port_speaks_tls_and_asks_for_a_certificate(secure: Operator):
    nobody = ssl.create_default_context(cafile=authority_folder(secure) / "ca.pem")
    for place in ports():
        assert fingerprint(secure, place)
        with socket.create_connection(place, timeout=DIALS) as plain:
            # Dask would speak first; this speaks as a client over plain tcp does.
            plain.sendall(b"\0" * 64)
            answer = b""
            try:
                answer = plain.recv(64)
            except ConnectionResetError:
                answer = b""
        # Nothing, or an alert of TLS (RFC 8446, 5.1: content type 21).
        assert answer[:1] in (b"", b"\x15"), place
        with (
            socket.create_connection(place, timeout=DIALS) as plain,
            nobody.wrap_socket(plain, server_hostname=place[0]) as end,
            pytest.raises((ssl.SSLError, ConnectionResetError)),
        ):
            end.recv(1)


def test_dashboards_answer(secure: Operator):
    for place in ["10.77.0.11:8787", *(f"10.77.0.{12 + n}:{9012 + 10 * n}" for n in range(4))]:
        with urlopen(f"http://{place}/health", timeout=DIALS) as answer:
            assert answer.read() == b"ok"


def test_modes_and_owners(lab: Lab, secure: Operator):
    for host in lab.hosts:
        said = host.run(f"cd {DEPLOYED}/tls && stat -c '%n %a %U:%G' *").stdout
        assert said.splitlines() == [
            f"{CA_FILE} 640 root:dask-fleet",
            f"{KEY_FILE} 640 root:dask-fleet",
            f"{CERTIFICATE_FILE} 640 root:dask-fleet",
        ]
    folder = authority_folder(secure)
    keys = [folder / "ca.key", *folder.glob("hosts/*.key"), *folder.glob("clients/*.key")]
    assert {path.stem for path in keys} >= {"ca", "dask-scheduler", *WORKERS}
    assert any(path.parent.name == "clients" for path in keys)
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


# -- renewal -----------------------------------------------------------------------------


def deploy_as_they_are(lab: Lab, operator: Operator) -> None:
    """Bring the operator's certificates to the hosts as an `up` of that day did."""
    for host in lab.hosts:
        pem = (authority_folder(operator) / "hosts" / f"{host.name}.pem").read_text()
        path = f"{DEPLOYED}/tls/{CERTIFICATE_FILE}"
        host.run(f"cp -p {path} {path}.new; cat >{path}.new; mv {path}.new {path}", text=pem)


def test_status_and_doctor_tell_how_long_certificates_hold(secure: Operator):
    said = secure.call("status").stdout.splitlines()[-1]
    assert said.startswith("certificates: hold until ")
    listed = json.loads(secure.call("status", "--json").stdout)["certificates"]
    assert {one["host"] for one in listed} == {"dask-scheduler", *WORKERS}
    assert all(one["days_left"] in (364, 365) for one in listed)


def test_renewal_restarts_nothing(lab: Lab, secure: Operator):
    before = pids(secure)
    age(secure, 10)
    deploy_as_they_are(lab, secure)
    said = secure.call("status").stdout.splitlines()[-1]
    assert "expires on" in said
    assert "dask fleet up" in said
    found = json.loads(secure.call("doctor", "--json", status=None).stdout)
    assert "certificates" in json.dumps(found)
    places = ports()
    old = {place: of_host(lab, place) for place in places}
    eventually(
        "every port shows the certificate that is to end soon",
        lambda: all(fingerprint(secure, place) == old[place] for place in places),
        30,
    )
    bundle = secure.folder / "bundle"
    argv = ["env", f"DASK_CONFIG={bundle}", python(lab.scheduler), "-c", JOB]
    with begun(lab.scheduler.command(argv)) as job:
        said = secure.call("up", "--yes").stdout
        assert "processes take the new one over as they run" in said
        new = {place: of_host(lab, place) for place in places}
        assert not set(new.values()) & set(old.values())
        eventually(
            "every port shows the new certificate",
            lambda: all(fingerprint(secure, place) == new[place] for place in places),
            30,
        )
        assert pids(secure) == before
        out, _ = job.communicate("\n", timeout=90)
    assert out == "6\n"
    assert secure.plan()["empty"]
    assert client(lab.scheduler, bundle, COMPUTE) == RIGHT
    assert "took over" in secure.call("logs", "dask-worker-0001").stdout


def test_workers_restart_host_by_host(secure: Operator):
    before = pids(secure)
    said = secure.call("restart", "--rolling", "--yes").stdout
    assert "restarted in" in said
    after = pids(secure)
    assert after["dask-scheduler"] == before["dask-scheduler"]
    assert all(after[name] != before[name] for name in WORKERS)
    refused = secure.call("restart", "--rolling", "--yes", "dask-scheduler", status=None)
    assert refused.returncode
    assert "one scheduler" in refused.stderr


def test_reboot_of_a_host(lab: Lab, secure: Operator):
    lab.workers[1].reboot()
    secure.until_all_run(60)
    assert client(lab.scheduler, secure.folder / "bundle", COMPUTE) == RIGHT
    assert secure.plan()["empty"]


# -- what is shown of it -----------------------------------------------------------------


@pytest.fixture
def wrong(lab: Lab, secure: Operator) -> Operator:
    """A fleet with TLS, one of whose workers has another dashboard port than declared."""
    host = lab.workers[3]
    unit = "/var/lib/dask-fleet/fleets/sst/etc/units/dask-workers-default.json"
    host.run(f"sed -i s/9042/9045/ {unit}; systemctl restart {WORKERS_UNIT}")

    def is_wrong() -> bool:
        return secure.states()[host.name] == "wrong"

    eventually("it is registered with another port", is_wrong, 60)
    return secure


def test_watch_shows_faults_and_certificates_and_prints_lines_for_programs(
    lab: Lab, wrong: Operator
):
    fault = "dashboard port is 9045, declared is 9042"
    watch = wrong.begin("status", "--watch")
    try:
        assert watch.stdout is not None
        twice = [[*_until("certificates: ", watch.stdout)] for _ in range(2)]
    finally:
        watch.send_signal(signal.SIGINT)
        _, err = watch.communicate(timeout=30)
    assert err == ""
    for lines in twice:
        assert lines[0].startswith("process ")
        assert lines[-2:-1] == [f"{WORKERS[3]}: {fault}\n"]
        assert lines[-1].startswith("certificates: hold until ")
    once = wrong.call("status").stdout.splitlines(keepends=True)
    assert once[-2:] == twice[0][-2:]

    watch = wrong.begin("status", "--watch", "--json")
    try:
        assert watch.stdout is not None
        documents = [json.loads(watch.stdout.readline()) for _ in range(2)]
    finally:
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=30)
    for document in documents:
        (row,) = [one for one in document["processes"] if one["state"] != "running"]
        assert (row["name"], row["state"], row["fault"]) == (WORKERS[3], "wrong", fault)
        assert [one["host"] for one in document["certificates"]] == [one.name for one in lab.hosts]
        assert all(one["days_left"] > 0 for one in document["certificates"])
    first, second = (one["processes"][0]["uptime"] for one in documents)
    assert first < second


def _until(start: str, lines: Iterator[str]) -> Iterator[str]:
    """Yield lines up to the first that begins so, and that one."""
    for line in lines:
        yield line
        if line.startswith(start):
            return
    raise AssertionError(f"no line begins with {start!r}")
