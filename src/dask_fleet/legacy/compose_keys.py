"""Keys of a service in a compose file, and what becomes of each in a fleet.

The keys are those of https://docs.docker.com/reference/compose-file/services/ and of the file
formats 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

__all__ = ["READ", "SAME", "SERVICE_KEYS", "TOP_KEYS"]

_Kind: TypeAlias = Literal["lost", "changed"]

READ = frozenset((
    *("image", "build", "command", "entrypoint", "environment", "env_file", "ports", "volumes"),
    *("restart", "mem_limit", "cpus", "scale", "deploy", "user", "ulimits", "network_mode"),
))  # fmt: skip
"""Keys that `service` reads."""

SAME = frozenset(("init", "stdin_open", "tty", "attach", "pull_policy"))
"""Keys that make no difference to a fleet."""

_NAME = "programs that call the container by this name no longer find it"
_OURS = "the container is called dask-fleet.FLEET.UNIT"
_NETWORK = "containers found each other by names of this network"
_PUBLISHED = "ports are published on the host's address, and processes dial that"
_RIGHTS = "the container had other rights than usual"
_NO_RIGHTS = "containers of a fleet have Docker's usual rights and are never root"
_NAMES = "the container resolved names in its own way"
_HOSTS = "it resolves them as Docker does; write addresses where a name is not known"
_DEVICE = "the container had devices of the host, such as a GPU"
_NO_DEVICE = "containers of a fleet have none: run these workers under systemd"
_PIECES = "files came into the container"
_BY_VOLUME = "mount them by `containers: {volumes: ...}`"
_CPU = "Docker kept the container to a share of the CPUs"
_NO_CPU = "`nthreads` alone says how many are used at once"

SERVICE_KEYS: Mapping[str, tuple[_Kind, str, str]] = {
    "healthcheck": (
        "changed",
        "Docker said by it whether the container was well",
        "the fleet's own asks every process, and each worker whether it is registered",
    ),
    "logging": (
        "changed",
        "logs were kept elsewhere or in another size",
        "five files of 10 MB; `dask fleet logs` reads them",
    ),
    "stop_grace_period": ("changed", "it said how long a stop may take", "30 s"),
    "stop_signal": ("changed", "it said how a process is ended", "SIGTERM"),
    "hostname": ("changed", "processes saw it as their host's name", "the host's in fleet.yaml"),
    "domainname": ("lost", _NAMES, _HOSTS),
    "container_name": ("changed", _NAME, _OURS),
    "networks": ("changed", _NETWORK, _PUBLISHED),
    "links": ("changed", _NETWORK, _PUBLISHED),
    "external_links": ("changed", _NETWORK, _PUBLISHED),
    "depends_on": (
        "changed",
        "it said what is started first",
        "the scheduler's host is first; workers wait for it",
    ),
    "expose": ("changed", "it named ports", "the fleet's ports are in fleet.yaml"),
    "mac_address": ("lost", "the container had this address", "it has one of Docker's"),
    "working_dir": (
        "changed",
        "relative paths began there",
        "they begin in the folder where workers spill",
    ),
    "labels": ("lost", "programs may look for them", "the container has dask-fleet's own"),
    "label_file": ("lost", "programs may look for them", "the container has dask-fleet's own"),
    "annotations": ("lost", "programs may look for them", "the container has dask-fleet's own"),
    "mem_reservation": ("lost", "Docker kept this much memory for it", "it does not"),
    "memswap_limit": ("changed", "the container could swap", "it cannot: Dask spills by itself"),
    "mem_swappiness": ("changed", "the container could swap", "it cannot: Dask spills by itself"),
    "oom_kill_disable": ("lost", "the kernel did not end it for want of memory", "it does"),
    "oom_score_adj": ("lost", "the kernel ended it sooner or later than others", "as any other"),
    "shm_size": (
        "lost",
        "programs that share memory had more or less of it",
        "Docker's 64 MB; Dask needs none",
    ),
    "tmpfs": ("lost", "a part of the container was in memory", "it is on the host's disk"),
    "read_only": ("lost", "the container's own files could not be written", "they can"),
    "pids_limit": ("lost", "the number of its processes was limited", "it is not"),
    "cpu_count": ("lost", _CPU, _NO_CPU),
    "cpu_percent": ("lost", _CPU, _NO_CPU),
    "cpu_shares": ("lost", _CPU, _NO_CPU),
    "cpu_quota": ("lost", _CPU, _NO_CPU),
    "cpu_period": ("lost", _CPU, _NO_CPU),
    "cpu_rt_runtime": ("lost", _CPU, _NO_CPU),
    "cpu_rt_period": ("lost", _CPU, _NO_CPU),
    "cpuset": ("lost", _CPU, _NO_CPU),
    "blkio_config": ("lost", "its use of disks was limited", "it is not"),
    "privileged": ("lost", _RIGHTS, _NO_RIGHTS),
    "cap_add": ("lost", _RIGHTS, _NO_RIGHTS),
    "cap_drop": ("lost", _RIGHTS, _NO_RIGHTS),
    "security_opt": ("lost", _RIGHTS, _NO_RIGHTS),
    "userns_mode": ("lost", _RIGHTS, _NO_RIGHTS),
    "group_add": ("lost", _RIGHTS, "`containers: {user: UID:GID}` says the one group"),
    "cgroup": ("lost", _RIGHTS, _NO_RIGHTS),
    "cgroup_parent": ("lost", "limits of this group held for it", "it is in Docker's own"),
    "device_cgroup_rules": ("lost", _DEVICE, _NO_DEVICE),
    "devices": ("lost", _DEVICE, _NO_DEVICE),
    "gpus": ("lost", _DEVICE, _NO_DEVICE),
    "runtime": ("lost", _DEVICE, _NO_DEVICE),
    "dns": ("lost", _NAMES, _HOSTS),
    "dns_opt": ("lost", _NAMES, _HOSTS),
    "dns_search": ("lost", _NAMES, _HOSTS),
    "extra_hosts": ("lost", _NAMES, _HOSTS),
    "ipc": ("lost", "it shared memory with other containers", "it has its own"),
    "pid": ("lost", "it saw processes of the host", "it sees its own"),
    "uts": ("lost", "it had the name of the host", "it has that of fleet.yaml"),
    "sysctls": ("lost", "the kernel was set otherwise for it", "it is set as for the host"),
    "isolation": ("lost", "it is for Windows", "nothing"),
    "credential_spec": ("lost", "it is for Windows", "nothing"),
    "configs": ("lost", _PIECES, _BY_VOLUME),
    "secrets": ("lost", _PIECES, _BY_VOLUME),
    "volumes_from": ("lost", _PIECES, _BY_VOLUME),
    "volume_driver": ("lost", "volumes were made by this driver", "by Docker's own"),
    "storage_opt": ("lost", "its own files were limited in size", "they are not"),
    "develop": ("lost", "it is for work on the image", "nothing"),
    "extends": (
        "lost",
        "it takes settings from another service, which are not read",
        "write them into this one and import again",
    ),
    "profiles": ("changed", "compose started it only when told", "the fleet always has it"),
    "platform": ("lost", "the image was for this platform", "that of the host"),
    "post_start": ("lost", "commands ran in the container", "put them into the image"),
    "pre_stop": ("lost", "commands ran in the container", "put them into the image"),
    "use_api_socket": ("lost", _RIGHTS, _NO_RIGHTS),
    "provider": ("lost", "something else than a container is run", "nothing is run"),
    "models": ("lost", "it is not Dask's", "nothing"),
}
"""Kind, why it matters, and what becomes of it."""

TOP_KEYS: Mapping[str, tuple[_Kind, str, str]] = {
    "networks": ("changed", _NETWORK, _PUBLISHED),
    "secrets": ("lost", _PIECES, _BY_VOLUME),
    "configs": ("lost", _PIECES, _BY_VOLUME),
    "include": (
        "lost",
        "it takes services from other files, which are not read",
        "import their folders too",
    ),
    "models": ("lost", "it is not Dask's", "nothing"),
}
"""The same of the keys beside ``services``; ``version``, ``name`` and ``volumes`` are known."""
