"""Which engine a host has: Docker, or Podman under Docker's name. All that differs stands here.

Debian's podman-docker gives Podman the name ``docker`` and Docker's socket, on which compose works.
It takes Docker's words, but has no daemon: a service of systemd's starts containers at boot, and
the socket is a unit of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ENGINE", "LOOK", "same_names", "unfit"]

# Podman's command of the name docker tells people with every word that it is not Docker's; a
# script calls Podman itself. Podman stops nothing that is paused. When an image came to it, its
# folder of the image says. Of an archive it opens every layer; of a folder in the form that it
# calls dir, only those that it lacks, and the sizes of all others in the manifest mean nothing.
ENGINE = """\
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
  compose() { DOCKER_HOST=unix:///run/podman/podman.sock docker-compose "$@"; }
  engine_platform() { podman info --format '{{.Host.OS}}/{{.Host.Arch}}'; }
  engine_root() { podman info --format '{{.Store.GraphRoot}}'; }
  engine_store() { echo podman; }
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
  if [ "$engine" = podman ]; then
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
                "log in as root or with sudo, and have an engine there that is root's:"
                " `systemctl enable --now docker`, or Podman's package",
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
