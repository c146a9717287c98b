"""What the processes of a unit have in common once Dask is imported."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from typing import Any

import dask.config
from fleet_labels import Labels

__all__ = [
    "collect_garbage_again",
    "configure",
    "contact_url",
    "import_distributed",
    "labeller_death",
    "say",
    "stop_signal",
    "use_iso_timestamps",
]

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure() -> None:
    """Set our defaults in Dask's configuration, below whatever the user has set.

    It must be called before ``distributed`` is imported, which configures logging at its
    import, and whose own defaults cannot be told from the user's settings afterwards.
    """
    defaults = {
        "distributed.admin.log-format": LOG_FORMAT,
        # Forks of a process that has imported everything start at once and share memory.
        "distributed.worker.multiprocessing-method": "forkserver",
    }
    for key, value in defaults.items():
        if dask.config.get(key, None) is None:
            dask.config.set({key: value})
    use_iso_timestamps()
    # As `dask scheduler` and `dask worker` do: collecting garbage less often is faster.
    generations = gc.get_threshold()
    gc.set_threshold(*(3 * threshold for threshold in generations))


def import_distributed() -> Any:
    """Import ``distributed``, its defaults read by libyaml.

    Importing it reads a thousand lines of YAML with PyYAML's loader in Python; the one in C gives
    the same, where it is there.
    """
    import yaml

    loader = yaml.SafeLoader
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", loader)
    try:
        import distributed
    finally:
        yaml.SafeLoader = loader
    return distributed


def collect_garbage_again() -> None:
    """Turn garbage collection on, which the launcher has turned off while it imports.

    What has been imported stays, so the collector never looks at it again.
    """
    gc.freeze()
    gc.enable()


def use_iso_timestamps() -> None:
    """Write the time of log records as ``2026-11-23T12:00:00.123Z``.

    A formatter with a ``datefmt`` of its own, from the user's configuration, keeps it.
    """
    logging.Formatter.converter = time.gmtime
    logging.Formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    logging.Formatter.default_msec_format = "%s.%03dZ"


def contact_url(contact: str, port: int) -> str:
    """Return the address that peers dial, with the scheme of the configured security."""
    from distributed.security import Security
    from fleet_process import host_port

    # Security() reads certificates and `require-encryption` from Dask's configuration.
    scheme = "tls" if Security().require_encryption else "tcp"
    return f"{scheme}://{host_port(contact, port)}"


async def stop_signal() -> str:
    """Wait for SIGTERM or SIGINT and return its name; a second signal ends at once."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[str] = loop.create_future()

    def handle(number: signal.Signals) -> None:
        if received.done():
            loop.remove_signal_handler(number)
            signal.raise_signal(number)
        else:
            received.set_result(number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
    return await received


async def labeller_death(labels: Labels) -> None:
    """Wait until the labeller has died; what is written then goes out without labels."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(labels.death, ended.set)
    try:
        await ended.wait()
        labels.restore()
    finally:
        loop.remove_reader(labels.death)


def say(text: str) -> None:
    """Log a line of the launcher itself, as Dask logs its own."""
    logging.getLogger("distributed.fleet").info(text)
    sys.stderr.flush()
