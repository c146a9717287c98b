"""Set-ups by hand, read from their folders: compose files, ``.env`` and Dockerfiles to a fleet."""
