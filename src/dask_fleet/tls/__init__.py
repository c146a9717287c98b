"""The fleet's own certificates: the authority, what it signs, and what a certificate says."""
