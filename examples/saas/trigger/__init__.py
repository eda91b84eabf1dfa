"""The tasks of the app: what runs in a worker, not in a request."""
