"""One event, everybody who should hear of it, on every channel."""
