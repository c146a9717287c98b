"""How files get onto a host: one command, each file whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dask_fleet.command import GROUP_OF, Command

if TYPE_CHECKING:
    import tarfile

    from dask_fleet.target import ManagedFile

__all__ = ["MARK", "STAGE", "archive", "install"]

STAGE = ".dask-fleet-new"
"""Directory beside the files in which they lie until all of them are there."""

MARK = ".whole"
"""The last file of an archive: whoever finds it has all of them."""

# A tar archive on standard input holds the files, each in the stage of its directory with its
# mode; nobody else can look into a stage. The last member is the mark that the archive came
# whole, for the sender may have been killed. Then a rename gives each file its name, so that no
# reader ever sees half of one. Programs are started sparingly: a fleet starts as fast as this.
# Parameters: reader, number of directories, directories, files to be removed.
_INSTALL = f"""\
set -eu
umask 077
{GROUP_OF}reader=$1 count=$2
shift 2
owner=
if [ -n "$reader" ]; then owner=root:$(group_of "$reader"); fi
# A directory that is made on the way to another has to let the reader through, too.
make() {{
  if [ -z "$1" ] || [ -d "$1" ]; then return; fi
  make "${{1%/*}}"
  mkdir "$1"
  chown "$owner" "$1"
  chmod 750 "$1"
}}
ahead=$count
for place in "$@"; do
  if [ "$ahead" -eq 0 ]; then break; fi
  ahead=$((ahead - 1))
  if [ -d "$place" ]; then
    # What a killed sender has left behind.
    if [ -e "$place/{STAGE}" ]; then rm -rf "$place/{STAGE}"; fi
  elif [ -n "$owner" ]; then
    make "$place"
  fi
done
if [ "$count" -gt 0 ]; then
  status=0
  # It makes what is missing of the directories.
  tar -xPpmf - --no-same-owner || status=$?
  # On a full disk tar goes on with the next member, and the mark, which is empty, finds room.
  whole=no
  if [ "$status" -eq 0 ] && [ -e "$1/{STAGE}/{MARK}" ]; then whole=yes; fi
  while [ "$count" -gt 0 ]; do
    if [ $whole = yes ]; then (
      place=$1
      set --
      # Names may begin with a dot, as that of the mark does.
      for one in "$place/{STAGE}"/* "$place/{STAGE}"/.[!.]*; do
        if [ -e "$one" ] && [ "$one" != "$place/{STAGE}/{MARK}" ]; then set -- "$@" "$one"; fi
      done
      if [ -n "$owner" ]; then chown "$owner" "$@"; fi
      mv -f -t "$place" "$@"
    ) fi
    # Stages are removed with the files that have to go, by one program.
    set -- "$@" "$1/{STAGE}"
    shift
    count=$((count - 1))
  done
  if [ $whole = no ]; then
    for place in "$@"; do
      case $place in */{STAGE}) rm -rf -- "$place" ;; esac
    done
    echo "nothing was installed: the input broke off, or the disk is full" >&2
    exit "$((status ? status : 1))"
  fi
fi
if [ $# -gt 0 ]; then rm -rf -- "$@"; fi
"""


def install(files: Iterable[ManagedFile], removed: Iterable[str] = (), reader: str = "") -> Command:
    """Return the command that installs files and removes others.

    Parameters
    ----------
    files : iterable of ManagedFile
        What is to be there.
    removed : iterable of str
        Paths that are to be gone.
    reader : str
        User whose group may read files and new directories, or the number of a group; they belong
        to root then, and to whoever runs the command when it is empty.
    """
    staged = [(*file.path.rsplit("/", 1), file) for file in files]
    places = list(dict.fromkeys(place for place, _, _ in staged))
    content = b""
    if staged:
        members = [(f"{place}/{STAGE}/{name}", file) for place, name, file in staged]
        content = archive(members, f"{places[0]}/{STAGE}/{MARK}")
    argv = ("sh", "-c", _INSTALL, "install", reader, str(len(places)), *places, *removed)
    return Command(argv, content, title="install files")


def archive(files: Iterable[tuple[str, ManagedFile]], mark: str = MARK) -> bytes:
    """Return a tar archive of files under these names, and of an empty last one: the mark."""
    import tarfile  # a command that changes nothing does without

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, file in files:
            _add(tar, name, file.content, file.mode)
        _add(tar, mark, b"", 0o600)
    return content.getvalue()


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    member = tar.tarinfo(path)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
