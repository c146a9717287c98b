"""``python -m dask_fleet``, the same as ``dask-fleet``."""

from dask_fleet.cli import main

if __name__ == "__main__":
    main()
