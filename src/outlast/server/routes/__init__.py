"""Routes: one module per resource, which `server/app.py` includes."""
