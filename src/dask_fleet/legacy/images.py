"""Which image a fleet is to have, from those of a set-up by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_fleet.legacy.remarks import Place

if TYPE_CHECKING:
    from dask_fleet.legacy.remarks import Remarks
    from dask_fleet.legacy.service import Service

__all__ = ["Software", "software"]

_KNOWN = frozenset(("MAINTAINER", "LABEL", "EXPOSE", "ARG", "SHELL", "STOPSIGNAL"))
_DEFAULT = "quay.io/bcdev/xcube:1.13.3"


@dataclass(slots=True)
class Software:
    """Image and the Python in it; an empty image is not known."""

    image: str = ""
    interpreter: str = ""


def software(services: Sequence[Service], workers: Sequence[Service], remarks: Remarks) -> Software:
    """Return the image of a fleet: that of the workers, for all processes."""
    images = {id(one): _image(one, remarks) for one in services}
    first = next(iter(workers or services), None)
    if first is None:
        return Software()
    chosen = images[id(first)]
    for one in services:
        image = images[id(one)]
        if image and chosen and image != chosen:
            remarks.decide(
                one.place("image"),
                f"image {image}",
                f"other containers have {chosen}, and all of a fleet have the same software",
                f"it is {chosen}",
            )
        chosen = chosen or image
    return Software(chosen or _DEFAULT, _interpreter(services, remarks))


def _interpreter(services: Sequence[Service], remarks: Remarks) -> str:
    """Return the Python of the conda environment that was activated."""
    service = next((one for one in services if one.command.environment), None)
    if service is None:
        return ""
    name = service.command.environment
    path = name if name.startswith("/") else f"/opt/conda/envs/{name}"
    remarks.decide(
        service.place("command"),
        f"activate {name}",
        "it says which Python of the image is meant, and where that lies the image says",
        f"it is taken to be {path}/bin/python: see `docker run --rm --entrypoint ls"
        f" IMAGE {path}/bin/python`",
    )
    return f"{path}/bin/python"


def _image(service: Service, remarks: Remarks) -> str:
    """Return the image of a service; say what is lost of one that is built."""
    place = service.place("image")
    built = service.dockerfile
    if built is None:
        return _tagged(service.image, place, remarks)
    file = service.compose.folder.place(service.dockerfile_name)
    for one in built.others:
        if one.word not in _KNOWN:
            why, becomes = _MEANINGS.get(one.word, ("it is for the image", "it is left out"))
            where = Place(file.file, one.line)
            remarks.lost(where, f"{one.word} {one.rest}"[:60], why, becomes)
    if not built.adds:
        return _tagged(built.base, Place(file.file, built.base_line), remarks)
    first = built.adds[0]
    where = Place(file.file, first.line)
    added = len(built.adds)
    what = f"{first.word} {' '.join(first.rest.split())}"[:60]
    what += f" and {added - 1} more" if added > 1 else ""
    if service.image:
        remarks.decide(
            where,
            what,
            "the image is more than its base, and each VM has built its own",
            f"it is taken to be {service.image}: put one of them into a registry that hosts reach,"
            " or load it on each",
        )
        return _tagged(service.image, place, remarks)
    remarks.decide(
        where,
        what,
        f"the image is more than its base {built.base or '(none is named)'}",
        "fleet.yaml has the base, without this: build it, push it, and name it in"
        " `environment: image:`",
    )
    return _tagged(built.base, Place(file.file, built.base_line), remarks)


_MEANINGS = {
    "USER": (
        "processes ran as this user of the image",
        "they run as the numbers of `containers: user:`",
    ),
    "WORKDIR": ("relative paths began there", "they begin in the folder where workers spill"),
    "VOLUME": (
        "Docker kept what was written there in a volume without a name",
        "what is written there goes with the container",
    ),
    "HEALTHCHECK": (
        "Docker said by it whether the container was well",
        "the fleet's own asks every process",
    ),
}


def _tagged(image: str, place: Place, remarks: Remarks) -> str:
    """Return an image with its tag; say where that can come to mean another one."""
    if not image or "$" in image or image == "scratch":
        if image:
            why = "which image it is, a variable says that is not known"
            remarks.decide(place, f"image {image}", why, f"it is taken to be {_DEFAULT}")
        return ""
    if "@" in image:
        return image
    last = image.rpartition("/")[2]
    full = image if ":" in last else f"{image}:latest"
    if full.endswith(":latest"):
        remarks.decide(
            place,
            f"image {image}",
            "each host has what was the latest when it pulled or built it, perhaps another than"
            " the others",
            f"it is {full}: name a version",
        )
    return full
