"""Outlast: background work that outlives a request."""
