"""The HTTP side: one gate, routes per resource, the worker gateway. The engine does the work."""
