"""Measurements of dask-fleet beside its peers, in one run: ``make bench``.

Nothing here asserts on time: each goal is reported as met or missed.
"""
