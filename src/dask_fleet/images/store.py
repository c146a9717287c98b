"""Layers on the operator's machine, as they are sent: cut into pieces that bear their digest.

They lie in the user's cache. A layer is there wholly or not at all; two commands that keep the
same one at once do no harm.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.images.archive import END, compressed, layer_name, member_head, member_tail
from dask_fleet.this_machine import cache_root

__all__ = ["Piece", "Store", "StoredLayer"]

PIECE = 16 << 20
"""Bytes of a piece: what has to be sent again after a connection was cut, at the most."""

_WHOLE = "whole.json"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the archive that a host is sent: a file, its SHA-256 and its bytes."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer as it is sent.

    Attributes
    ----------
    size : int
        Bytes of it, unpacked.
    pieces : tuple of Piece
        What it consists of.
    """

    size: int
    pieces: tuple[Piece, ...]


class Store:
    """The layers that were sent before, and the configurations of their images."""

    def __init__(self) -> None:
        self.root = Path(cache_root()) / "images"

    def layer(self, digest: str) -> StoredLayer | None:
        """Return a layer by its digest; None if it is not there."""
        folder = self.root / "layers" / _hex(digest)
        try:
            found = json.loads((folder / _WHOLE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        pieces = tuple(
            Piece(str(folder / one["digest"]), one["digest"], one["size"])
            for one in found["pieces"]
        )
        return StoredLayer(found["size"], pieces)

    def configuration(self, id_: str) -> bytes | None:
        """Return the configuration of an image by its id; None if it is not there."""
        path = self.root / "configurations" / _hex(id_)
        return path.read_bytes() if path.exists() else None

    @property
    def end(self) -> Piece:
        """What ends every archive."""
        content = compressed(END)
        digest = hashlib.sha256(content).hexdigest()
        path = self.root / f"end-{digest[:16]}"
        if not path.exists():
            self._write(path, content)
        return Piece(str(path), digest, len(content))

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a folder on the same disk that is removed at the end."""
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self.root) as folder:
            yield Path(folder)

    def keep(self, export: Path, id_: str, layers: Iterable[tuple[int, str]]) -> None:
        """Keep what `Engine.export` has written.

        Parameters
        ----------
        export : Path
            Its file.
        id_ : str
            The image's id.
        layers : iterable of (int, str)
            Index and digest of each layer in it.

        Raises
        ------
        EnvironmentBuildError
            The engine gave something else than was asked for.
        """
        try:
            with tarfile.open(export) as tar:
                for index, digest in layers:
                    size = int(_member(tar, f"./{index}.size").read())
                    self.add(digest, size, _member(tar, f"./{index}.gz"))
                self.keep_configuration(id_, _member(tar, "./config.json").read())
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise EnvironmentBuildError(
                f"what the engine gave of its image cannot be read: {error}", "try again"
            ) from error

    def keep_configuration(self, id_: str, content: bytes) -> None:
        """Keep the configuration of an image."""
        self._write(self.root / "configurations" / _hex(id_), content)

    def add(self, digest: str, size: int, content: IO[bytes]) -> StoredLayer:
        """Keep a layer, given as a compressed stream; ``size`` is that of what is in it."""
        folder = self.root / "layers" / _hex(digest)
        with self.incoming() as work:
            new = work / "layer"
            new.mkdir()
            pieces = [
                {"digest": one.digest, "size": one.size}
                for one in _cut(new, _member_of(digest, size, content))
            ]
            text = json.dumps({"size": size, "pieces": pieces})
            (new / _WHOLE).write_text(text, encoding="utf-8")
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not (folder / _WHOLE).exists():
                shutil.rmtree(folder, ignore_errors=True)
                new.rename(folder)
        kept = self.layer(digest)
        if kept is None:
            raise EnvironmentBuildError(f"{folder} vanished while it was written", "try again")
        return kept

    def clear(self) -> int:
        """Remove all of it, and return how many bytes that frees."""
        freed = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        shutil.rmtree(self.root, ignore_errors=True)
        return freed

    def _write(self, path: Path, content: bytes) -> None:
        with self.incoming() as work:
            (work / "new").write_bytes(content)
            path.parent.mkdir(parents=True, exist_ok=True)
            (work / "new").replace(path)


def _member_of(digest: str, size: int, content: IO[bytes]) -> Iterator[bytes]:
    yield compressed(member_head(layer_name(digest), size))
    while block := content.read(1 << 20):
        yield block
    yield compressed(member_tail(size))


def _cut(folder: Path, blocks: Iterable[bytes]) -> Iterator[Piece]:
    """Write a stream into files of `PIECE` bytes, named by their digests."""
    kept = bytearray()
    for block in blocks:
        kept += block
        while len(kept) >= PIECE:
            yield _piece(folder, bytes(kept[:PIECE]))
            del kept[:PIECE]
    if kept:
        yield _piece(folder, bytes(kept))


def _piece(folder: Path, content: bytes) -> Piece:
    digest = hashlib.sha256(content).hexdigest()
    path = folder / digest
    path.write_bytes(content)
    return Piece(str(path), digest, len(content))


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file


def _hex(digest: str) -> str:
    return digest.partition(":")[2]
