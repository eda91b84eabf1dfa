"""The environment that a key or token belongs to."""

from outlast.client.requests import Request, model
from outlast.protocol.bodies import EnvironmentBody


def retrieve() -> Request[EnvironmentBody]:
    """Return the request for the environment, its current version and its workers."""
    return Request("GET", "/api/outlast/v1/environment", model(EnvironmentBody))
