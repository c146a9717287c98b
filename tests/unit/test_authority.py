"""The fleet's certificate authority, on real files and real keys; the time is data."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dask_fleet.errors import FleetError, SeveralErrors
from dask_fleet.tls import private_files
from dask_fleet.tls.authority import Authority
from dask_fleet.tls.certificates import read_certificate
from dask_fleet.tls.client_bundle import client_bundle
from dask_fleet.tls.drafts import Credentials
from tests.unit.killed import ended, in_a_child, is_killed_at

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc)
HOSTS = {"vm-1": ("vm-1", "192.168.1.11"), "vm-2": ("192.168.1.12", "fd00::12")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "authorities" / "ostia"


@pytest.fixture
def authority(place: Path) -> Authority:
    return Authority(place, "ostia")


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def handshake(
    folder: Path, server: Credentials, client: Credentials | None, ca: bytes, name: str | None
) -> None:
    """Let two ends of TLS talk in memory, as strictly as OpenSSL can; raise what they raise."""

    def context(purpose: ssl.Purpose, own: Credentials | None) -> ssl.SSLContext:
        made = ssl.create_default_context(purpose, cadata=ca.decode())
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        made.verify_mode = ssl.CERT_REQUIRED if made.check_hostname is False else made.verify_mode
        if own is not None:
            file = folder / "pair.pem"
            file.write_bytes(own.certificate + own.key.reveal())
            made.load_cert_chain(file)
        return made

    ends = [context(ssl.Purpose.SERVER_AUTH, client), context(ssl.Purpose.CLIENT_AUTH, server)]
    ends[0].check_hostname = name is not None
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = ends[0].wrap_bio(back, there, server_hostname=name)
    far = ends[1].wrap_bio(there, back, server_side=True)
    open_ends = [near, far]
    while open_ends:
        for end in list(open_ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.remove(end)
    # With TLS 1.3 the client learns only now whether the server has taken its certificate.
    with pytest.raises(ssl.SSLWantReadError):
        near.read(1)


# -- what is made ------------------------------------------------------------------------


def test_files_and_their_modes(authority: Authority, place: Path):
    made = authority.ensure(HOSTS, now=NOW)
    authority.client(now=NOW)
    assert sorted(contents(place)) == [
        "ca.key",
        "ca.pem",
        "clients/client.key",
        "clients/client.pem",
        "hosts/vm-1.key",
        "hosts/vm-1.pem",
        "hosts/vm-2.key",
        "hosts/vm-2.pem",
    ]
    for folder in (place, place / "hosts", place / "clients"):
        assert mode(folder) == 0o700
    for path in place.rglob("*.key"):
        assert mode(path) == 0o600
    assert list(made) == list(HOSTS)
    assert made["vm-1"].key.reveal() == (place / "hosts/vm-1.key").read_bytes()
    assert made["vm-1"].ca == (place / "ca.pem").read_bytes()


def test_a_wide_umask_does_not_matter(authority: Authority, place: Path):
    before = os.umask(0)
    try:
        authority.ensure(HOSTS, now=NOW)
    finally:
        os.umask(before)
    assert mode(place) == 0o700
    assert mode(place / "ca.key") == 0o600
    assert mode(place / "hosts/vm-1.key") == 0o600


def test_hosts_serve_and_dial_and_clients_only_dial(authority: Authority, tmp_path: Path):
    # Against the machine's clock, because OpenSSL looks at that.
    now = datetime.now(timezone.utc)
    made = authority.ensure(HOSTS, now=now)
    client = authority.client(now=now)
    ca = client.ca
    for name in ("vm-1", "192.168.1.11"):
        handshake(tmp_path, made["vm-1"], client, ca, name)
    handshake(tmp_path, made["vm-2"], made["vm-1"], ca, "fd00::12")
    with pytest.raises(ssl.SSLCertVerificationError, match="match"):
        handshake(tmp_path, made["vm-1"], client, ca, "192.168.1.12")
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(tmp_path, client, made["vm-1"], ca, None)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(tmp_path, made["vm-1"], None, ca, None)
    stranger = Authority(tmp_path / "other", "ostia").client(now=now)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, made["vm-1"], stranger, ca, None)


def test_names_are_spelled_in_one_way(authority: Authority):
    names = ("VM-1.Example.org.", "fd00:0::1", "fe80::1%eth0", "0.0.0.0", "::", "fd00::1")
    made = authority.ensure({"vm-1": names}, now=NOW)
    seen = read_certificate(made["vm-1"].certificate)
    assert seen.names == ("vm-1.example.org", "fd00::1", "fe80::1")
    assert authority.ensure({"vm-1": names}, now=NOW) == made


def test_a_host_without_a_name_has_its_own(authority: Authority):
    made = authority.ensure({"vm-1": ()}, now=NOW)
    assert read_certificate(made["vm-1"].certificate).names == ("vm-1",)


def test_a_very_long_name(authority: Authority):
    name = ".".join(["a" * 60] * 3)
    seen = read_certificate(authority.ensure({name: (name,)}, now=NOW)[name].certificate)
    assert seen.names == (name,)
    assert seen.subject == name[:64]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "-"])
def test_a_name_that_is_no_file(authority: Authority, name: str):
    with pytest.raises(ValueError, match="name"):
        authority.ensure({name: ("x",)}, now=NOW)


def test_a_time_without_a_zone(authority: Authority):
    with pytest.raises(ValueError, match="zone"):
        authority.ensure(HOSTS, now=NOW.replace(tzinfo=None))


# -- what stays and what is made anew ----------------------------------------------------

_HOST = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_ADDRESS = st.one_of(
    st.ip_addresses().map(str), st.from_regex(r"[A-Za-z][a-z0-9]{0,8}\.org", fullmatch=True)
)


@given(
    hosts=st.dictionaries(_HOST, st.lists(_ADDRESS, max_size=3).map(tuple), max_size=3),
    later=st.integers(0, 334),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_a_second_time_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, hosts: Mapping[str, tuple[str, ...]], later: int
):
    place = tmp_path_factory.mktemp("authority") / "one"
    first = Authority(place, "ostia").ensure(hosts, now=NOW)
    client = Authority(place, "ostia").client(now=NOW)
    before = contents(place)
    now = NOW + timedelta(days=later)
    assert Authority(place, "ostia").ensure(hosts, now=now) == first
    assert Authority(place, "ostia").client(now=now) == client
    turned = {name: names[::-1] for name, names in reversed(hosts.items())}
    assert Authority(place, "ostia").ensure(turned, now=now) == first
    assert contents(place) == before


def changed(before: Mapping[str, Credentials], after: Mapping[str, Credentials]) -> set[str]:
    for name in before:
        same = before[name] == after[name]
        assert same or before[name].key != after[name].key
    return {name for name in after if before.get(name) != after[name]}


@pytest.mark.parametrize(("days", "anew"), [(334, set()), (335, set(HOSTS)), (400, set(HOSTS))])
def test_what_will_expire_is_renewed(authority: Authority, days: int, anew: set[str]):
    first = authority.ensure(HOSTS, now=NOW)
    now = NOW + timedelta(days=days)
    second = authority.ensure(HOSTS, now=now)
    assert changed(first, second) == anew
    assert second["vm-1"].ca == first["vm-1"].ca
    for name in anew:
        assert read_certificate(second[name].certificate).not_after == now + timedelta(days=365)


def test_other_names(authority: Authority):
    first = authority.ensure(HOSTS, now=NOW)
    second = authority.ensure({**HOSTS, "vm-2": ("192.168.1.99",)}, now=NOW)
    assert changed(first, second) == {"vm-2"}


def test_a_host_more_and_a_host_less(authority: Authority):
    first = authority.ensure(HOSTS, now=NOW)
    more = authority.ensure({**HOSTS, "vm-3": ("10.0.0.3",)}, now=NOW)
    assert changed(first, more) == {"vm-3"}
    assert authority.ensure({"vm-2": HOSTS["vm-2"]}, now=NOW) == {"vm-2": first["vm-2"]}


def test_another_authority(authority: Authority, place: Path, tmp_path: Path):
    first = authority.ensure(HOSTS, now=NOW)
    Authority(tmp_path / "other", "ostia").ensure({}, now=NOW)
    for name in ("ca.key", "ca.pem"):
        shutil.copy(tmp_path / "other" / name, place / name)
    second = authority.ensure(HOSTS, now=NOW)
    assert changed(first, second) == set(HOSTS)
    assert second["vm-1"].ca != first["vm-1"].ca


def test_a_key_of_another_certificate(authority: Authority, place: Path):
    first = authority.ensure(HOSTS, now=NOW)
    shutil.copy(place / "hosts/vm-1.key", place / "hosts/vm-2.key")
    assert changed(first, authority.ensure(HOSTS, now=NOW)) == {"vm-2"}


@pytest.mark.parametrize("lost", ["hosts/vm-1.key", "hosts/vm-1.pem"])
def test_half_of_a_pair(authority: Authority, place: Path, lost: str):
    first = authority.ensure(HOSTS, now=NOW)
    (place / lost).unlink()
    assert changed(first, authority.ensure(HOSTS, now=NOW)) == {"vm-1"}


def test_made_by_a_machine_whose_clock_is_ahead(authority: Authority):
    authority.ensure({}, now=NOW)
    ahead = authority.ensure(HOSTS, now=NOW + timedelta(days=20))
    assert changed(ahead, authority.ensure(HOSTS, now=NOW)) == set(HOSTS)


def test_renewing_keeps_the_authority(authority: Authority):
    first = authority.ensure(HOSTS, now=NOW)
    second = authority.renew({"vm-1": HOSTS["vm-1"]}, now=NOW)
    assert list(second) == ["vm-1"]
    assert second["vm-1"].ca == first["vm-1"].ca
    assert second["vm-1"].key != first["vm-1"].key
    assert authority.ensure(HOSTS, now=NOW) == {**first, **second}


def test_near_the_end_of_the_authority(authority: Authority):
    authority.ensure({}, now=NOW)
    near = NOW + timedelta(days=3640)
    first = authority.ensure(HOSTS, now=near)
    seen = read_certificate(first["vm-1"].certificate)
    assert seen.not_after == read_certificate(first["vm-1"].ca).not_after
    assert authority.ensure(HOSTS, now=near + timedelta(days=1)) == first
    with pytest.raises(FleetError, match="expired on 2036-11-23"):
        authority.ensure(HOSTS, now=NOW + timedelta(days=3660))


def test_before_the_authority_holds(authority: Authority):
    authority.ensure({}, now=NOW)
    with pytest.raises(FleetError) as caught:
        authority.ensure(HOSTS, now=NOW - timedelta(days=1))
    assert "clock" in caught.value.remedy


# -- two operators -----------------------------------------------------------------------


def test_without_the_key_of_the_authority(authority: Authority, place: Path):
    first = authority.ensure(HOSTS, now=NOW)
    (place / "ca.key").unlink()
    before = contents(place)
    assert authority.ensure(HOSTS, now=NOW) == first
    for act in (
        lambda: authority.ensure({**HOSTS, "vm-3": ("10.0.0.3",)}, now=NOW),
        lambda: authority.ensure(HOSTS, now=NOW + timedelta(days=340)),
        lambda: authority.renew(HOSTS, now=NOW),
        lambda: authority.client(now=NOW),
    ):
        with pytest.raises(FleetError) as caught:
            act()
        assert str(place / "ca.key") in caught.value.message
        assert "copy it there" in caught.value.remedy
    assert contents(place) == before


def test_without_the_certificate_of_the_authority(authority: Authority, place: Path):
    authority.ensure(HOSTS, now=NOW)
    (place / "ca.key").unlink()
    (place / "ca.pem").unlink()
    before = contents(place)
    with pytest.raises(FleetError, match=r"ca\.pem"):
        authority.ensure(HOSTS, now=NOW)
    assert contents(place) == before


def test_the_key_of_another_authority(authority: Authority, place: Path, tmp_path: Path):
    authority.ensure(HOSTS, now=NOW)
    Authority(tmp_path / "other", "ostia").ensure({}, now=NOW)
    shutil.copy(tmp_path / "other" / "ca.key", place / "ca.key")
    with pytest.raises(FleetError, match="not the key of"):
        authority.ensure(HOSTS, now=NOW)


# -- what cannot be trusted --------------------------------------------------------------

FILES = ["ca.key", "ca.pem", "hosts/vm-1.key", "hosts/vm-1.pem"]
BAD: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "other": lambda _: b"hello\n",
    "flipped": lambda content: content[:60] + b"!!!!" + content[64:],
}


@pytest.mark.parametrize("how", BAD)
@pytest.mark.parametrize("name", FILES)
def test_a_corrupt_file(authority: Authority, place: Path, name: str, how: str):
    authority.ensure(HOSTS, now=NOW)
    (place / name).write_bytes(BAD[how]((place / name).read_bytes()))
    before = contents(place)
    with pytest.raises(FleetError) as caught:
        authority.ensure({**HOSTS, "vm-3": ("10.0.0.3",)}, now=NOW)
    assert str(place / name) in caught.value.message
    assert caught.value.remedy
    assert contents(place) == before


def test_every_corrupt_file_is_named(authority: Authority, place: Path):
    authority.ensure(HOSTS, now=NOW)
    for name in HOSTS:
        (place / "hosts" / f"{name}.pem").write_bytes(b"")
    with pytest.raises(SeveralErrors) as caught:
        authority.ensure(HOSTS, now=NOW)
    assert len(caught.value.errors) == 2


def test_the_remedy_for_a_corrupt_file_of_a_host_works(authority: Authority, place: Path):
    first = authority.ensure(HOSTS, now=NOW)
    (place / "hosts/vm-1.key").write_bytes(b"")
    with pytest.raises(FleetError):
        authority.ensure(HOSTS, now=NOW)
    (place / "hosts/vm-1.key").unlink()
    (place / "hosts/vm-1.pem").unlink()
    assert changed(first, authority.ensure(HOSTS, now=NOW)) == {"vm-1"}


@pytest.mark.parametrize("wide", [0o604, 0o640, 0o660, 0o644])
@pytest.mark.parametrize("name", ["ca.key", "hosts/vm-1.key"])
def test_a_key_that_others_may_read(authority: Authority, place: Path, name: str, wide: int):
    first = authority.ensure(HOSTS, now=NOW)
    (place / name).chmod(wide)
    with pytest.raises(FleetError) as caught:
        authority.ensure(HOSTS, now=NOW)
    assert caught.value.remedy.startswith(f"chmod 600 {place / name}")
    assert mode(place / name) == wide
    (place / name).chmod(0o600)
    assert authority.ensure(HOSTS, now=NOW) == first


def test_a_directory_that_others_may_enter(authority: Authority, place: Path):
    authority.ensure(HOSTS, now=NOW)
    place.chmod(0o755)
    with pytest.raises(FleetError) as caught:
        authority.ensure(HOSTS, now=NOW)
    assert caught.value.remedy == f"chmod 700 {place}"


def test_a_disk_that_is_full(authority: Authority, place: Path, monkeypatch: pytest.MonkeyPatch):
    first = authority.ensure(HOSTS, now=NOW)
    before = contents(place)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(private_files.os, "fsync", full)
        with pytest.raises(FleetError, match="No space left on device"):
            authority.renew(HOSTS, now=NOW)
    assert contents(place) == before
    assert authority.ensure(HOSTS, now=NOW) == first


# -- at once, and killed -----------------------------------------------------------------


@pytest.mark.parametrize("step", range(1, 13))
def test_killed_at_any_step(authority: Authority, place: Path, step: int):
    # Six files, each with one fsync for itself and one for its directory.
    assert is_killed_at(step, lambda: authority.ensure(HOSTS, now=NOW))
    made = authority.ensure(HOSTS, now=NOW)
    assert authority.ensure(HOSTS, now=NOW) == made
    assert not list(place.rglob("*.new"))
    for path in place.rglob("*.key"):
        assert mode(path) == 0o600


def test_processes_at_once(authority: Authority, place: Path):
    pids = [in_a_child(lambda: authority.ensure(HOSTS, now=NOW)) for _ in range(4)]
    made = authority.ensure(HOSTS, now=NOW)
    assert [ended(pid) for pid in pids] == [0] * 4
    assert authority.ensure(HOSTS, now=NOW) == made


def test_threads_at_once(place: Path):
    results: list[Mapping[str, Credentials]] = []
    barrier = threading.Barrier(4)

    def run() -> None:
        barrier.wait()
        results.append(Authority(place, "ostia").ensure(HOSTS, now=NOW))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result == results[0] for result in results)


# -- the bundle for clients --------------------------------------------------------------

ADDRESS = "tls://192.168.1.10:8786"


def test_a_bundle(authority: Authority, tmp_path: Path):
    client = authority.client(now=NOW)
    folder = tmp_path / "it's a folder"
    files = client_bundle(folder, ADDRESS, client)
    assert {path.name for path in files} == {"dask.yaml", "ca.pem", "client.pem", "client-key.pem"}
    assert mode(folder) == 0o700
    assert mode(folder / "client-key.pem") == 0o600
    text = (folder / "dask.yaml").read_text()
    assert yaml.safe_load(text) == {
        "scheduler-address": ADDRESS,
        "distributed": {
            "comm": {
                "require-encryption": True,
                "tls": {
                    "ca-file": str(folder / "ca.pem"),
                    "min-version": 1.3,
                    "client": {
                        "cert": str(folder / "client.pem"),
                        "key": str(folder / "client-key.pem"),
                    },
                },
            }
        },
    }
    assert (folder / "client-key.pem").read_bytes() == client.key.reveal()
    example = [line[4:] for line in text.splitlines() if line.startswith("#   ")]
    assert len(example) == 3
    compile("\n".join(example), "example", "exec")


def test_a_bundle_is_written_again(authority: Authority, tmp_path: Path):
    client_bundle(tmp_path / "b", ADDRESS, authority.client(now=NOW))
    before = contents(tmp_path / "b")
    (tmp_path / "b" / "client-key.pem").unlink()  # as if it had been killed half way
    (tmp_path / "b" / ".client-key.pem.new").write_bytes(b"")
    client_bundle(tmp_path / "b", ADDRESS, authority.client(now=NOW))
    assert contents(tmp_path / "b") == before


def test_a_bundle_in_the_working_directory(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    files = client_bundle(Path("b"), ADDRESS, authority.client(now=NOW))
    assert all(path.is_absolute() for path in files)


@pytest.mark.parametrize("name", ["dask.yaml", "notes.txt", ".hidden"])
def test_a_foreign_folder(authority: Authority, tmp_path: Path, name: str):
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / name).write_text("distributed: {}\n")
    with pytest.raises(FleetError) as caught:
        client_bundle(folder, ADDRESS, authority.client(now=NOW))
    assert name in caught.value.message
    assert contents(folder) == {name: b"distributed: {}\n"}


def test_a_file_in_the_place_of_the_folder(authority: Authority, tmp_path: Path):
    (tmp_path / "b").write_text("")
    with pytest.raises(FleetError):
        client_bundle(tmp_path / "b", ADDRESS, authority.client(now=NOW))


def test_an_address_without_tls(authority: Authority, tmp_path: Path):
    with pytest.raises(ValueError, match="tls://"):
        client_bundle(tmp_path / "b", "tcp://10.0.0.1:8786", authority.client(now=NOW))
