"""A Dask cluster that stays.

The public Python interface is small and grows with the issues; see ``docs/``.
Importing this package imports nothing else, so that ``dask fleet --help`` is fast.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
