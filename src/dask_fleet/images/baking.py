"""Puts a locked environment into an image: the same environment and base, the same image.

Docker builds it from a Dockerfile that people can read. What its builder writes down of the moment
is then taken out (`dask_fleet.images.sameness`), so that the image's id says what is in it.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from dask_fleet.errors import EnvironmentBuildError
from dask_fleet.events import Note, Sink
from dask_fleet.images.archive import END, compressed, member_head, member_tail, opening
from dask_fleet.images.dockerfile import BUNDLE, INSTRUCTIONS, Baked, dockerfile
from dask_fleet.images.engine import Engine, Given
from dask_fleet.images.sameness import same_configuration, same_layer
from dask_fleet.wheels.gathering import Wheelhouse, gather_wheels
from dask_fleet.wheels.interpreters import LOOK, choose, missing_python, read_software, unsuitable
from dask_fleet.wheels.platforms import HostPlatform, read_lock

if TYPE_CHECKING:
    from dask_fleet.environment import Recipe
    from dask_fleet.images.store import Store

__all__ = ["bake", "write_bakery"]

_STAGE = "dask-fleet.stage"
_VERSIONS = ("dask", "distributed")


async def bake(engine: Engine, recipe: Recipe, image: str, store: Store, sink: Sink) -> None:
    """Make the image of an environment on an engine; its layer is in the store then, too.

    Raises
    ------
    EnvironmentBuildError
        The base image cannot be had or does not fit; packages cannot be had or installed.
    """
    base = await engine.need(recipe.base)
    text, wheelhouse = await _prepared(engine, recipe, sink)
    raw = f"{image}-raw"
    begin = member_head("Dockerfile", len(text)) + text + member_tail(len(text))
    # A tar file is a whole number of blocks, so nothing stands behind the bundle but the end.
    begin += member_head(BUNDLE, wheelhouse.size)
    with store.incoming() as work:
        end = work / "end"
        end.write_bytes(member_tail(wheelhouse.size) + END)
        try:
            context = Given(begin, (wheelhouse.bundle, str(end)))
            await engine.build(context, raw, {}, sink)
            built = await engine.need(raw)
            if built.layers[: len(base.layers)] != base.layers:
                raise EnvironmentBuildError(
                    f"{recipe.base} has changed while the image was built on it", "try again"
                )
            path = work / "export.tar"
            await engine.export(raw, [len(base.layers)], path)
            archive = await asyncio.to_thread(_made_same, store, path, base.layers, image)
            await engine.load(image, archive)
        finally:
            await engine.forget(raw, f"{_STAGE}={recipe.digest}")


async def write_bakery(engine: Engine, recipe: Recipe, folder: Path, sink: Sink) -> None:
    """Write Dockerfile and wheels into a folder, for whoever builds it with his own hands.

    Raises
    ------
    EnvironmentBuildError
        The base image cannot be had or does not fit; packages cannot be had.
    """
    await engine.need(recipe.base)
    text, wheelhouse = await _prepared(engine, recipe, sink)
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_bytes(text)
    content = await asyncio.to_thread(Path(wheelhouse.bundle).read_bytes)
    (folder / BUNDLE).write_bytes(content)


async def _prepared(engine: Engine, recipe: Recipe, sink: Sink) -> tuple[bytes, Wheelhouse]:
    """Return the Dockerfile, and the wheels that fit the base image."""
    environment = recipe.environment
    if environment is None:
        raise TypeError(f"no environment is to be put on {recipe.base}")
    software = read_software((await engine.inside(recipe.base, LOOK)).splitlines())
    if unfit := unsuitable(f"image {recipe.base}", software):
        raise unfit
    python = choose(software.interpreters, environment.python)
    if python is None or software.glibc is None:
        raise missing_python(f"image {recipe.base}", environment.python, software.interpreters)
    version = {one.path: one.version for one in software.interpreters}[python]
    platform = HostPlatform(software.machine, software.glibc, version)
    wheelhouse = await gather_wheels(environment, platform, sink)
    sink(Note("operator", f"putting {environment.name} on {recipe.base}"))
    lock = await asyncio.to_thread(_lock_of, wheelhouse)
    pins = {pin.name: pin.requirement for pin in read_lock(lock, platform).pins}
    labels = {
        "dask-fleet.lock": environment.digest,
        "dask-fleet.base": recipe.base,
        "dask-fleet.python": version,
        **{
            f"dask-fleet.{name}": pins[name].rpartition("=")[2]
            for name in _VERSIONS
            if name in pins
        },
    }
    stage = (_STAGE, recipe.digest)
    shown = f"the environment {environment.name} ({environment.digest})"
    text = dockerfile(Baked(shown, recipe.base, python, recipe.user, stage, labels))
    return text.encode(), wheelhouse


def _lock_of(wheelhouse: Wheelhouse) -> str:
    with tarfile.open(wheelhouse.bundle) as tar:
        file = tar.extractfile("wheels.lock")
        if file is None:
            raise EnvironmentBuildError(f"{wheelhouse.bundle} has no lock", "remove it, try again")
        return file.read().decode()


def _made_same(store: Store, export: Path, base: tuple[str, ...], image: str) -> Given:
    """Keep what was built in the store, made the same; return what an engine is to load."""
    with tarfile.open(export) as tar:
        layer, config = tar.extractfile(f"./{len(base)}.gz"), tar.extractfile("./config.json")
        if layer is None or config is None:
            raise EnvironmentBuildError("the engine gave no layer of its image", "try again")
        made = export.with_name("layer.gz")
        with gzip.GzipFile(made, "wb", 1, mtime=0) as packed, gzip.open(layer) as unpacked:
            digest, size = same_layer(cast("IO[bytes]", unpacked), cast("IO[bytes]", packed))
        layers = (*base, digest)
        content = same_configuration(config.read(), INSTRUCTIONS, layers)
    with made.open("rb") as file:
        stored = store.add(digest, size, file)
    id_ = f"sha256:{hashlib.sha256(content).hexdigest()}"
    store.keep_configuration(id_, content)
    first = compressed(opening(image, content, id_, layers))
    return Given(first, tuple(piece.path for piece in (*stored.pieces, store.end)))
