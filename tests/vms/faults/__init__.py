"""Whatever goes wrong, what is said of it, and that it heals."""
