"""The `outlast` command: one thin module per command; the only place that composes the rooms."""
