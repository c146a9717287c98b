"""Modules of the launcher import each other by plain names, as on a host."""

from __future__ import annotations

import sys
from pathlib import Path

import dask_fleet

sys.path.append(str(Path(dask_fleet.__file__).parent / "host"))
