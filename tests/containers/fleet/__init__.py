"""Fleets of containers: up, changed, updated, broken, and taken down."""
