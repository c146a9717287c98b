"""Whatever goes wrong: killed, away, full, unfit, held by others; what is said, and that it heals."""
