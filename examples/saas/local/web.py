"""The app with the debug controls, for development: `uvicorn --factory local.web:create`."""

from fastapi import FastAPI

from app.web.main import create_app
from local import debug


def create() -> FastAPI:
    """Return the app."""
    return create_app(debug.router)
