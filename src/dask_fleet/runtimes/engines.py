"""Which engine a host has: Docker, or Podman under Docker's name. All that differs stands here.

Debian's podman-docker gives Podman the name ``docker`` and Docker's socket, on which compose works.
It takes Docker's words, but has no daemon: a service of systemd's starts containers at boot, and
the socket is a unit of its own. Either may be without root: a login's own, under its own systemd
(https://docs.docker.com/engine/security/rootless/, podman(1)).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ENGINE", "LOOK", "same_names", "unfit", "unfit_of_a_login"]

# Podman's command of the name docker tells people with every word that it is not Docker's; a
# script calls Podman itself. Podman stops nothing that is paused. When an image came to it, its
# folder of the image says. Of an archive it opens every layer; of a folder in the form that it
# calls dir, only those that it lacks, and the sizes of all others in the manifest mean nothing.
# The older compose gives up on an engine that has been busy for a minute; a script has a time
# limit of its own.
ENGINE = """\
export COMPOSE_HTTP_TIMEOUT="${COMPOSE_HTTP_TIMEOUT:-150}"
uid=$(id -u)
if [ "$uid" = 0 ]; then runtime=/run; else runtime=${XDG_RUNTIME_DIR:-/run/user/$uid}; fi
case $(docker --version 2>/dev/null) in
podman*)
  engine=podman
  PATH=$PATH:/usr/libexec/docker/cli-plugins:/usr/local/lib/docker/cli-plugins
  docker() { podman "$@"; }
  awaken() {
    podman ps --all --quiet --filter "label=$1" --filter status=paused |
      xargs --no-run-if-empty podman unpause >/dev/null
  }
  has_compose() { command -v docker-compose >/dev/null 2>&1; }
  compose() { DOCKER_HOST="unix://$runtime/podman/podman.sock" docker-compose "$@"; }
  engine_platform() { podman info --format '{{.Host.OS}}/{{.Host.Arch}}'; }
  engine_root() { podman info --format '{{.Store.GraphRoot}}'; }
  engine_store() { echo podman; }
  is_rootless() { [ "$(podman info --format '{{.Host.Security.Rootless}}')" = true ]; }
  load_image() (
    set -e
    work=${TMPDIR:-/var/tmp}/dask-fleet-image.$$
    mkdir -m 700 "$work"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    gzip -dc | tar -x -C "$work"
    cd "$work"
    config=$(sed 's/.*"Config":"\\([^"]*\\)\\.json".*/\\1/' manifest.json)
    mv "$config.json" "$config"
    blob() {
      size=0
      if [ -f "$2" ]; then size=$(wc -c <"$2"); fi
      printf '{"mediaType":"application/vnd.docker.%s","digest":"sha256:%s","size":%s}' \\
        "$1" "$2" "$size"
    }
    schema='"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json"'
    {
      printf '{%s,"config":%s,"layers":[' "$schema" "$(blob container.image.v1+json "$config")"
      comma=
      for layer in $(sed 's/.*"Layers":\\[\\([^]]*\\)\\].*/\\1/; s/[",]/ /g' manifest.json); do
        digest=${layer%%/*}
        if [ -f "$layer" ]; then mv "$layer" new; rmdir "$digest"; mv new "$digest"; fi
        printf '%s%s' "$comma" "$(blob image.rootfs.diff.tar "$digest")"
        comma=,
      done
      printf ']}'
    } >manifest.new
    mv manifest.new manifest.json
    echo 'Directory Transport Version: 1.1' >version
    podman tag "$(podman pull --quiet "dir:$work")" "$1"
  )
  image_since() { stat -c %Y "$(engine_root)"/*-images/"${1#sha256:}" 2>/dev/null || echo 0; }
  ;;
*)
  engine=docker
  awaken() { :; }
  has_compose() {
    command -v docker-compose >/dev/null 2>&1 || docker compose version >/dev/null 2>&1
  }
  compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "$@"
    else docker-compose "$@"
    fi
  }
  engine_platform() { docker version --format '{{.Server.Os}}/{{.Server.Arch}}'; }
  engine_root() { docker info --format '{{.DockerRootDir}}'; }
  engine_store() { docker info --format '{{.DriverStatus}}'; }
  is_rootless() {
    case $(docker info --format '{{.SecurityOptions}}') in *rootless*) ;; *) return 1 ;; esac
  }
  # It would unpack the stream, too, and takes longer than gzip. It notes when an image was tagged,
  # and not when it was loaded.
  load_image() { gzip -dc | docker load --quiet && docker tag "$1" "$1"; }
  image_since() {
    docker image inspect --format '{{.Metadata.LastTagTime}}' "$1" | {
      read -r day time zone rest
      date -d "$day ${time%%.*} $zone" +%s 2>/dev/null || echo 0
    }
  }
  ;;
esac
"""
"""Begins a script that calls ``docker``: gives ``$engine`` and what each engine has its own way."""

LOOK = """\
for socket in /run/user/*/docker.sock /run/user/*/podman/podman.sock; do
  if [ -S "$socket" ]; then echo "rootless $socket"; fi
done
if docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
  echo "engine $engine"
  if has_compose; then echo "compose 1"; fi
  if [ "$uid" != 0 ]; then
    if is_rootless; then echo "own 1"; fi
    login=$(id -un)
    echo "name $login"
    if [ -e "/var/lib/systemd/linger/$login" ]; then echo "linger 1"; fi
    manager=user-$uid.slice/user@$uid.service
    for controller in $(cat "/sys/fs/cgroup/user.slice/$manager/cgroup.controllers" 2>/dev/null); do
      echo "controls_$controller 1"
    done
    case $engine in podman) keeper=podman-restart.service ;; *) keeper=docker.service ;; esac
    echo "socket $(systemctl --user is-active podman.socket 2>/dev/null)"
    echo "restart $(systemctl --user is-enabled "$keeper" 2>/dev/null)"
  elif [ "$engine" = podman ]; then
    echo "socket $(systemctl is-active podman.socket 2>/dev/null)"
    echo "restart $(systemctl is-enabled podman-restart.service 2>/dev/null)"
    bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
    if [ -r "$bridged" ] && [ "$(cat "$bridged")" = 1 ]; then
      echo "bridged $(podman info --format '{{.Host.NetworkBackend}}')"
    fi
  fi
else
  engine=
fi
"""
"""Prints what `unfit` reads; ``$engine`` is empty after it where none answers."""


def unfit_of_a_login(facts: Mapping[str, str], *, limit_cpus: bool) -> tuple[tuple[str, str], ...]:
    """Return what an engine without root lacks, or whose it is; faults, each with its remedy.

    Parameters
    ----------
    facts : Mapping
        As of `unfit`; ``unwritable`` is a folder in which that login cannot make the fleet's.
    limit_cpus : bool
        Whether containers are to have no more CPUs than they need.
    """
    if facts.get("login") == "0":
        return (
            (
                "`containers.rootless` says that the engine there is the login's own, and commands"
                " there run as root",
                "log in as its user, without sudo; or remove `rootless`",
            ),
        )
    if "engine" not in facts:
        if "rootless" not in facts:
            return ()
        socket = facts["rootless"]
        return (
            (
                f"an engine without root has its socket there ({socket}), and the login's `docker`"
                " does not reach it",
                "log in as the user whose it is; of Docker, this makes it known: `docker context"
                f" create rootless --docker host=unix://{socket}`, then `docker context use"
                " rootless`",
            ),
        )
    podman, name = facts["engine"] == "podman", facts.get("name", "")
    keeper = "podman-restart.service" if podman else "docker.service"
    delegate = (
        "write `[Service]` and `Delegate=cpu memory pids` into"
        " /etc/systemd/system/user@.service.d/delegate.conf there, and boot"
    )
    checks = (
        (
            "own" in facts,
            "the engine that answers that login is root's, and `containers.rootless` says that it"
            " is the login's own",
            "`docker context use rootless` there, or remove `rootless` and log in as root or with"
            " sudo",
        ),
        (
            "linger" in facts,
            f"the engine there ends when {name} logs out",
            f"`loginctl enable-linger {name}` there",
        ),
        (
            facts.get("restart") == "enabled",
            "containers would not start there when the host boots",
            f"`systemctl --user enable --now {keeper}` there, as {name}",
        ),
        (
            not podman or facts.get("socket") == "active",
            "Podman's socket, through which compose reaches it, is not open there",
            f"`systemctl --user enable --now podman.socket` there, as {name}",
        ),
        (
            "controls_memory" in facts,
            "limits of memory mean nothing there: the login's systemd may set none",
            f"{delegate}; control groups have to be of version 2",
        ),
        (
            "controls_cpu" in facts or not limit_cpus,
            "`containers.limit_cpus` is not possible there: the login's systemd may limit no CPUs",
            f"{delegate}; or leave `limit_cpus` out",
        ),
        (
            "unwritable" not in facts,
            f"{name} cannot write into {facts.get('unwritable')}, where the fleet is to have a"
            " folder",
            f"make the folder that `containers.rootless` names, and give it to {name}",
        ),
    )
    return tuple((fault, remedy) for good, fault, remedy in checks if not good)


def unfit(facts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what the engine lacks although it may answer: faults, each with its remedy.

    Parameters
    ----------
    facts : Mapping
        The first word of each line that `LOOK` printed, and the second.
    """
    found: list[tuple[str, str]] = []
    if "rootless" in facts and (facts.get("login") != "0" or "engine" not in facts):
        found.append(
            (
                f"the engine there is somebody's own, without root ({facts['rootless']}), and the"
                " fleet's containers are root's",
                "say `containers: {rootless: FOLDER}` and log in as its user; or log in as root or"
                " with sudo, and have an engine there that is root's: `systemctl enable --now"
                " docker`, or Podman's package",
            )
        )
    if facts.get("engine") != "podman" or facts.get("login") != "0":
        return tuple(found)
    if facts.get("socket") != "active":
        found.append(
            (
                "Podman's socket, through which compose reaches it, is not open there",
                "`systemctl enable --now podman.socket` there",
            )
        )
    if facts.get("restart") != "enabled":
        found.append(
            (
                "Podman would not start containers there when the host boots",
                "`systemctl enable podman-restart.service` there",
            )
        )
    if facts.get("bridged") == "netavark":
        found.append(
            (
                "packets within Podman's bridge pass the rules of its published ports there, and a"
                " worker does not reach its own nanny (net.bridge.bridge-nf-call-iptables is 1)",
                "`sysctl net.bridge.bridge-nf-call-iptables=0` there, and the same in a file of"
                " /etc/sysctl.d",
            )
        )
    return tuple(found)


_REGISTRIES = ("docker.io/library/", "docker.io/", "localhost/")


def same_names(image: str) -> tuple[str, ...]:
    """Return the names that mean an image that Podman has: it names a registry in each."""
    return (image, *(image.removeprefix(one) for one in _REGISTRIES if image.startswith(one)))
