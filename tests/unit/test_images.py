"""Images that are made for a fleet: what goes into them, and what a host is sent of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from dask_fleet.environment import resolve_environment
from dask_fleet.errors import EnvironmentBuildError, SpecError
from dask_fleet.images import store as stores
from dask_fleet.images.archive import compressed, opening
from dask_fleet.images.context import EPOCH, context_digest, read_context, write_context
from dask_fleet.images.dockerfile import INSTRUCTIONS, Baked, dockerfile
from dask_fleet.images.ignoring import Ignored
from dask_fleet.images.layers import ImageFacts, lacking, read_engine
from dask_fleet.images.sameness import same_configuration, same_layer
from dask_fleet.images.shipping import Shipment
from dask_fleet.images.stock import prunable, read_stock
from dask_fleet.spec import parse

DOCKERFILE = "FROM base\nCOPY a /a\n"


def folder(at: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return at


@pytest.mark.parametrize(
    ("text", "path", "ignored"),
    [
        ("*.log", "a.log", True),
        ("*.log", "sub/a.log", False),
        ("**/*.log", "sub/deep/a.log", True),
        ("**/*.log", "a.log", True),
        ("data", "data/cube.zarr/0", True),
        ("/data/", "data/x", True),
        ("data/**", "data", False),
        ("data/**", "data/x/y", True),
        ("*\n!keep", "keep", False),
        ("*\n!keep", "other", True),
        ("data\n!data/keep", "data/keep", False),
        ("!keep\n*", "keep", True),
        ("# data\n\n", "data", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab]x", "bx", True),
        ("a.b", "axb", False),
        ("./x/../data", "data", True),
    ],
)
def test_what_dockerignore_leaves_out(text: str, path: str, ignored: bool):
    assert Ignored(text)(path) is ignored


def test_the_same_files_have_the_same_digest_whenever_and_by_whomever_written(tmp_path: Path):
    files = {"Dockerfile": DOCKERFILE, "a/b": "x", "run.sh": "echo"}
    one, other = (folder(tmp_path / name, files) for name in ("one", "other"))
    os.utime(other / "a" / "b", (1, 1))
    (other / "a" / "b").chmod(0o600)
    assert context_digest(one) == context_digest(other)
    for place in (one, other):
        write_context(place, tmp_path / f"{place.name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert [one.name for one in tar] == ["Dockerfile", "a", "a/b", "run.sh"]
        assert {(one.mtime, one.uid, one.uname) for one in tar} == {(EPOCH, 0, "")}


@pytest.mark.parametrize(
    "change",
    [
        lambda at: (at / "a").write_text("other"),
        lambda at: (at / "b").write_text(""),
        lambda at: (at / "a").chmod(0o755),
        lambda at: (at / "a").rename(at / "c"),
        lambda at: (at / "link").symlink_to("a"),
        lambda at: (at / "empty").mkdir(),
    ],
)
def test_a_change_of_what_is_built_changes_the_digest(tmp_path: Path, change):
    at = folder(tmp_path, {"Dockerfile": DOCKERFILE, "a": "x"})
    before = context_digest(at)
    change(at)
    assert context_digest(at) != before


def test_what_is_ignored_does_not_count(tmp_path: Path):
    at = folder(tmp_path, {"Dockerfile": DOCKERFILE, ".dockerignore": "*\n!a\n!b/c", "a": "x"})
    before = context_digest(at)
    folder(at, {"notes": "1", "b/d": "2"})
    assert context_digest(at) == before
    folder(at, {"b/c": "3"})
    assert context_digest(at) != before
    names = [one.name for one in read_context(at)]
    assert names == [".dockerignore", "Dockerfile", "a", "b/c"]


def test_what_is_no_file_is_refused(tmp_path: Path):
    folder(tmp_path, {"Dockerfile": DOCKERFILE})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EnvironmentBuildError, match="pipe is neither a file nor a folder"):
        read_context(tmp_path)


def environment(base: Path, text: str = "{build: image, build_on: sch}"):
    spec = parse(
        "name: sst\nhosts: {sch: {address: 10.0.0.1}}\nruntime: compose\n"
        f"environment: {text}\n",
        {},
    )

    def digest(at: Path) -> str:
        if not (at / "Dockerfile").is_file():
            raise FileNotFoundError(at)
        return context_digest(at)

    def read(path: Path) -> str:
        raise AssertionError(path)

    return resolve_environment(spec.environment, read, fleet="sst", beside=base, context=digest)


def test_the_name_of_an_image_follows_from_what_it_is_built_of(tmp_path: Path):
    at = folder(tmp_path / "image", {"Dockerfile": DOCKERFILE, "a": "x"})
    one = environment(tmp_path)
    assert one.image == f"localhost/dask-fleet/sst:{context_digest(at)[:16]}"
    assert one.recipe is not None
    assert (one.recipe.folder, one.recipe.on) == (str(at), "sch")
    (at / "a").write_text("y")
    other = environment(tmp_path)
    assert one.image != other.image
    assert one.digest != other.digest
    # Where it is built changes nothing of it.
    assert environment(tmp_path, "{build: image}").digest == other.digest


def test_a_folder_without_a_dockerfile_is_a_fault_of_the_spec(tmp_path: Path):
    with pytest.raises(SpecError, match=r'environment\.build: there is no Dockerfile in "image"'):
        environment(tmp_path)


def image(*layers: str) -> ImageFacts:
    return ImageFacts("sha256:1", "linux/amd64", 1, layers)


@pytest.mark.parametrize(
    ("there", "first"),
    [
        ([], 0),
        ([image("a", "b", "c")], 3),
        ([image("a", "b", "c", "d")], 3),
        ([image("a"), image("a", "b"), image("x", "b", "c")], 2),
        ([image("b", "c")], 0),
        ([image()], 0),
    ],
)
def test_a_layer_counts_as_there_with_all_that_lie_below_it(there: list[ImageFacts], first: int):
    assert lacking(("a", "b", "c"), there) == first


def test_what_an_engine_says():
    text = (
        "platform linux/amd64\nstore [[Backing Filesystem extfs]]\nfree_kib 2048\n"
        'image sha256:1 linux/amd64 120 ["sha256:a","sha256:b"]\n'
        "image sha256:2 linux/amd64 0 null\n"
    )
    facts = read_engine(text)
    assert (facts.platform, facts.free) == ("linux/amd64", 2 << 20)
    assert [one.layers for one in facts.images] == [("sha256:a", "sha256:b"), ()]
    # containerd's store takes no archive that lacks layers, so all of them are sent.
    other = read_engine(text.replace("Backing Filesystem extfs", "driver-type io.containerd.x"))
    assert other.images == ()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stores.Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "PIECE", 1000)
    return stores.Store()


def exported(path: Path, layers: Mapping[int, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        members = {"./config.json": b"{}"}
        for index, content in layers.items():
            members |= {
                f"./{index}.size": b"%d\n" % len(content),
                f"./{index}.gz": gzip.compress(content, 1, mtime=0),
            }
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_pieces_put_together_are_the_archive_that_docker_loads(store: stores.Store, tmp_path: Path):
    contents = {1: os.urandom(2500), 2: b"small"}
    digests = {key: f"sha256:{hashlib.sha256(one).hexdigest()}" for key, one in contents.items()}
    path = exported(tmp_path / "export.tar", contents)
    store.keep(path, "sha256:" + "1" * 64, list(digests.items()))
    layers = ["sha256:" + "0" * 64, *digests.values()]
    id_ = "sha256:" + "1" * 64
    configuration = store.configuration(id_)
    assert configuration == b"{}"
    kept = [store.layer(one) for one in digests.values()]
    assert store.layer(layers[0]) is None
    pieces = [piece for one in kept if one for piece in one.pieces]
    assert len(pieces) == 4
    first = compressed(opening("localhost/dask-fleet/sst:1", configuration, id_, layers))
    shipment = Shipment("x", first, (*pieces, store.end), frozenset(), 2505, "/spool")
    command = shipment.command
    whole = command.stdin + b"".join(Path(one).read_bytes() for one in command.files)
    assert len(whole) == shipment.size
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(whole))) as tar:
        manifest, config, *others = tar.getmembers()
        (said,) = json.load(tar.extractfile(manifest))  # pyright: ignore[reportArgumentType]
        assert said["RepoTags"] == ["localhost/dask-fleet/sst:1"]
        assert said["Config"] == config.name
        # The base's layer is named, and is not in it.
        assert [len(said["Layers"]), len(others)] == [3, 2]
        assert said["Layers"][1:] == [one.name for one in others]
        assert [tar.extractfile(one).read() for one in others] == list(contents.values())  # pyright: ignore[reportOptionalMemberAccess]


def test_what_has_arrived_is_not_sent_again(store: stores.Store, tmp_path: Path):
    store.keep(exported(tmp_path / "e.tar", {0: os.urandom(2500)}), "sha256:1", [(0, "sha256:a")])
    layer = store.layer("sha256:a")
    assert layer is not None
    there = frozenset({layer.pieces[0].digest})
    shipment = Shipment("x", b"o", layer.pieces, there, 2500, "/spool")
    assert [one.digest for one in shipment.missing] == [one.digest for one in layer.pieces[1:]]
    words = shipment.command.argv
    assert words[words.index(layer.pieces[0].digest) + 1] == "0"
    assert shipment.command.files == tuple(one.path for one in layer.pieces[1:])


def test_an_engine_that_gives_something_else_is_an_error(store: stores.Store, tmp_path: Path):
    path = exported(tmp_path / "export.tar", {})
    with pytest.raises(EnvironmentBuildError, match="cannot be read"):
        store.keep(path, "sha256:1", [(0, "sha256:a")])
    assert store.layer("sha256:a") is None


MEMBERS = (("opt", tarfile.DIRTYPE), ("opt/a", tarfile.REGTYPE), ("l", tarfile.SYMTYPE))


def layer(path: Path, mtime: int) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in MEMBERS:
            member = tarfile.TarInfo(name)
            member.type, member.mtime, member.uname = kind, mtime + 0.5, f"user{mtime}"
            member.linkname = "opt/a" if kind == tarfile.SYMTYPE else ""
            member.size, member.mode = (5 if kind == tarfile.REGTYPE else 0), 0o755
            tar.addfile(member, io.BytesIO(b"hello"))
    return path


def test_a_layer_is_the_same_whenever_it_was_built(tmp_path: Path):
    said = []
    for mtime in (1000, 2000):
        source, target = layer(tmp_path / f"{mtime}.tar", mtime), tmp_path / f"{mtime}.same"
        with source.open("rb") as old, target.open("wb") as new:
            said.append(same_layer(old, new))
        assert said[-1][1] == target.stat().st_size
        assert said[-1][0] == f"sha256:{hashlib.sha256(target.read_bytes()).hexdigest()}"
    assert said[0] == said[1]
    with tarfile.open(tmp_path / "1000.same") as tar:
        assert [(one.name, one.mode, one.linkname) for one in tar] == [
            ("opt", 0o755, ""),
            ("opt/a", 0o755, ""),
            ("l", 0o755, "opt/a"),
        ]
        assert tar.extractfile("opt/a").read() == b"hello"  # pyright: ignore[reportOptionalMemberAccess]


def test_a_configuration_is_the_same_whenever_it_was_built():
    def built(day: str) -> bytes:
        found = {
            "architecture": "amd64",
            "config": {"Hostname": day, "Image": f"sha256:{day}", "Env": ["A=1"]},
            "container": day,
            "created": day,
            "history": [{"created": "then", "created_by": "base"}]
            + [{"created": day, "created_by": f"step {number}"} for number in range(5)],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:base", f"sha256:{day}"]},
        }
        return json.dumps(found).encode()

    layers = ["sha256:base", "sha256:same"]
    one, other = (same_configuration(built(day), 5, layers) for day in ("today", "tomorrow"))
    assert one == other
    found = json.loads(one)
    assert found["config"] == {"Env": ["A=1"]}
    assert found["rootfs"]["diff_ids"] == layers
    # One entry for each layer.
    assert [entry["created_by"] for entry in found["history"]] == ["base", "dask-fleet image build"]


BAKED = Baked(
    "the environment xcube (1234)",
    "python:3.11-slim",
    "/usr/local/bin/python3.11",
    "8786:8786",
    ("dask-fleet.stage", "5678"),
    {"dask-fleet.lock": "1234", "dask-fleet.base": 'a"b'},
)


def test_the_dockerfile_of_an_environment():
    text = dockerfile(BAKED)
    first, second = text.split("\n\n")
    assert first.count("FROM python:3.11-slim AS made\n") == 1
    assert second.startswith("FROM python:3.11-slim\nCOPY --from=made /opt/environment")
    # What uv notes of the moment at which a wheel was written is taken out.
    assert "-exec rm -f {} +" in first
    assert "sed -i '/uv_cache.json,/d' {} +" in first
    # Wheels and uv stay behind, and nobody is root in it.
    assert "/opt/wheels" not in second
    assert "\nUSER 8786:8786\n" in second
    assert r'dask-fleet.base="a\"b"' in second
    assert len(re.findall(r"^[A-Z]+ ", second.split("\n", 1)[1], re.M)) == INSTRUCTIONS


def test_the_name_of_a_baked_image_follows_from_lock_base_and_user(tmp_path: Path):
    lock = tmp_path / "a.lock"

    def name(base: str = "python:3.11", user: str = "8786:8786", text: str = "dask==1\n") -> str:
        spec = parse(
            "name: sst\nhosts: {sch: {address: 10.0.0.1}}\nruntime: compose\n"
            f"environment: {{lock: a.lock, base: '{base}'}}\n",
            {},
        )
        lock.write_text(text)
        found = resolve_environment(
            spec.environment, lambda _: lock.read_text(), fleet="sst", user=user
        )
        assert found.recipe is not None
        assert found.recipe.environment is not None
        assert found.recipe.environment.lock_text == text
        return found.image

    assert name() == name(text="# remark\ndask==1\n")
    assert len({name(), name("python:3.12"), name(user="1:1"), name(text="dask==2\n")}) == 4


STOCK = """\
now 10000
used sha256:b
image localhost/dask-fleet/sst:1 sha256:a 100 9000
image localhost/dask-fleet/sst:2 sha256:b 100 9500
image localhost/dask-fleet/sst:3 sha256:c 100 9900
image localhost/dask-fleet/sst:4 sha256:d 100 0
image localhost/dask-fleet/sst:5 sha256:e 100 8000
"""


def test_what_a_host_has_in_stock():
    found = read_stock("a", STOCK)
    assert [one.name[-1] for one in found] == ["3", "2", "1", "5", "4"]
    assert [one.age for one in found] == [100, 500, 1000, 2000, None]
    assert [one.name[-1] for one in found if one.used] == ["2"]


def test_what_is_declared_used_or_was_there_before_stays():
    def left(declared: str, text: str = STOCK) -> list[str]:
        found = prunable({"a": read_stock("a", text)}, f"localhost/dask-fleet/sst:{declared}")
        return [one.name[-1] for one in found.get("a", ())]

    assert left("2") == ["1", "5", "4"]
    assert left("3") == ["5", "4"]
    assert left("9") == ["1", "5", "4"]
    assert left("2", "now 1\nimage localhost/dask-fleet/sst:1 sha256:a 100 1\n") == []
