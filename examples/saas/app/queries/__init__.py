"""Reads, one module per table. Each takes the session of a tenant transaction."""
