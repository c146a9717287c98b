"""How long it takes until a new worker is behind the door, in fleets of many workers."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.machine import Bench, free_ports, load_average
from benchmarks.processes import begin, end, timed, wait_until
from dask_fleet.layout import Layout, lay_out
from dask_fleet.proxy.door_files import DoorFiles
from dask_fleet.proxy.nginx import site
from dask_fleet.proxy.nginx_main import main_configuration
from dask_fleet.spec import parse

__all__ = ["SIZES", "measure"]

SIZES = (10, 100, 1000)
_NGINX = "/usr/sbin/nginx"

_FLEET = """\
name: routes
hosts:
  dask-scheduler: {{address: 127.0.0.1}}
  "dask-worker-[0001-{size:04d}]": {{address: "10.0.[0-{last}].[1-{each}]"}}
scheduler: {{host: dask-scheduler}}
workers:
  default:
    hosts: ["dask-worker-[0001-{size:04d}]"]
    first: {first}
    nthreads: 1
    memory_limit: 1 GiB
door: {{listen: "127.0.0.1:{port}", login: none}}
"""


def measure(bench: Bench, rounds: int, sizes: tuple[int, ...]) -> Figures:
    """Write the site, have nginx check it, and reload it until it answers by the new one."""
    figures = Figures("door routes", "seconds until nginx has the routes to all workers of a fleet")
    for size in sizes:
        _of(bench, figures, size, rounds)
    largest = f"{sizes[-1]:,} workers"
    figures.goal(f"all of it, {largest}", figures.values("all of it", largest), 1.0)
    return figures


def _of(bench: Bench, figures: Figures, size: int, rounds: int) -> None:
    folder = bench.place / f"door-{size}"
    folder.mkdir()
    port = free_ports()
    # In each round the workers have other names than in the one before.
    layouts = [_layout(size, port, first) for first in (1, 2)]
    conf, path = folder / "nginx.conf", folder / "site.conf"
    argv = [_NGINX, "-e", "stderr", "-p", str(folder), "-c", str(conf)]
    subject = f"{size:,} workers"
    process: subprocess.Popen[str] | None = None
    try:
        for number in range(-1, rounds):
            load = load_average()
            began = time.perf_counter()
            text = _site(layouts[number % 2], folder)
            written = time.perf_counter() - began
            path.write_text(text, encoding="utf-8")
            conf.write_text(_main(folder, path, port + 1, number), encoding="utf-8")
            checked = timed([*argv, "-t"], bench.environ, bench.work, within=60).seconds
            began = time.perf_counter()
            if process is None:
                process = begin(argv, bench.environ, bench.work)
            else:
                os.kill(process.pid, signal.SIGHUP)
            _wait(port + 1, number)
            reloaded = time.perf_counter() - began
            if number < 0:
                continue
            figures.loads.append(load)
            figures.add("site written", subject, written)
            figures.add("nginx -t", subject, checked)
            figures.add("reload until it answers by it", subject, reloaded)
            figures.add("all of it", subject, written + checked + reloaded)
            figures.add("site file", subject, len(text) / 1000, "kB")
    finally:
        if process is not None:
            end([process])


def _layout(size: int, port: int, first: int) -> Layout:
    each = min(size, 250)
    text = _FLEET.format(size=size, last=size // each - 1, each=each, first=first, port=port)
    return lay_out(parse(text, {}))


def _site(layout: Layout, folder: Path) -> str:
    if layout.door is None:
        raise ValueError("the fleet has a door")
    files = DoorFiles(*[str(folder)] * 4, kept=f"{folder}/kept")
    return site(layout.name, layout.door, files)


def _main(folder: Path, path: Path, port: int, edition: int) -> str:
    """Return nginx's own file, with a server beside the door that tells the edition."""
    text = main_configuration("routes", str(folder), str(path))
    tells = f'    server {{ listen 127.0.0.1:{port}; return 200 "{edition}"; }}\n}}\n'
    return text.removesuffix("}\n") + tells


def _wait(port: int, edition: int) -> None:
    wait_until(lambda: _edition(port) == str(edition), 60, f"nginx has edition {edition}")


def _edition(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
