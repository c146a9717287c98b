"""Tests on booted hosts; run inside `python -m lab run`. Each folder here is a suite."""
