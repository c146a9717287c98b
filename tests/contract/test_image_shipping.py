"""The script that takes an image on a host, with a program in Docker's place that says what it got.

Real engines are in `tests/containers/images`; here is what they make hard to bring about.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.images.archive import compressed
from dask_fleet.images.shipping import Shipment, ship
from dask_fleet.images.store import Piece
from dask_fleet.transports.local import LocalTransport

DOCKER = """\
#!/bin/sh
case $1 in
  info) echo /tmp ;;
  load) cat >"$TAKEN"; echo "said by the engine" >&2; exit "${FAILS:-0}" ;;
esac
"""


class Scene:
    """A host's folder, three pieces of an image, and what the engine has taken."""

    def __init__(self, root: Path) -> None:
        self.spool, self.taken = root / "spool", root / "taken"
        self.contents = [os.urandom(70_000), b"second", os.urandom(100)]
        pieces = [self._piece(root, compressed(content)) for content in self.contents]
        self.shipment = Shipment(
            "localhost/dask-fleet/sst:1",
            compressed(b"opening"),
            tuple(pieces),
            frozenset(),
            1000,
            str(self.spool),
        )

    @staticmethod
    def _piece(root: Path, content: bytes) -> Piece:
        digest = hashlib.sha256(content).hexdigest()
        path = root / digest
        path.write_bytes(content)
        return Piece(str(path), digest, len(content))

    def left(self) -> set[str]:
        return {path.name for path in self.spool.iterdir()} if self.spool.exists() else set()

    def send(self, shipment: Shipment | None = None) -> None:
        asyncio.run(ship(LocalTransport("vm-1"), shipment or self.shipment))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("TAKEN", str(tmp_path / "taken"))
    return Scene(tmp_path)


def test_the_engine_gets_all_of_it_in_order_and_nothing_is_left(scene: Scene):
    scene.send()
    assert scene.taken.read_bytes() == b"".join((b"opening", *scene.contents))
    assert scene.left() == set()


def test_what_was_cut_off_stays_as_far_as_it_is_whole(scene: Scene):
    first, second, third = scene.shipment.pieces
    cut = compressed(scene.contents[1])[:3]  # the stream ends within the second piece
    Path(second.path).write_bytes(cut)
    Path(third.path).write_bytes(b"")
    with pytest.raises(EnvironmentBuildError, match="vm-1: what was sent broke off") as caught:
        scene.send()
    assert "only the rest is sent" in caught.value.remedy
    assert not scene.taken.exists()
    assert first.digest in scene.left()
    assert second.digest not in scene.left()
    Path(second.path).write_bytes(compressed(scene.contents[1]))
    Path(third.path).write_bytes(compressed(scene.contents[2]))
    Path(first.path).unlink()  # it is not read again
    scene.send(replace(scene.shipment, there=frozenset({first.digest})))
    assert scene.taken.read_bytes() == b"".join((b"opening", *scene.contents))
    assert scene.left() == set()


def test_what_an_engine_does_not_take_is_not_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FAILS", "1")
    with pytest.raises(EnvironmentBuildError, match="does not take the image") as caught:
        scene.send()
    assert "said by the engine" in caught.value.message
    assert scene.left() == set()


def test_without_room_nothing_is_taken(scene: Scene):
    with pytest.raises(EnvironmentBuildError, match="there is no room") as caught:
        scene.send(replace(scene.shipment, unpacked=10**17))
    assert "/tmp: " in caught.value.message
    assert "MiB are free of about" in caught.value.message
    assert "prune" in caught.value.remedy
    assert scene.left() == set()


def test_two_at_once_do_not_mix(scene: Scene):
    scene.spool.mkdir()
    held = os.open(scene.spool, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(EnvironmentBuildError, match="another operator"):
            scene.send()
    finally:
        os.close(held)
    scene.send()
    assert scene.taken.exists()
