"""Load and layout of large fleets, written as a range and host by host."""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.machine import Bench, load_average
from benchmarks.processes import timed

__all__ = ["measure"]

SIZES = (10, 100, 1000, 5000)
_IN_A_SUBNET = 250

_CODE = """\
import json, sys, time
from pathlib import Path
begin = time.perf_counter()
from dask_fleet.layout import lay_out
from dask_fleet.spec import load
imported = time.perf_counter()
spec = load(Path(sys.argv[1]), {})
loaded = time.perf_counter()
layout = lay_out(spec)
done = time.perf_counter()
assert len(layout.workers) == int(sys.argv[2]), len(layout.workers)
print(json.dumps({"load": loaded - imported, "layout": done - loaded}))
"""


def measure(bench: Bench, rounds: int, largest: int, *, warm: bool) -> Figures:
    """Measure in the tool's environment; no process of a fleet is started."""
    figures = Figures("layout", "seconds to load fleet.yaml and lay it out")
    sizes = [size for size in SIZES if size <= largest]
    files: dict[tuple[str, int], Path] = {}
    for size in sizes:
        for form, text in (("range", _range(size)), ("host by host", _by_host(size))):
            path = files[form, size] = bench.work / f"{form.replace(' ', '-')}-{size}.yaml"
            path.write_text(text, encoding="utf-8")
    for number in range(-1 if warm else 0, rounds):
        load = load_average()
        empty = timed([sys.executable, "-c", "pass"], bench.environ, bench.work, within=60)
        for (form, size), path in files.items():
            argv = [sys.executable, "-c", _CODE, str(path), str(size)]
            done = timed(argv, bench.environ, bench.work, within=120)
            if number < 0:
                continue
            inside = json.loads(done.out)
            subject = f"{size:,} as {form}" if form == "range" else f"{size:,} {form}"
            figures.add("process less an empty one", subject, done.seconds - empty.seconds)
            figures.add("load", subject, inside["load"])
            figures.add("layout", subject, inside["layout"])
            figures.add("load and layout", subject, inside["load"] + inside["layout"])
        if number >= 0:
            figures.loads.append(load)
    figures.series = dict(sorted(figures.series.items(), key=lambda item: item[0][0]))
    for form in ("as range", "host by host"):
        subject = f"{sizes[-1]:,} {form}"
        found = figures.values("process less an empty one", subject)
        figures.goal(f"load and layout of {subject}, whole process", found, 2.0)
        medians = [
            statistics.median(figures.values("load and layout", f"{size:,} {form}"))
            for size in sizes
        ]
        slopes = [
            f"{math.log(b / a) / math.log(n / m):.2f} from {m:,} to {n:,}"
            for (m, a), (n, b) in zip(
                zip(sizes, medians, strict=True),
                list(zip(sizes, medians, strict=True))[1:],
                strict=False,
            )
        ]
        figures.remarks.append(f"growth exponent {form}: {', '.join(slopes)}")
    return figures


def _fleet(hosts: str, names: str) -> str:
    return f"""\
name: large
hosts:
  dask-scheduler: {{address: 10.1.0.1}}
{hosts}
scheduler: {{host: dask-scheduler}}
workers:
  default:
    hosts:
{names}
    per_host: 1
    nthreads: 2
    memory_limit: 4 GiB
"""


def _range(size: int) -> str:
    name = f"dask-worker-[0001-{size:04d}]"
    if size <= _IN_A_SUBNET:
        address = f"10.0.0.[1-{size}]"
    else:
        address = f"10.0.[0-{size // _IN_A_SUBNET - 1}].[1-{_IN_A_SUBNET}]"
    return _fleet(f'  "{name}": {{address: "{address}"}}', f'      - "{name}"')


def _by_host(size: int) -> str:
    names = [f"dask-worker-{number:04d}" for number in range(1, size + 1)]
    addresses = [f"10.0.{i // _IN_A_SUBNET}.{i % _IN_A_SUBNET + 1}" for i in range(size)]
    hosts = [
        f"  {name}:\n    address: {address}" for name, address in zip(names, addresses, strict=True)
    ]
    return _fleet("\n".join(hosts), "\n".join(f"      - {name}" for name in names))
