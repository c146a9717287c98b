"""The one file that carries an environment to a host: wheels, their lock, and uv."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from dask_fleet.errors import EnvironmentBuildError

__all__ = ["END", "contents", "write_bundle"]

END = "end"
"""Last member of a bundle: one that lacks it broke off."""


def write_bundle(bundle: Path, wheels: Path, lock_text: str, uv: Path) -> int:
    """Write a bundle; the same content gives the same bytes.

    It is not compressed, for wheels are. Beside the lock, for people, it has ``wheels.lock``: for
    each wheel its version and the hash of that very file, whatever the lock knew of hashes, so
    that the host checks what it got.

    Parameters
    ----------
    bundle : Path
        Where to write it; it gets its name when it is whole.
    wheels : Path
        Directory of the wheels.
    lock_text : str
        The lock as it was given.
    uv : Path
        A uv that runs on the host.

    Returns
    -------
    int
        Bytes of what the wheels hold, unpacked.
    """
    from packaging.utils import parse_wheel_filename

    found = sorted(wheels.glob("*.whl"))
    pins: list[str] = []
    installed = 0
    new = bundle.with_name(f"{bundle.name}.new")
    with tarfile.open(new, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in found:
            name, version, _, _ = parse_wheel_filename(path.name)
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while piece := file.read(1 << 20):
                    digest.update(piece)
            pins.append(f"{name}=={version} --hash=sha256:{digest.hexdigest()}\n")
            try:
                with zipfile.ZipFile(path) as wheel:
                    installed += sum(one.file_size for one in wheel.infolist())
            except zipfile.BadZipFile as error:
                raise EnvironmentBuildError(
                    f"{path} is not a wheel", "remove that file and try again"
                ) from error
            _add(tar, f"wheels/{path.name}", path)
        _add(tar, "wheels.lock", "".join(pins).encode())
        _add(tar, "requirements.lock", lock_text.encode())
        _add(tar, "uv", uv, 0o755)
        _add(tar, END, b"")
    new.replace(bundle)
    return installed


def contents(wheel: Path, ending: str) -> bytes:
    """Return the content of the one file of a wheel whose path ends so."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(ending))
        return archive.read(name)


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    else:
        entry.size = content.stat().st_size
        with content.open("rb") as file:
            tar.addfile(entry, file)
