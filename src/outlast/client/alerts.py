"""Alerts of an environment: who is told what, and a test of it."""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from outlast.client.requests import Request, model
from outlast.protocol.alerts import AlertBody, AlertPage, AlertTried, MadeAlert

_BASE = "/api/outlast/v1/alerts"


def list_all() -> Request[AlertPage]:
    """Return the request for the alerts of the environment."""
    return Request("GET", _BASE, model(AlertPage))


def retrieve(alert_id: str) -> Request[AlertBody]:
    """Return the request for one alert."""
    return Request("GET", _path(alert_id), model(AlertBody))


def create(name: str, *, channel: str, address: str, types: Sequence[str]) -> Request[MadeAlert]:
    """Return the request that makes an alert; a webhook's answer has its secret, this once."""
    said = {"name": name, "channel": channel, "address": address, "types": list(types)}
    return Request("POST", _BASE, model(MadeAlert), body=msgspec.json.encode(said))


def update(alert_id: str, *, name: str, types: Sequence[str]) -> Request[AlertBody]:
    """Return the request that gives an alert another name and other types."""
    return _change(alert_id, {"name": name, "types": list(types)})


def switch(alert_id: str, *, enabled: bool) -> Request[AlertBody]:
    """Return the request that turns an alert on or off."""
    return _change(alert_id, {"enabled": enabled})


def delete(alert_id: str) -> Request[None]:
    """Return the request that deletes an alert and what waits for it."""
    return Request("DELETE", _path(alert_id), lambda _: None)


def test(alert_id: str) -> Request[AlertTried]:
    """Return the request that sends a test at once, and tells whether it arrived."""
    return Request("POST", f"{_path(alert_id)}/test", model(AlertTried))


def _change(alert_id: str, said: dict[str, object]) -> Request[AlertBody]:
    body = msgspec.json.encode(said)
    return Request("PUT", _path(alert_id), model(AlertBody), body=body)


def _path(alert_id: str) -> str:
    return f"{_BASE}/{quote(alert_id, safe='')}"
