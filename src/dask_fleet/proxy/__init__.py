"""The door: nginx in front of all dashboards."""
