"""Images of containers: pulled from a registry, built, and shipped to hosts without one."""
