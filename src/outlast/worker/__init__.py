"""The worker: a supervisor without user code, and the executor processes that run it."""
