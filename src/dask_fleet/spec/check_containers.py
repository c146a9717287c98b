"""Checks of what containers are made of and where they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dask_fleet.spec.expand import ExpandedHost
    from dask_fleet.spec.report import Report

__all__ = ["check_containers"]


def check_containers(
    report: Report, hosts: Mapping[str, ExpandedHost], used: Collection[str]
) -> None:
    """Report images without containers, and containers without an image.

    Parameters
    ----------
    report : Report
        Knows what was written, and takes the problems.
    hosts : Mapping
        Every host by name.
    used : collection of str
        Names of those that run processes.
    """
    keys = [("environment", key) for key in ("image", "build", "base")]
    images = [key for key in keys if report.value(key) is not None]
    given = bool(images)
    image = images[0] if images else keys[0]
    if len(images) > 1 and images[-1] == keys[-1]:
        report.add(
            keys[-1],
            f'a base is for a locked environment, and "{images[0][1]}" is an image of its own',
            "keep one of them",
            at_key=True,
        )
    running = {name: host for name, host in hosts.items() if name in used}
    others = [name for name, host in running.items() if host.runtime != "compose"]
    contained = [name for name, host in running.items() if host.runtime == "compose"]
    if given and others and not report.is_broken("runtime"):
        first = hosts[others[0]]
        report.add(
            image,
            f'an image is for containers, and host "{first.name}" runs under {first.runtime}',
            "say `runtime: compose` for the whole fleet, or name a locked environment instead",
            at_key=True,
        )
    if contained and not given and not report.is_broken("environment"):
        report.add(
            ("environment",),
            f'containers are made of an image, and host "{contained[0]}" has compose',
            "write `environment: {image: NAME}`, `{build: FOLDER}` with a Dockerfile in it, or"
            " `{base: IMAGE}` for a locked environment to be put on it",
        )
    local = [name for name in contained if hosts[name].transport == "local"]
    if local:
        report.add(
            ("hosts", hosts[local[0]].entry, "runtime"),
            f'compose is for hosts behind SSH, and host "{local[0]}" is this machine',
            "leave `runtime` out: the fleet on this machine runs under supervisor",
        )
    _check_mounts(report)
    _check_rootless(report, running)
    build_on = ("environment", "build_on")
    builder = report.value(build_on)
    if builder is not None and not any(key in images for key in keys[1:]):
        report.add(
            build_on,
            "a host is named that builds, and there is nothing to build",
            "remove it, or write `build` or `base`",
            at_key=True,
        )
    elif builder is not None and builder not in hosts:
        report.add(
            build_on,
            f"unknown host {report.shown(build_on)}",
            "name one of the hosts, with a Docker engine; it need not run anything of the fleet",
        )
    interpreter = ("environment", "interpreter")
    if report.value(interpreter) is not None and not given:
        report.add(
            interpreter,
            "an interpreter is named for an image, and there is none",
            "remove it, or write `image` or `build`",
            at_key=True,
        )


def _check_rootless(report: Report, running: Mapping[str, ExpandedHost]) -> None:
    """Report what needs root where engines have none."""
    path = ("containers", "rootless")
    if report.value(path) is None or report.is_broken(*path):
        return
    contained = [host for host in running.values() if host.runtime == "compose"]
    if not contained and not report.is_broken("runtime"):
        report.add(
            path,
            "no host of the fleet runs containers",
            "remove it, or say `runtime: compose`",
            at_key=True,
        )
    for host in contained:
        ssh = host.spec.ssh
        if ssh and (ssh.sudo or ssh.user == "root"):
            report.add(
                ("hosts", host.entry, "ssh", "sudo" if ssh.sudo else "user"),
                "with `containers.rootless` nothing on a host is done as root",
                "log in as the user whose engine it is, without sudo; or remove `rootless`",
                at_key=True,
            )
    for key, fault, remedy in (
        (
            ("containers", "user"),
            "with `rootless` processes are the login's, whatever numbers stand here",
            "remove it",
        ),
        (
            ("containers", "mounts"),
            "an engine without root mounts nothing",
            "have the host mount it, and give containers its folder: `volumes: [/cubes:/cubes]`",
        ),
    ):
        if report.value(key) not in (None, {}):
            report.add(key, fault, remedy, at_key=True)
    keeper = report.value(("door", "host"))
    here = [host.name for host in contained]
    if report.value(("door",)) not in (None, False) and (keeper is None or keeper in here):
        report.add(
            ("door", "host") if keeper else ("door",),
            "the door is a site in its host's nginx, and with `containers.rootless` nobody is root"
            " on a host of containers",
            "give it a host of its own, `door: {host: NAME}`, where a login has sudo; or remove it",
            at_key=True,
        )


def _check_mounts(report: Report) -> None:
    """Report mounts of which no container has the volume."""
    path = ("containers", "mounts")
    mounts, volumes = report.value(path), report.value(("containers", "volumes"))
    if not isinstance(mounts, dict) or report.is_broken("containers", "volumes"):
        return
    listed = cast("list[object]", volumes) if isinstance(volumes, list) else []
    named = {str(one).partition(":")[0] for one in listed}
    for name in cast("dict[str, object]", mounts):
        if name not in named:
            report.add(
                (*path, name),
                f'no container has the volume "{name}"',
                f"add it to `volumes`, such as `{name}:/data`, or remove it",
                at_key=True,
            )
