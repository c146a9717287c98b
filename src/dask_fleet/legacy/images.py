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
    """Image, or the folder that it is built of, and the Python in it; empty is not known."""

    image: str = ""
    build: str = ""
    interpreter: str = ""

    def __str__(self) -> str:
        return f"one built in {self.build}" if self.build else self.image


def software(services: Sequence[Service], workers: Sequence[Service], remarks: Remarks) -> Software:
    """Return the software of a fleet: that of the workers, for all processes."""
    chosen = Software()
    text = ""
    for one in (*workers, *(other for other in services if other not in workers)):
        found = _software(one, remarks)
        same = found == chosen or (found.build and one.dockerfile_text == text)
        if not (chosen.image or chosen.build):
            chosen, text = found, one.dockerfile_text
        elif (found.image or found.build) and not same:
            remarks.decide(
                one.place("image"),
                f"image: {found}",
                f"other containers have {chosen}, and all of a fleet have the same software",
                f"it is {chosen}",
            )
    if services and not (chosen.image or chosen.build):
        chosen = Software(_DEFAULT)
    chosen.interpreter = _interpreter(services, remarks)
    return chosen


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


def _software(service: Service, remarks: Remarks) -> Software:
    """Return what the containers of a service are made of; say what is lost of a Dockerfile."""
    place = service.place("image")
    built = service.dockerfile
    if built is None:
        return Software(_tagged(service.image, place, remarks))
    file = service.compose.folder.place(service.dockerfile_name)
    base = _tagged(built.base, Place(file.file, built.base_line), remarks)
    for one in built.others:
        if one.word not in _KNOWN:
            why, becomes = _MEANINGS.get(one.word, ("it is for the image", "it is left out"))
            where = Place(file.file, one.line)
            remarks.lost(where, f"{one.word} {one.rest}"[:60], why, becomes)
    if not built.adds:
        return Software(base)
    first, *more = built.adds
    what = f"{first.word} {' '.join(first.rest.split())}"[:60]
    what += f" and {len(more)} more" if more else ""
    why = f"the image is more than its base {built.base}, and each VM has built its own"
    where = Place(file.file, first.line)
    folder, _, name = file.file.rpartition("/")
    if name == "Dockerfile" and not service.build_options:
        becomes = "`environment: build:` of its folder: built once, and sent to hosts that lack it"
        remarks.changed(where, what, why, becomes)
        return Software(build=folder)
    options = service.build_options or f"the name {name}"
    becomes = f"{options} is not taken over: build it and name it in `environment: image:`, or"
    becomes += " write that into the Dockerfile and name its folder in `environment: build:`"
    remarks.decide(where, what, why, becomes)
    return Software(_tagged(service.image, place, remarks) or base)


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
