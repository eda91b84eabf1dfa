"""Alerts of the caller's environment: everybody who reads sees them, admins and root keys act."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from outlast.engine.alerts import Alert
from outlast.engine.deliveries import Undelivered
from outlast.protocol.alerts import (
    AlertBody,
    AlertChange,
    AlertPage,
    AlertTried,
    MadeAlert,
    NewAlert,
)
from outlast.server.alert_events import sample
from outlast.server.auth import Caller, authenticate
from outlast.server.contract import READ_ALL, ROOT, promise
from outlast.server.problems import Problem
from outlast.server.services import services

_JSON = "application/json"
_FRESH = {"cache-control": "no-store"}

router = APIRouter(prefix="/api/outlast/v1/alerts", tags=["alerts"])


@router.get("", response_model=AlertPage, **promise(READ_ALL))
async def list_alerts(request: Request) -> Response:
    """List the alerts by name; of their addresses only what is no secret."""
    caller = await authenticate(request)
    caller.require_whole("read")
    found = await services(request).engine.alerts.list(caller.environment.id)
    return Response(AlertPage(data=tuple(map(_body, found))).to_json(), media_type=_JSON)


@router.post("", status_code=201, response_model=MadeAlert, **promise(ROOT))
async def create(request: Request, wanted: Annotated[NewAlert, Body()]) -> Response:
    """Make an alert; the reply alone shows the secret that a webhook is signed under."""
    caller, engine = await _enter(request), services(request).engine
    if wanted.channel == "email" and services(request).settings.smtp_url is None:
        raise Problem(
            422,
            "no_mail_server",
            "this server sends no e-mail; set OUTLAST_SMTP_URL to smtp://user:password@host?from=…",
            param="channel",
        )
    made, secret = await engine.alerts.create(
        caller.environment.id,
        name=wanted.name,
        channel=wanted.channel,
        address=wanted.address,
        types=wanted.types,
        by=caller.actor,
    )
    await _note(request, caller, "create alert", made.id)
    body = MadeAlert(**dict(_body(made)), secret=secret)
    return Response(body.to_json(), 201, media_type=_JSON, headers=_FRESH)


@router.get("/{alert_id}", response_model=AlertBody, **promise(READ_ALL))
async def retrieve(request: Request, alert_id: str) -> Response:
    """Return one alert."""
    caller = await authenticate(request)
    caller.require_whole("read")
    found = await services(request).engine.alerts.retrieve(caller.environment.id, alert_id)
    return Response(_body(found).to_json(), media_type=_JSON)


@router.put("/{alert_id}", response_model=AlertBody, **promise(ROOT))
async def change(
    request: Request, alert_id: str, wanted: Annotated[AlertChange, Body()]
) -> Response:
    """Rename an alert, change its types, or disable it: what it had yet to tell is forgotten."""
    caller, engine = await _enter(request), services(request).engine
    changed = await engine.alerts.change(
        caller.environment.id,
        alert_id,
        name=wanted.name,
        types=wanted.types,
        enabled=wanted.enabled,
    )
    await _note(request, caller, "change alert", alert_id)
    return Response(_body(changed).to_json(), media_type=_JSON)


@router.delete("/{alert_id}", status_code=204, **promise(ROOT))
async def delete(request: Request, alert_id: str) -> Response:
    """Delete an alert with what it had yet to tell."""
    caller = await _enter(request)
    await services(request).engine.alerts.delete(caller.environment.id, alert_id)
    await _note(request, caller, "delete alert", alert_id)
    return Response(status_code=204)


@router.post("/{alert_id}/test", response_model=AlertTried, **promise(ROOT))
async def test(request: Request, alert_id: str) -> Response:
    """Send an example at once, also of a disabled alert, and tell whether it arrived."""
    caller, found = await _enter(request), services(request)
    destination = await found.engine.alerts.destination(caller.environment.id, alert_id)
    await _note(request, caller, "test alert", alert_id)
    body = AlertTried(delivered=True)
    try:
        await found.notifier.tell(destination, sample(caller.environment))
    except Undelivered as error:
        body = AlertTried(delivered=False, error=str(error))
    return Response(body.to_json(), media_type=_JSON)


async def _enter(request: Request) -> Caller:
    """Return who calls, if they may keep alerts. Raises `Problem`."""
    caller = await authenticate(request)
    caller.require_admin()
    return caller


async def _note(request: Request, caller: Caller, action: str, alert_id: str) -> None:
    """Write a deed into the audit log, unless a page does, which knows the person."""
    if caller.account is None:
        users = services(request).engine.users
        await users.note(caller.deed_name, caller.environment.id, action, alert_id, "done")


def _body(alert: Alert) -> AlertBody:
    return AlertBody(
        id=alert.id,
        name=alert.name,
        channel=alert.channel,
        address=alert.shown_address,
        types=alert.types,
        enabled=alert.enabled,
        waiting=alert.waiting,
        last_error=alert.last_error,
        delivered_at=alert.delivered_at,
        created_at=alert.created_at,
        created_by=alert.created_by,
    )
